"""``avatarpool view``: the page with the face, until Ctrl-C."""

from __future__ import annotations

import asyncio
import socket
import webbrowser
from contextlib import AsyncExitStack
from dataclasses import dataclass

from aiohttp import web

from avatarpool.cli.opening import opened
from avatarpool.cli.service import why_not_listening
from avatarpool.cli.signals import Interruptible
from avatarpool.cli.streams import note
from avatarpool.cli.target import avatar_service
from avatarpool.environment import Settings
from avatarpool.pool import AvatarConnectionPool
from avatarpool.view import create_page
from avatarpool.view.live import MAX_SECONDS

_HOST = "127.0.0.1"
_MAX_WAITING = 16  # clips that wait for a session; one more is told to come back


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """What the command was asked for.

    Attributes:
        port: Where the page is; 0 for any free port.
        pool_size: Sessions to keep open.
        patience: Seconds in which each frame must come.
        is_opening: Whether to open a browser, too.
    """

    port: int
    pool_size: int
    patience: float
    is_opening: bool


async def view(options: ViewOptions, settings: Settings) -> int:
    """Serve the page until a signal comes and return the command's exit code.

    Raises:
        AvatarPoolError: No session could be opened.
    """
    async with Interruptible(), AsyncExitStack() as stack:
        try:  # before anything is opened: whoever connects now waits until the page is there
            listening = stack.enter_context(socket.create_server((_HOST, options.port)))
        except OSError as error:
            note(why_not_listening(error, _HOST, options.port))
            return 1
        config_factory = await stack.enter_async_context(avatar_service(settings))
        pool = AvatarConnectionPool(
            pool_size=options.pool_size,
            config_factory=config_factory,
            max_waiting=_MAX_WAITING,
            request_timeout=MAX_SECONDS,  # a session that is lent lives as long as somebody speaks
        )
        await stack.enter_async_context(opened(pool))
        page = create_page(pool, patience=options.patience)
        await page.setup()
        stack.push_async_callback(page.cleanup)
        await web.SockSite(page, listening).start()
        url = f"http://{_HOST}:{page.addresses[0][1]}/"
        print(url, flush=True)  # noqa: T201
        note("Open this address in a browser. Ctrl-C stops the page.")
        if options.is_opening and not await asyncio.to_thread(webbrowser.open, url):
            note("No browser was found here.")
        await asyncio.get_running_loop().create_future()
    note("Page closed.")
    return 0
