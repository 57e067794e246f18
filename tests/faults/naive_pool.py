"""The pool of the official examples, written anew: a queue of sessions, and hope.

It takes whatever makes sessions: an official SDK's ``new_avatar_session``, or ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from avatarpool.protocol.codec import decode
from avatarpool.protocol.messages import AnimationFrame


class NaiveCollector:
    """Frames of whatever the session receives, until one says it is the last."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget the previous request."""
        self.frames: list[AnimationFrame] = []
        self.error: Exception | None = None
        self.done = asyncio.Event()

    def transport_frame(self, data: bytes, is_last: bool) -> None:
        """Take a frame."""
        message = decode(data)
        assert isinstance(message, AnimationFrame)
        self.frames.append(message)
        if is_last:
            self.done.set()

    def on_error(self, error: Exception) -> None:
        """Take an error."""
        self.error = error
        self.done.set()

    async def wait(self, timeout: float | None = None) -> list[AnimationFrame]:
        """Wait for the last frame."""
        await asyncio.wait_for(self.done.wait(), timeout)
        if self.error is not None:
            raise self.error
        return self.frames


class NaiveConnection:
    """A session and its collector."""

    def __init__(
        self, new_session: Callable[..., Any], options: Callable[[], Mapping[str, object]]
    ) -> None:
        self.collector = NaiveCollector()
        self.session = new_session(
            **options(),
            transport_frames=self.collector.transport_frame,
            on_error=self.collector.on_error,
        )


class NaivePool:
    """Opens its sessions at the start and lends them in turn."""

    def __init__(
        self,
        size: int,
        options: Callable[[], Mapping[str, object]],
        new_session: Callable[..., Any],
    ) -> None:
        self._available: asyncio.Queue[NaiveConnection] = asyncio.Queue()
        self._all = [NaiveConnection(new_session, options) for _ in range(size)]

    async def initialize(self) -> None:
        """Open all sessions; those that fail are left out."""
        await asyncio.gather(*map(self._open, self._all), return_exceptions=True)

    async def _open(self, connection: NaiveConnection) -> None:
        await connection.session.init()
        await connection.session.start()
        self._available.put_nowait(connection)

    @asynccontextmanager
    async def borrow(self, timeout: float = 30.0) -> AsyncIterator[NaiveConnection]:
        """Lend a connection."""
        connection = await asyncio.wait_for(self._available.get(), timeout)
        connection.collector.clear()
        try:
            yield connection
        finally:
            self._available.put_nowait(connection)

    async def close(self) -> None:
        """Close all sessions."""
        await asyncio.gather(
            *(connection.session.close() for connection in self._all), return_exceptions=True
        )
