"""The service that a test runs against: the local one, or one shell after the other."""

from __future__ import annotations

import pytest

from avatarpool.service import LocalAvatarService


@pytest.fixture
def shell():
    """Its class; a module whose tests are not about lips, faults or aiohttp has its own."""
    return LocalAvatarService


@pytest.fixture
async def service(shell):
    async with shell() as running:
        yield running
