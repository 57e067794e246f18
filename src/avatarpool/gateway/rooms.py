"""Sessions whose frames go to a room: an egress client has one for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from avatarpool.exceptions import PoolClosed
from avatarpool.fleet import AvatarPoolGroup, PoolKey
from avatarpool.fleet import Room as HeldRoom
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
        """It could not be opened, or not again."""

    def played(self, state: PlaybackState) -> None:
        """Its room plays: the ids are the service's."""


class Room:
    """The room of an egress client, from its configuration to its end.

    Args:
        group: Where its session is held.
        key: What session; its room with it.
        turn: When it may be.
        tenant: Told of what becomes of it.
        timeout: Seconds for it to be open.
        settled: Called once it is open, or with what it failed of, or was closed before.
    """

    def __init__(
        self,
        group: AvatarPoolGroup,
        key: PoolKey,
        turn: QueuedTurn,
        tenant: Tenant,
        timeout: float,
        *,
        settled: Callable[[Failure | None], object],
    ) -> None:
        self.key = key
        self.tenant = tenant
        self._group = group
        self._turn = turn
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._settled: Callable[[Failure | None], object] | None = settled
        self._held: HeldRoom | None = None  # while it is open
        self.task = self._loop.create_task(self._hold())
        self.task.add_done_callback(self._done)

    def __repr__(self) -> str:
        return f"<Room {self.key} {'open' if self._held else 'not open'}>"

    async def _hold(self) -> None:
        failure: Failure | None = None
        try:
            failure = await self._live()
        except Exception as error:  # noqa: BLE001  # whatever it is, its client is told
            failure = failures.of(error)
        finally:
            self._held = None
            self._turn.end(0.0)
            self._is_settled(failure)
        self.tenant.ended(failure)

    def _done(self, _: asyncio.Task[None]) -> None:
        if self._settled is not None:  # cancelled before its first step: it held nothing yet
            self._turn.end(0.0)
            self._is_settled(None)

    async def _live(self) -> Failure:
        deadline = self._loop.time() + self._timeout
        try:
            async with asyncio.timeout_at(deadline):
                await self._turn.come()
        except TimeoutError:
            return failures.waited_too_long(self._timeout)
        left = max(0.0, deadline - self._loop.time())
        told = self.tenant.played
        async with self._group.room(self.key, timeout=left, on_playback=told) as room:
            self._held = room
            self._is_settled(None)
            self.tenant.opened()
            why = await room.ended()
        return failures.CLOSING if why is None else failures.of(why)

    def _is_settled(self, failure: Failure | None) -> None:
        if self._settled is not None:
            settled, self._settled = self._settled, None
            settled(failure)

    def lend(self, timeout: float) -> AbstractAsyncContextManager[PooledConnection]:
        """Lend the session for one request, after the one before it."""
        if self._held is None:
            raise PoolClosed(f"the session of room {self.key} is closed")
        return self._held.borrow(timeout)

    async def interrupt(self) -> None:
        """Have it fall silent at once, though all that it was to say was sent."""
        if self._held is not None:
            await self._held.interrupt()

    def close(self) -> None:
        """Give the session back."""
        self.task.cancel()
