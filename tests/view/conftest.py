"""A pool on the local service, and the page in front of it."""

import pytest
from serving import serve

from avatarpool import AvatarConnectionPool


@pytest.fixture
async def pool(service):
    async with AvatarConnectionPool(2, service.config_factory, quarantine_timeout=0.2) as opened:
        yield opened


@pytest.fixture
async def page(pool):
    async with serve(pool) as address:
        yield address
