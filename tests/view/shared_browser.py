"""Fixtures: one Chromium, and one Playwright that drives it, for all tests on one event loop.

A folder of such tests imports them in its ``conftest.py``, and each of its modules has
``pytestmark = pytest.mark.asyncio(loop_scope="session")``.
"""

import pytest
import pytest_asyncio
from browsing import chromium, connected
from leftovers import no_task_left
from playwright.async_api import async_playwright

on_the_shared_loop = pytest_asyncio.fixture(loop_scope="session")


@pytest.fixture(scope="session")
def shared_chromium():
    with chromium() as address:
        yield address


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_playwright():
    async with async_playwright() as playwright:
        yield playwright


@on_the_shared_loop
async def browser(shared_chromium, shared_playwright):
    async with connected(shared_playwright, shared_chromium) as started:
        yield started


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def no_tasks_left(shared_playwright):
    async with no_task_left():
        yield
