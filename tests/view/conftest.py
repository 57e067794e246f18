"""A pool on the local service, and the page in front of it."""

import pytest
from browsing import chromium, connected
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


@pytest.fixture(scope="session")
def shared_chromium():
    with chromium() as address:
        yield address


@pytest.fixture
async def browser(shared_chromium):
    async with connected(shared_chromium) as started:
        yield started
