"""The command as a fixture, and a service for it to talk to."""

import pytest
from avatar_command import Command, read_exports


@pytest.fixture
def command():
    command = Command()
    yield command
    command.close()


@pytest.fixture(scope="module")
def running_service():
    """The variables of an ``avatarpool service`` that runs while the module's tests do."""
    command = Command()
    process = command.start("service", "--port", "0")
    yield read_exports(process)
    command.close()
