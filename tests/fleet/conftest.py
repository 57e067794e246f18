from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis_server import RedisServer, redis_server


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A server of the test's own, which it may do anything to."""
    with redis_server() as server:
        yield server


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    """One that is up for all tests, each of which has an account of its own in it."""
    with redis_server() as server:
        yield server
