"""A group of pools that the page watches, on the event loop of the shared browser."""

from shared_browser import (  # noqa: F401  # fixtures
    browser,
    no_tasks_left,
    on_the_shared_loop,
    shared_chromium,
    shared_playwright,
)
from watched import AVATARS, group_of

from avatarpool import LocalAvatarService


@on_the_shared_loop
async def service():
    async with LocalAvatarService(avatar_ids=AVATARS) as running:
        yield running


@on_the_shared_loop
async def group(service):
    async with group_of(service) as opened:
        yield opened
