"""The user's check: of a connection that is about to be lent, and of those that are idle."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from avatarpool.exceptions import AvatarSDKError
from avatarpool.pool import hooks
from avatarpool.pool.borrowing import Desk, PooledConnection
from avatarpool.pool.connection import Connection
from avatarpool.pool.fading import PONG_TIMEOUT, UNANSWERED
from avatarpool.pool.health import Health
from avatarpool.pool.hooks import Hook
from avatarpool.pool.state import IDLE, LENT, PoolState
from avatarpool.pool.tasks import Tasks

_GRACE = 0.1  # seconds in which a check that is cancelled may end


class Checker:
    """Has connections checked, and replaces those that fail.

    Args:
        check: The user's; None: pings alone.
        state: Where they are lent from.
        tasks: What checks.
        health: Told of those that fail.
        desk: Whose connections they are.
        release: Takes one back that is checked, or no longer.
    """

    def __init__(
        self,
        check: Hook | None,
        state: PoolState[Connection, PooledConnection],
        tasks: Tasks,
        health: Health,
        desk: Desk,
        *,
        release: Callable[[Connection, float], None],
    ) -> None:
        self._check = check
        self._state = state
        self._tasks = tasks
        self._health = health
        self._desk = desk
        self._release = release

    # --- before it is lent -------------------------------------------------------------------

    async def passes(self, check: Hook, connection: Connection, deadline: float) -> bool:
        """Whether a connection that was taken out passes; where it does not, it is gone.

        Cancelling breaks the check off, and takes the connection back.

        Raises:
            TimeoutError: The check did not end in time.
        """
        checking = self._tasks.run(hooks.call(check, "check", self._desk, connection))
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.wait({checking})
        except BaseException:
            await self._break_off(checking, connection)
            raise
        if checking.cancelled() and self._state.is_closed:
            self._take_back(connection)
            return False
        unfit = _what_it_raised(checking, connection)
        if isinstance(unfit, AvatarSDKError):
            self._turn_down(connection, unfit)
        elif unfit is not None:
            self._take_back(connection)
            raise unfit
        return unfit is None

    async def _break_off(self, checking: asyncio.Task[None], connection: Connection) -> None:
        """End a check whose borrower leaves, and take its connection back."""
        checking.cancel()
        try:
            await asyncio.wait({checking}, timeout=_GRACE)
        finally:
            if checking.done():
                self._end(checking, connection)
            else:
                self._tasks.have(self._end_late, checking, connection)

    async def _end_late(self, checking: asyncio.Task[None], connection: Connection) -> None:
        """Take a connection back whose check takes its time to be cancelled."""
        await asyncio.wait({checking}, timeout=self._state.quarantine_timeout)
        if checking.done():
            self._end(checking, connection)
        else:  # a hook that takes no notice of being cancelled
            self._state.retire(connection, "its check does not end")

    def _end(self, checking: asyncio.Task[None], connection: Connection) -> None:
        """Take a connection back from a check that was broken off, or had just failed."""
        if checking.cancelled() or checking.exception() is None:
            self._take_back(connection)
        else:
            self._turn_down(connection)

    # --- while it is idle --------------------------------------------------------------------

    async def verify_idle(self, at_once: int) -> None:
        """Ping every idle connection and have the user check it; replace those that fail."""
        unverified, step = list(self._state.idle_members), self._health.policy.step

        async def verify() -> None:
            while unverified:
                await self._verify(unverified.pop(), step)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, len(unverified))):
                group.create_task(verify(), context=self._tasks.new_context())

    async def _verify(self, connection: Connection, step: int) -> None:
        state, idle_since = self._state, connection.since
        if not state.take_out(connection, self._tasks.now()):
            return  # lent meanwhile, or gone
        try:
            if await connection.session.proves_alive(PONG_TIMEOUT) is False:
                state.retire(connection, UNANSWERED)
            elif self._check is not None:
                await hooks.call(self._check, "check", self._desk, connection)
        except AvatarSDKError as error:
            self._turn_down(connection, error, step)
        except BaseException:
            self._take_back(connection)
            raise
        if connection.phase is LENT:
            state.recycle(connection, self._tasks.now())
        if connection.phase is IDLE:
            connection.since = idle_since  # looking at it is no use of it

    # --- either ------------------------------------------------------------------------------

    def _take_back(self, connection: Connection) -> None:
        self._release(connection, self._tasks.now())

    def _turn_down(
        self, connection: Connection, error: AvatarSDKError | None = None, step: int | None = None
    ) -> None:
        """Replace a connection; an error with which its check ended by itself delays the next."""
        if error is not None:  # first: the next one may be opened as soon as this one goes
            self._tasks.inside(self._health.unfit, error, step)
        self._state.retire(connection, "did not pass the check")


def _what_it_raised(checking: asyncio.Task[None], connection: Connection) -> BaseException | None:
    if checking.cancelled():  # a hook that has cancelled its own task
        return hooks.failure("check was cancelled from within", connection)
    return checking.exception()
