"""Who holds which connection, to tell of misuse: deadlocks in the making, and leaks."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Iterable

from avatarpool.pool.connection import Connection, PooledConnection

log = logging.getLogger("avatarpool.pool")


class Custody:
    """Notes what each task holds.

    Args:
        pool: The pool's name, for the log.
        leak_warning: Seconds of being lent after which a connection is logged;
            None for never.
    """

    def __init__(self, pool: str, leak_warning: float | None) -> None:
        self._pool = pool
        self._leak_warning = leak_warning
        # The first connection that each task holds.
        self._held_by: dict[asyncio.Task[object] | None, PooledConnection] = {}

    def hold(self, lent: PooledConnection) -> None:
        """Note which task has borrowed."""
        lent.holder = asyncio.current_task()
        self._held_by.setdefault(lent.holder, lent)

    def let_go(self, lent: PooledConnection) -> None:
        """Forget it again; it may be another task that returns it."""
        if self._held_by.get(lent.holder) is lent:
            del self._held_by[lent.holder]

    def warn_of_deadlock(self, members: int) -> None:
        """Tell a task that holds a connection and waits for another that none may come."""
        held = self._held_by.get(asyncio.current_task())
        if held is not None:
            log.warning(
                "pool %r: the task that borrowed at %s waits for another connection while all "
                "%d are lent: tasks that hold one and wait for one can wait for each other\n%s",
                self._pool,
                held.borrowed_at,
                members,
                "".join(traceback.format_stack(limit=8)),
            )

    def warn_of_leaks(self, members: Iterable[Connection], now: float) -> None:
        """Tell of connections that are held for long, once each."""
        if self._leak_warning is None:
            return
        for connection in members:
            lent = connection.borrower
            held = now - connection.since
            if lent is not None and not lent.is_leak_told and held >= self._leak_warning:
                lent.is_leak_told = True
                log.warning(
                    "pool %r lent connection %s %.0f s ago at %s and has not got it back",
                    self._pool,
                    connection.connection_id,
                    held,
                    lent.borrowed_at,
                )
