"""Debian's Chromium, and what tests need to know of a page in it."""

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib.resources import files
from pathlib import Path

import pytest
from playwright.async_api import TimeoutError as Unanswered

SPEECH = files("avatarpool") / "assets" / "speech.wav"

_ARGUMENTS = [
    "--headless",
    "--no-sandbox",  # CI runs as root
    "--disable-dev-shm-usage",  # /dev/shm is small in containers
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    # Pages that tests have in the background are as quick as the one in front.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--hide-scrollbars",
    "--mute-audio",
    "--password-store=basic",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",  # a microphone that hears somebody speak, over and over
    f"--use-file-for-fake-audio-capture={SPEECH}",
    "--remote-debugging-port=0",
]


@contextmanager
def chromium():
    """A Chromium; gives its address. Without one the test is skipped, or fails where it must be."""
    executable = shutil.which("chromium")
    if executable is None:
        missing = "there is no Chromium here (on Debian: apt-get install chromium)"
        (pytest.fail if os.environ.get("REQUIRE_CHROMIUM") else pytest.skip)(missing)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = subprocess.Popen(  # noqa: S603  # what is installed here
            [executable, *_ARGUMENTS, f"--user-data-dir={profile}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield _address(browser, Path(profile, "DevToolsActivePort"))
        finally:
            browser.terminate()
            browser.wait(30)


def _address(browser, told):
    """Where it takes commands, once it has written that down."""
    for _ in range(600):
        with suppress(FileNotFoundError):
            if (lines := told.read_text().splitlines())[1:]:
                return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        assert browser.poll() is None, f"Chromium ended with {browser.returncode}"
        time.sleep(0.05)
    pytest.fail("Chromium does not say where it takes commands")


async def _reached(chromium, address):
    """The browser; one that has only just begun may never answer the first who asks."""
    for _ in range(3):
        with suppress(Unanswered):
            return await chromium.connect_over_cdp(address, timeout=15_000)
    return await chromium.connect_over_cdp(address)


@asynccontextmanager
async def connected(playwright, address):
    """A browser to make contexts in, which are closed at the end."""
    browser = await _reached(playwright.chromium, address)
    try:
        yield browser
    finally:
        for context in browser.contexts[1:]:  # the first one is its own
            await context.close()
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
