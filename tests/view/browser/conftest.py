"""The page and what it needs, on the event loop of the shared browser."""

from serving import serve
from shared_browser import (  # noqa: F401  # fixtures
    browser,
    no_tasks_left,
    on_the_shared_loop,
    shared_chromium,
    shared_playwright,
)

from avatarpool import AvatarConnectionPool, LocalAvatarService


@on_the_shared_loop
async def service():
    async with LocalAvatarService() as running:
        yield running


@on_the_shared_loop
async def pool(service):
    async with AvatarConnectionPool(2, service.config_factory, quarantine_timeout=0.2) as opened:
        yield opened


@on_the_shared_loop
async def page(pool):
    async with serve(pool) as address:
        yield address
