"""What a borrower holds of the pool: its place in the queue, its ``async with``."""

from __future__ import annotations

import asyncio
import copy
import sys
from types import TracebackType
from typing import Protocol

from avatarpool.exceptions import SessionStateError
from avatarpool.pool.connection import Connection, Owner, PooledConnection
from avatarpool.pool.custody import Custody


class _Lender(Owner, Protocol):
    """What a borrow asks of the pool."""

    custody: Custody

    def lend(self) -> Connection | None:
        """Take a connection out if one is idle."""

    async def wait(self, timeout: float, priority: float = 0.0) -> Connection:
        """Take a connection out once there is one."""


class QueuedBorrower:
    """A borrower in the queue: its place is a future.

    Args:
        future: Gets the connection.
        timeout: Seconds that it waits.
    """

    __slots__ = ("future", "timeout")

    def __init__(self, future: asyncio.Future[Connection], timeout: float) -> None:
        self.future = future
        self.timeout = timeout

    def hand_over(self, member: Connection) -> bool:
        """Take the connection; False if the borrower is gone."""
        if self.future.done():
            return False
        self.future.set_result(member)
        return True

    def fail(self, error: Exception) -> None:
        """Learn that none will come."""
        if not self.future.done():
            self.future.set_exception(copy.copy(error))


class Borrow:
    """What ``pool.borrow()`` returns: enter it once to have a connection."""

    __slots__ = ("_is_entered", "_lent", "_pool", "_priority", "_timeout")

    def __init__(self, pool: _Lender, timeout: float, priority: float) -> None:
        self._pool = pool
        self._timeout = timeout
        self._priority = priority
        self._is_entered = False
        self._lent: PooledConnection | None = None

    async def __aenter__(self) -> PooledConnection:
        if self._is_entered:
            raise SessionStateError("this borrow is entered already: call pool.borrow() again")
        pool = self._pool
        self._is_entered = True  # from here: another task may enter while this one waits
        try:
            connection = pool.lend() or await pool.wait(self._timeout, self._priority)
        except BaseException:
            self._is_entered = False
            raise
        caller = sys._getframe(1)  # noqa: SLF001  # the coroutine that awaits this
        self._lent = lent = PooledConnection(pool, connection, (caller.f_code, caller.f_lasti))
        pool.custody.hold(lent)
        return lent

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        lent, self._lent = self._lent, None
        self._is_entered = False
        assert lent is not None
        self._pool.custody.let_go(lent)
        self._pool.put_back(lent.give_back())
