"""What makes a returned connection fit to be lent: the end of what was left on it, and a reset."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from math import inf

from avatarpool.exceptions import AvatarPoolError
from avatarpool.pool import hooks
from avatarpool.pool.borrowing import Desk, PooledConnection
from avatarpool.pool.connection import Connection
from avatarpool.pool.fading import PONG_TIMEOUT, UNANSWERED, Fading
from avatarpool.pool.options import PoolOptions
from avatarpool.pool.request import Request
from avatarpool.pool.state import DRAINING, PoolState
from avatarpool.pool.tasks import Tasks
from avatarpool.untrusted import Interrupted, awaited, words

log = logging.getLogger("avatarpool.pool")

# Seconds after which what cleans is given up though its connection is long replaced.
_SPARE_TIMEOUT = 1.0


class Cleaner:
    """Keeps returned connections from borrowers until they are clean, or replaced.

    Args:
        options: The pool's.
        state: What decides who is lent.
        tasks: What cleans.
        desk: Whose connections they are.
    """

    def __init__(
        self,
        options: PoolOptions,
        state: PoolState[Connection, PooledConnection],
        tasks: Tasks,
        desk: Desk,
    ) -> None:
        self._name = options.name
        self._reset = options.reset
        self._longest = options.request_timeout
        self._state = state
        self._tasks = tasks
        self._desk = desk

    def free(self, connection: Connection, now: float) -> None:
        """A connection's requests are over: lend it on, once it was reset."""
        connection.fading = None
        reset = self._reset
        if reset is None:
            self._state.recycle(connection, now)
        else:
            self._clean(
                connection,
                now,
                lambda: hooks.call(reset, "reset", self._desk, connection),
                self._was_reset,
            )

    def fade(self, connection: Connection, left: Request | None, now: float) -> None:
        """A connection's requests are not over: have what was left on it end."""
        connection.fading = Fading(
            now,
            asked_at=left.began_at if left else now,
            has_frames=left is not None and left.has_frames,
            patience=self._state.quarantine_timeout,
            longest=self._longest,
        )
        self._clean(connection, now, connection.session.abandon, self._interrupted)

    def settled(self, connection: Connection) -> None:
        """A connection's requests may be over: then out of quarantine with it."""
        if connection.phase is not DRAINING or connection.is_cleaning:
            return
        if connection.session.is_settled:
            self.free(connection, self._tasks.now())

    def look_for_faded(self) -> None:
        """Free what is as good as over for those who wait, now that they may have nothing else."""
        for connection in list(self._state.draining_members):
            self.look_at(connection)

    def look_at(self, connection: Connection) -> None:
        """Free a connection whose request is as good as over, or look again when it may be."""
        fading, state = connection.fading, self._state
        if connection.phase is not DRAINING or fading is None:
            return
        now = self._tasks.now()
        over_at = fading.over_at(is_wanted=state.waiting > state.opening)
        if over_at > now:
            if over_at < inf and not fading.has_alarm:
                fading.has_alarm = True
                self._tasks.at(over_at, self._look_again, connection, fading)
        elif fading.is_stale(now):
            self._ask_for_life(connection, fading)
        else:
            connection.session.requests.write_off()
            self.settled(connection)

    def _look_again(self, connection: Connection, fading: Fading) -> None:
        fading.has_alarm = False
        if connection.fading is fading:
            self.look_at(connection)

    def _interrupted(self, connection: Connection) -> None:
        """What a borrower left is interrupted: see whether its peer is alive, and stops."""
        connection.was_interrupted()
        self.settled(connection)
        if connection.phase is DRAINING and connection.fading is not None:
            self._ask_for_life(connection, connection.fading)

    def _ask_for_life(self, connection: Connection, fading: Fading) -> None:
        fading.peer_asked()
        self._tasks.have(self._prove_alive, connection, fading)

    async def _prove_alive(self, connection: Connection, fading: Fading) -> None:
        answered = await connection.session.proves_alive(PONG_TIMEOUT)
        if connection.phase is not DRAINING or connection.fading is not fading:
            return  # its request is over, or so is the connection
        if answered:
            fading.peer_answered(self._tasks.now())
            self.look_at(connection)
        elif answered is not None:
            self._state.retire(connection, UNANSWERED)

    def _was_reset(self, connection: Connection) -> None:
        if connection.phase is DRAINING:
            self._state.recycle(connection, self._tasks.now())

    # Whoever cleans has the connection in quarantine meanwhile.

    def _clean(
        self,
        connection: Connection,
        now: float,
        work: Callable[[], Awaitable[object]],
        done: Callable[[Connection], None],
    ) -> None:
        if self._state.quarantine(connection, now):
            connection.is_cleaning = True
            self._tasks.have(self._cleaned, connection, work, done)

    async def _cleaned(
        self,
        connection: Connection,
        work: Callable[[], Awaitable[object]],
        done: Callable[[Connection], None],
    ) -> None:
        try:
            # A look at those in quarantine has replaced it by then.
            async with asyncio.timeout(self._state.quarantine_timeout + _SPARE_TIMEOUT):
                await awaited(work())
        except Exception as error:  # noqa: BLE001
            self._spoilt(connection, error)
        except asyncio.CancelledError:
            if not self._state.is_closed:  # a hook that has cancelled its own task
                self._spoilt(connection, Interrupted("it was cancelled from within"))
            raise
        else:
            connection.is_cleaning = False
            done(connection)

    def _spoilt(self, connection: Connection, error: Exception) -> None:
        why = error if isinstance(error, AvatarPoolError) else words(error)
        log.warning("pool %r could not clean %s: %s", self._name, connection, why)
        self._state.retire(connection, "cannot be cleaned")
