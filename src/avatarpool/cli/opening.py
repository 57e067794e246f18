"""A pool that is opened while somebody watches: if that takes a while, it is said why."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from functools import partial

from avatarpool.cli.streams import note
from avatarpool.pool import AvatarConnectionPool

_TIMEOUT = 30.0
"""Seconds in which at least one session must be open."""

_NOTICE_AFTER = 0.4
"""Seconds after which somebody who watches wants to know of a failure, and after as many
again that there is no answer; a service that is well is faster, also a far one."""


@asynccontextmanager
async def opened(pool: AvatarConnectionPool) -> AsyncIterator[None]:
    """Open a pool as `open_pool` does, and close it.

    Raises:
        AvatarPoolError: As `AvatarConnectionPool.initialize`.
    """
    await open_pool(pool)
    try:
        yield
    finally:
        await pool.close()


async def open_pool(pool: AvatarConnectionPool) -> None:
    """Open a pool; if it is not open soon, say once why and until when it is tried.

    Raises:
        AvatarPoolError: As `AvatarConnectionPool.initialize`.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _TIMEOUT
    notice: asyncio.TimerHandle

    def look(*, again: bool) -> None:
        nonlocal notice
        if again and pool.last_open_error is None:
            notice = loop.call_later(_NOTICE_AFTER, partial(look, again=False))
        else:
            note(retrying(pool, deadline - loop.time()))

    notice = loop.call_later(_NOTICE_AFTER, partial(look, again=True))
    with _warnings_held_back():
        try:
            await pool.initialize(_TIMEOUT)
        finally:
            notice.cancel()


def retrying(pool: AvatarConnectionPool, seconds_left: float) -> str:
    """Say what is missing, why, how long it is tried, and who knows more."""
    why = " ".join(str(pool.last_open_error or "no answer yet").split())
    until = datetime.now().astimezone() + timedelta(seconds=seconds_left)
    return (
        f"{pool.total_count} of {pool.min_size} sessions are open ({why}): trying until "
        f"{until:%H:%M:%S}, {seconds_left:.0f} s from now. `avatarpool doctor` says what is wrong."
    )


@contextmanager
def _warnings_held_back() -> Iterator[None]:
    """Keep the pool's warnings from the terminal: the notice and the outcome say the same."""
    log = logging.getLogger("avatarpool.pool")
    log.addFilter(_is_error)
    try:
        yield
    finally:
        log.removeFilter(_is_error)


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR
