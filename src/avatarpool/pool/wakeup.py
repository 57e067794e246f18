"""Where a coroutine sleeps until something changes, under a time limit."""

from __future__ import annotations

import asyncio


class EventWakeup:
    """A place to sleep in asyncio's event loop: one future per sleep."""

    __slots__ = ("_future",)

    def __init__(self) -> None:
        self._future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def now(self) -> float:
        """Return the event loop's time."""
        return self._future.get_loop().time()

    def notify(self) -> None:
        """Wake whoever sleeps."""
        if not self._future.done():
            self._future.set_result(None)

    async def wait(self, timeout: float | None) -> None:
        """Sleep until notified; raise TimeoutError after ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._future
        finally:  # a timeout has cancelled it
            self._future = asyncio.get_running_loop().create_future()
