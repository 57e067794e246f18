"""Whatever the description allows is answered as it says: schemathesis asks the gateway."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import CHECKS
from serving import ADMIN, ONE, served

from avatarpool.gateway import openapi
from avatarpool.lipsync import EchoDriver
from avatarpool.service import LocalAvatarService


def as_bytes(_context: object, value: object) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


for content_type in openapi.AUDIO_TYPES[:-1]:
    schemathesis.serializer(content_type)(as_bytes)

schema = schemathesis.openapi.from_dict(openapi.DOCUMENT)

# Valid data may be refused: bytes are no audio, and an id that is a string no avatar.
_PASSED_OVER = ("positive_data_acceptance",)
CHECKED = [check for name, check in CHECKS._items.items() if name not in _PASSED_OVER]


@contextmanager
def in_thread() -> Iterator[str]:
    """A gateway on an event loop of its own; gives its address."""
    loop, started, ended = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    found = []

    async def serve() -> None:
        async with (
            LocalAvatarService(driver=EchoDriver, avatar_ids=("a",)) as service,
            served(service) as gateway,
        ):
            found.append(gateway.url)
            started.set()
            await ended.wait()

    def run() -> None:
        try:
            loop.run_until_complete(serve())
        finally:
            started.set()
            loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    started.wait(60)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(60)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with in_thread() as url:
        yield url


@schema.parametrize()
@settings(
    max_examples=15,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
def test_every_answer_is_as_the_description_says(address: str, case: schemathesis.Case) -> None:
    key = ADMIN if "/admin/" in case.path else ONE
    case.call_and_validate(base_url=address, headers={"X-Api-Key": key}, checks=CHECKED)
