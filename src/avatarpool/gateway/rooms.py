"""Sessions whose frames go to a room: an egress client has one for itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Protocol

from avatarpool.exceptions import PoolClosed
from avatarpool.fleet import AvatarPoolGroup, PoolKey
from avatarpool.gateway import failures
from avatarpool.gateway.failures import Failure
from avatarpool.gateway.queueing import QueuedTurn
from avatarpool.pool import PooledConnection
from avatarpool.protocol.messages import PlaybackState


class Tenant(Protocol):
    """Who has a room's session."""

    def opened(self) -> None:
        """It is open."""

    def ended(self, failure: Failure) -> None:
        """It could not be opened."""

    def played(self, state: PlaybackState) -> None:
        """Its room plays."""


class Room:
    """The session that an egress client has for itself, from its configuration to its end.

    One that dies between two requests is replaced at the next.

    Args:
        group: Where it is borrowed.
        key: What session; its room with it.
        turn: When it may be.
        tenant: Told of what becomes of it.
        timeout: Seconds for it to be open.
    """

    def __init__(
        self,
        group: AvatarPoolGroup,
        key: PoolKey,
        turn: QueuedTurn,
        tenant: Tenant,
        timeout: float,
    ) -> None:
        self.key = key
        self.tenant = tenant
        self._group = group
        self._turn = turn
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._conn: PooledConnection | None = None
        self._one = asyncio.Lock()  # a request at a time
        self.task = self._loop.create_task(self._hold())

    def __repr__(self) -> str:
        return f"<Room {self.key} {'open' if self._conn else 'not open'}>"

    async def _hold(self) -> None:
        deadline = self._loop.time() + self._timeout
        try:
            async with asyncio.timeout_at(deadline):
                await self._turn.come()
        except TimeoutError:
            self.tenant.ended(failures.waited_too_long(self._timeout))
            return
        try:
            left = max(0.0, deadline - self._loop.time())
            async with self._group.borrow(self.key, timeout=left) as conn:
                self._conn = conn
                self.tenant.opened()
                try:
                    await self._loop.create_future()
                finally:
                    conn.discard()  # another room has no use for it
        except Exception as error:  # noqa: BLE001  # whatever it is, its client is told
            self.tenant.ended(failures.of(error))
        finally:
            self._conn = None
            self._turn.end(0.0)

    @contextlib.asynccontextmanager
    async def lend(self, timeout: float) -> AsyncIterator[PooledConnection]:
        """Lend the session for one request, after the one before it."""
        async with asyncio.timeout(timeout):
            await self._one.acquire()
        try:
            if self._conn is None:
                raise PoolClosed(f"the session of room {self.key} is closed")
            yield self._conn
        finally:
            self._one.release()

    def close(self) -> None:
        """Give the session back."""
        self.task.cancel()
