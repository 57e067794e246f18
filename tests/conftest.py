"""What all tests share: the local service, a clip, and a look for leftovers."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import AsyncIterator, Iterator
from importlib.resources import files

import pytest
import uvloop
from copies import Original
from hypothesis import HealthCheck, settings
from leftovers import no_task_left

from avatarpool.audio import read_audio
from avatarpool.service import LocalAvatarService

# A busy machine is no failure.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
# A shell that begins the tests in its background has them ignore Ctrl-C, and so would
# whatever they start, as it is to under nohup: tests of Ctrl-C would wait in vain.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_asyncio_loop_factories(config: object, item: object) -> dict[str, object]:
    """Run on plain asyncio, or on what ``TEST_LOOP`` says: ``asyncio``, ``uvloop`` or both."""
    known = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return {name: known[name] for name in os.environ.get("TEST_LOOP", "asyncio").split(",")}


@pytest.fixture
async def service() -> AsyncIterator[LocalAvatarService]:
    async with LocalAvatarService() as running:
        yield running


@pytest.fixture(scope="session")
def speech() -> bytes:
    """2.99 s of a person speaking, as the default session takes it."""
    return read_audio(str(files("avatarpool") / "assets" / "speech.wav"))


@pytest.fixture
def syllable(speech: bytes) -> bytes:
    """A quarter of a second of it, for tests that need a request and no more."""
    return speech[16000:24000]


@pytest.fixture(scope="session")
def original() -> Iterator[Original]:
    """The process whose copies run the command and other programs."""
    process = Original()
    yield process
    process.close()


@pytest.fixture
def few_files() -> Iterator[int]:
    """As few files as a process may open, for as long as a test lasts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    yield 256
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(autouse=True)
async def no_tasks_left() -> AsyncIterator[None]:
    """Fail a test that leaves a task of its own behind."""
    async with no_task_left():
        yield


# What takes longest, most of it waiting: begun last, it would keep the others' processes idle.
_LONGEST = (
    "tests/fleet/test_storm.py",
    "tests/gateway/test_hostile_upgrades.py::test_ten_thousand",
    "tests/examples/test_fleet_example.py",
    "tests/gateway/browser/",
    "tests/view/browser/",
)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not item.nodeid.startswith(_LONGEST))
