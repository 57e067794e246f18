"""Debian's Chromium, and what tests need to know of a page in it."""

import asyncio
import json
import os
import shutil
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import async_playwright

_ARGUMENTS = [
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",  # a microphone that beeps
]


@asynccontextmanager
async def chromium():
    """A fresh browser; without Chromium the test is skipped, or fails where it must be there."""
    executable = shutil.which("chromium")
    if executable is None:
        missing = "there is no Chromium here (on Debian: apt-get install chromium)"
        (pytest.fail if os.environ.get("REQUIRE_CHROMIUM") else pytest.skip)(missing)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


async def until(page, condition):
    """Wait until a JavaScript expression is true; Playwright's own way needs ``eval``."""
    async with asyncio.timeout(30):
        while not await page.evaluate(condition):
            await asyncio.sleep(0.02)


async def opened(browser, address, **options):
    """Open the page in a context of its own, with the face drawn."""
    context = await browser.new_context(**options)
    page = await context.new_page()
    await page.goto(address)
    await until(page, "!!document.querySelector('avatar-face').shadowRoot")
    return page


async def says(page, sentence):
    """Wait until the page says so."""
    await until(page, f"document.getElementById('status').textContent === {json.dumps(sentence)}")


async def text(page, element):
    """The text of the element with that id."""
    return await page.inner_text(f"#{element}")
