"""Who holds which connection, to tell of misuse: deadlocks in the making, and leaks."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from avatarpool.pool.connection import Borrower, Connection

log = logging.getLogger("avatarpool.pool")


def warn_of_deadlocks(
    pool: str, members: Iterable[Connection], waiters: Iterable[Borrower]
) -> None:
    """Tell of tasks that hold a connection and wait for another, once per borrow.

    Tasks that do so can wait for each other, and nobody ends it.
    """
    held_by = {lent.holder: lent for member in members if (lent := member.borrower) and lent.holder}
    for waiting in waiters:
        held = held_by.get(waiting.holder) if waiting.holder else None
        if held is not None and held is not waiting and not waiting.is_told:
            waiting.is_told = True
            log.warning(
                "pool %r: the task that borrowed at %s waits at %s for another connection while "
                "all %d are lent: tasks that hold one and wait for one can wait for each other",
                pool,
                held.borrowed_at,
                waiting.borrowed_at,
                len(held_by),
            )


def warn_of_leaks(pool: str, members: Iterable[Connection], now: float, seconds: float) -> None:
    """Tell of connections that are held for that long, once each."""
    for connection in members:
        lent = connection.borrower
        held = now - connection.since
        if lent is not None and not lent.is_told and held >= seconds:
            lent.is_told = True
            log.warning(
                "pool %r lent connection %s %.0f s ago at %s and has not got it back",
                pool,
                connection.connection_id,
                held,
                lent.borrowed_at,
            )
