"""What the page is told: no faster than it reads, and no longer than patience lasts."""

from __future__ import annotations

import asyncio

from aiohttp import web

from avatarpool.view.speech import Emit


def patient(emit: Emit, request: web.Request, patience: float) -> Emit:
    """Return an ``emit`` that cuts the page off once it has left things unread for too long.

    Args:
        emit: Writes to the page, and waits while it does not read.
        request: Whose connection is cut.
        patience: Seconds of waiting, all in all: many short waits hold up as well.

    Raises:
        ConnectionResetError: By what is returned: the page was cut off.
    """
    loop = asyncio.get_running_loop()

    async def bounded(told: dict[str, object]) -> None:
        nonlocal patience
        began = loop.time()
        try:
            async with asyncio.timeout(patience):
                await emit(told)
        except TimeoutError as error:
            if request.transport is not None:
                request.transport.abort()  # closing would wait for what it does not take
            raise ConnectionResetError("the page takes no more frames") from error
        patience -= loop.time() - began

    return bounded
