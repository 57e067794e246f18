"""A pool over the local service, for agents that say little."""

import asyncio

import pytest

from avatarpool import AvatarConnectionPool
from avatarpool.lipsync import EchoDriver
from avatarpool.service import LocalAvatarService

PATIENCE = 30.0


@pytest.fixture
async def service():
    async with LocalAvatarService(driver=EchoDriver) as running:
        yield running


@pytest.fixture
async def pool(service):
    async with AvatarConnectionPool(1, service.config_factory) as opened:
        yield opened


@pytest.fixture
def is_back(pool):
    """Wait until the pool's only session is lent to nobody."""

    async def wait():
        async with asyncio.timeout(PATIENCE), pool.borrow(timeout=PATIENCE):
            pass

    return wait
