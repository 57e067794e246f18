"""Keeps the pool at its size: opens and closes what `PoolState` has decided."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from avatarpool.exceptions import AvatarPoolError, AvatarSDKError, AvatarSDKErrorCode, PoolError
from avatarpool.pool.borrowing import PooledConnection
from avatarpool.pool.connection import Connection
from avatarpool.pool.demand import Demand
from avatarpool.pool.events import PoolEventKind as Kind
from avatarpool.pool.health import Health
from avatarpool.pool.lending import Lender
from avatarpool.pool.opener import Opener
from avatarpool.pool.opening import is_account_full
from avatarpool.pool.options import PoolOptions
from avatarpool.pool.slots import Slots
from avatarpool.pool.state import GIVEN_UP, PoolState
from avatarpool.pool.tasks import Tasks
from avatarpool.untrusted import Interrupted, awaited, ours, words

log = logging.getLogger("avatarpool.pool")


class Keeper:
    """Acts on the pool's state, whenever that wakes it.

    Args:
        options: The pool's.
        state: What to act on.
        tasks: What does it.
        health: Told of each attempt to open a connection.
        opener: Opens one, and has it join.
        lender: Told of each attempt that failed, and of each look at ages.
        slots: Where the pool shares its sessions with others.
    """

    def __init__(
        self,
        options: PoolOptions,
        state: PoolState[Connection, PooledConnection],
        tasks: Tasks,
        health: Health,
        *,
        opener: Opener,
        lender: Lender,
        slots: Slots | None = None,
    ) -> None:
        self.policy = health.policy
        self.progress = asyncio.Event()  # set whenever there was something to act on
        self._name = options.name
        self._num_workers = options.num_workers
        limits = (options.longest_life, options.max_idle)
        self._look_interval = _interval(*limits)
        self._drain_interval = _interval(*limits, options.quarantine_timeout)
        self._state = state
        self._tasks = tasks
        self._health = health
        self._opener = opener
        self._lender = lender
        self._slots = slots
        self._counters = lender.meter.counters
        self._look_at = 0.0
        self._timer: asyncio.TimerHandle | None = None  # the next sweep
        self._retry: asyncio.TimerHandle | None = None  # the next opening step
        self._retry_due = 0.0  # when; uvloop's handles do not know it if it is now
        if slots is not None:
            slots.attach(self)
            state.is_claimed = slots.is_claimed

    def start(self) -> None:
        """Keep the pool at its size from now on, in this event loop."""
        self._tasks.start()
        self._state.wake = self.act
        self._sweep()

    def act(self) -> None:
        """Do what the state has decided: close what is to be closed, open what is missing."""
        state = self._state
        self.progress.set()
        if state.to_close:
            self._tasks.inside(self._retire)
        now = self._tasks.now()
        if state.waiting:
            self.policy.hurry(now)
        missing = self._missing()
        if self._slots is not None:
            missing = self._slots.grant(self.policy.allows(now, missing, state.opening))
        for _ in range(self.policy.take(now, missing, state.opening)):
            state.opening += 1
            self._tasks.have(self._open, self.policy.step)
        if state.missing and self.policy.next_at > now:
            self._retry_at(self.policy.next_at)
        if self._slots is not None:
            self._slots.changed()

    def _missing(self) -> int:
        return min(self._state.missing, self._num_workers - self._state.opening)

    # --- for other pools, where sessions are shared -----------------------------------------

    def demand(self) -> Demand:
        """Return what the pool has and wants."""
        state = self._state
        wanted = self.policy.allows(self._tasks.now(), self._missing(), state.opening)
        return Demand(
            used=state.used,
            closing=state.closing + len(state.to_close),
            wanted=wanted,
            waiting=min(wanted, state.unserved),
            turn=state.next_turn,
        )

    @property
    def used(self) -> int:
        """Sessions that the pool has, those on their way in or out included."""
        return self._state.used

    @property
    def idle(self) -> Sequence[Connection]:
        """Connections that nobody has borrowed, the longest idle first."""
        return self._state.idle_members

    def allow(self, max_size: int) -> None:
        """Let the pool have as many sessions, if they are granted."""
        self._state.resize(self._state.min_size, max(self._state.min_size, max_size, 1))

    def give_up(self, connection: Connection) -> None:
        """Let an idle connection go, for another pool."""
        self._state.retire(connection, GIVEN_UP)

    # --- opening and closing ----------------------------------------------------------------

    def _retire(self) -> None:
        state = self._state
        while state.to_close:
            connection = state.to_close.pop()
            state.closing += 1
            self._counters.connections_retired += 1
            log.info(
                "pool %r retires connection %s: %s",
                self._name,
                connection.connection_id,
                connection.why,
            )
            self._lender.tell(Kind.RETIRED, connection.connection_id, connection.why)
            self._tasks.finish(self._close, connection)

    def stop(self) -> None:
        """Open and clean nothing any more."""
        for handle in (self._timer, self._retry):
            if handle is not None:
                handle.cancel()
        self._health.stop()
        self._tasks.stop()

    async def close(self) -> None:
        """Wait until everything that is being closed is closed."""
        await self._tasks.close()
        # What was cancelled before its first step could not say so.
        self._state.opening = self._state.closing = 0
        if self._slots is not None:
            self._slots.changed()

    async def _open(self, step: int) -> None:
        began = self._tasks.now()
        try:
            connection = await self._attempt()
        except AvatarPoolError as error:
            self._failed(error, step)
        except asyncio.CancelledError:
            if not self._state.is_closed:  # what we called has cancelled its own task
                self._failed(_cancelled_from_within(), step)
            raise
        else:
            seconds = self._tasks.now() - began
            self._counters.connections_ms += seconds * 1000.0
            self._health.opened()
            if self._slots is not None:
                self._slots.opened()
            self._opener.join(connection, seconds)
            self.act()

    async def _attempt(self) -> Connection:
        """Open one connection; it counts as being opened until here, whatever comes."""
        self._counters.connections_num += 1
        try:
            return await awaited(self._opener.open())
        except AvatarPoolError as error:
            raise ours(error)  # noqa: B904  # it is most often the same
        except Interrupted as error:  # an SDK's own doing, which may not last
            raise _cancelled_from_within() from error
        except Exception as error:
            raise PoolError(f"opening failed: {words(error)}") from error
        finally:
            self._state.opening -= 1

    def _failed(self, error: Exception, step: int) -> None:
        if self._slots is not None and is_account_full(error):
            # What others hold is no failing of the service's: who waits goes on waiting.
            self._health.refused(error)
            self.policy.undecided(step=step)
            self._slots.filled()
        else:
            self._health.failed(error, step)
        self._lender.opening_failed()
        self.act()

    async def _close(self, connection: Connection) -> None:
        try:
            await connection.session.close()
        finally:
            self._state.closing -= 1
        self.policy.slot_freed(self._tasks.now())
        self.act()

    def _sweep(self) -> None:
        now = self._tasks.now()
        with self._state.together():
            if now >= self._look_at:  # at every member: they may be thousands
                self._look_at = now + self._look_interval
                self._state.sweep(now)
                self._lender.look()
            else:
                self._state.sweep_draining(now)
        self._timer = self._tasks.at(now + self._drain_interval, self._sweep)

    def _retry_at(self, when: float) -> None:
        if self._retry is not None:
            if self._retry_due == when:
                return
            self._retry.cancel()
        self._retry_due = when
        self._retry = self._tasks.at(when, self._retry_now)

    def _retry_now(self) -> None:
        self._retry = None
        self.act()


def _interval(*limits: float) -> float:
    """A twentieth of the shortest limit: late by 5 % at most, at no cost worth naming."""
    return min(1.0, max(0.01, min(limits) / 20.0))


def _cancelled_from_within() -> AvatarSDKError:
    # Of a kind that may not last.
    return AvatarSDKError(AvatarSDKErrorCode.connectionFailed, "opening was cancelled from within")
