"""Who gets which connection when: the path of every borrow and every return."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable
from math import inf

from avatarpool.exceptions import (
    AvatarSDKError,
    AvatarSDKErrorCode,
    PoolClosed,
    PoolError,
    PoolTimeout,
)
from avatarpool.pool.borrowing import PooledConnection
from avatarpool.pool.checking import Checker
from avatarpool.pool.cleaning import Cleaner
from avatarpool.pool.connection import Connection
from avatarpool.pool.custody import warn_of_deadlocks, warn_of_leaks
from avatarpool.pool.events import Listeners
from avatarpool.pool.events import PoolEventKind as Kind
from avatarpool.pool.health import Health
from avatarpool.pool.hooks import Hook
from avatarpool.pool.meter import Meter
from avatarpool.pool.options import PoolOptions
from avatarpool.pool.state import DRAINING, IDLE, LENT, NO_LONGER_OPEN, PoolState
from avatarpool.pool.tasks import Tasks
from avatarpool.untrusted import copied

log = logging.getLogger("avatarpool.pool")

_A_MOMENT = 1e-6  # seconds; shorter than what event loops' clocks tell apart


class Lender:
    """Lends connections and takes them back; what that opens or closes, the keeper does.

    Args:
        options: The pool's.
        state: What decides.
        tasks: What does that which takes time.
        health: Whether connections are to be had at all.
        meter: Where it counts.
        listeners: Who follows the pool.
    """

    def __init__(
        self,
        options: PoolOptions,
        state: PoolState[Connection, PooledConnection],
        tasks: Tasks,
        health: Health,
        *,
        meter: Meter,
        listeners: Listeners,
    ) -> None:
        self.name = options.name
        self.timeout = options.timeout  # of an exchange for a dead connection
        self.limits = options.limits
        self.tasks = tasks
        self.meter = meter
        self.listeners = listeners
        self.tell = listeners.tell
        self._counters = meter.counters
        self._state = state
        self._health = health
        self._check = options.check
        self._reset = options.reset
        self._leak_warning = options.leak_warning
        self.checker = Checker(self._check, state, tasks, health, self, release=self._release)
        self._cleaner = Cleaner(options, state, tasks, self)
        # What connections tell of their requests.
        self.settled = self._cleaner.settled
        self.went_on = self._cleaner.look_at  # it may be over a moment after this
        self._alarm: asyncio.TimerHandle | None = None  # at the next waiter's deadline
        self._alarm_at = inf

    def now(self) -> float:
        """Return the event loop's time."""
        return self.tasks.now()

    def close(self, why: str) -> None:
        """Send all waiters away with this reason; what comes back is not lent again."""
        self._state.close(PoolClosed(why))
        if self._alarm is not None:
            self._alarm.cancel()

    def cut(self) -> None:
        """Take all connections from their borrowers, whose requests fail at once."""
        with self._state.together():
            for connection in list(self._state.members):
                if connection.borrower is not None:
                    connection.borrower.ended(
                        PoolClosed(f"pool {self.name!r} was closed before the last frame"),
                        is_final=True,
                    )
                self._state.retire(connection, "the pool closes")

    # --- lending ----------------------------------------------------------------------------

    def lend(self) -> Connection | None:
        """Take a connection out at once; None: `queue` for one."""
        state, tasks = self._state, self.tasks
        if state.is_closed or not tasks.is_here():
            self._turn_away()
        self._counters.borrows_num += 1
        if self._check is not None or not state.idle_members:
            return None
        connection = state.lend(tasks.now())
        if connection is not None:
            self.meter.wait.add(0.0)
            if self.listeners.each:
                self.tell(Kind.LENT, connection.connection_id)
        return connection

    def queue(self, borrower: PooledConnection) -> Awaitable[Connection]:
        """Have a borrower wait for a connection.

        Whoever has it calls `admit`, and whoever will not have it `withdraw`.
        """
        borrower.waits_since = self.meter.clock()
        now, patience = self.tasks.now(), borrower.timeout
        if borrower.came_at is None:
            borrower.came_at = now
        else:
            patience += now - borrower.came_at
        if self._check is None:
            return self._enqueue(borrower, borrower.came_at, patience)
        return self._checked(self._check, borrower, borrower.came_at, patience)

    def admit(self, borrower: PooledConnection, connection: Connection) -> None:
        """Count a borrower that waited and has its connection now; `put_back` returns it."""
        waited = self.meter.clock() - borrower.waits_since
        self._counters.borrows_wait_ms += waited * 1000.0
        self.meter.wait.add(waited)
        if self.listeners.each:
            self.tell(Kind.LENT, connection.connection_id, "", waited)

    def withdraw(self, borrower: PooledConnection, error: BaseException) -> None:
        """Leave the queue; a connection that was handed over meanwhile goes back."""
        self._state.leave(borrower)
        borrower.came_at = None  # it may come again
        future, borrower.future = borrower.future, None
        if future and future.done() and not future.cancelled() and future.exception() is None:
            self._release(future.result(), self.tasks.now())
        waited = self.meter.clock() - borrower.waits_since
        counters = self._counters
        counters.borrows_wait_ms += waited * 1000.0
        counters.borrows_errors += 1
        counters.borrows_timeouts += isinstance(error, PoolTimeout)
        self.tell(Kind.NOT_LENT, "", "", waited, error)

    def check_open(self) -> None:
        """Raise `PoolClosed` unless the pool is open."""
        if self._state.is_closed:
            raise PoolClosed(f"pool {self.name!r} is closed")
        if self.tasks.loop is None:
            raise PoolClosed(f"pool {self.name!r} is not open: call initialize() first")

    def check_loop(self) -> None:
        """Raise `PoolError` in another event loop or process than the pool's own."""
        if not self.tasks.is_here():
            raise PoolError(
                f"pool {self.name!r} belongs to another event loop or process: initialize "
                "and use it in one, and make a pool for each"
            )

    def _turn_away(self) -> None:
        """Say why nothing is lent, and count it."""
        try:
            self.check_open()
            self.check_loop()
        except PoolError as error:
            self._counters.borrows_num += 1
            self._counters.borrows_errors += 1
            self.tell(Kind.NOT_LENT, error=error)
            raise

    def _enqueue(
        self, borrower: PooledConnection, came_at: float, patience: float
    ) -> asyncio.Future[Connection]:
        """Put a borrower into the queue, at the place of who came then, for so many seconds."""
        state = self._state
        if not state.members:
            self._raise_refusal()
        self._counters.borrows_queued += 1
        borrower.future = future = self.tasks.new_future()
        state.enqueue(borrower, came_at, borrower.priority, patience)
        if state.draining_members:  # it may take what is as good as free
            self._cleaner.look_for_faded()
        if came_at + patience < self._alarm_at:
            self._set_alarm(came_at + patience)
        return future

    def _raise_refusal(self) -> None:
        """Fail at once where no connection is to be had until the service relents.

        Where the pool wants none for itself, whoever comes when it is time for a probe waits
        for what comes of it: nobody else would ever ask again.
        """
        policy, state = self._health.policy, self._state
        if policy.refusal is None:
            return
        if state.missing or not policy.allows(self.tasks.now(), 1, state.opening):
            raise copied(policy.refusal)

    # One alarm for all waiters: a timer for each would cost more than the lending.

    def _set_alarm(self, when: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = when
        self._alarm = self.tasks.at(when, self._send_overdue_away) if when < inf else None

    def _send_overdue_away(self) -> None:
        # uvloop counts whole milliseconds, so that it may be a bit early.
        now = max(self.tasks.now(), self._alarm_at)
        overdue = self._state.overdue(now)
        self._warn_of_deadlocks(overdue)  # who waited for less than a look's interval too
        for waiter in overdue:
            waiter.fail(self._timed_out(waiter.timeout))
        self._set_alarm(self._state.next_deadline)

    def _timed_out(self, timeout: float) -> PoolTimeout:
        state = self._state
        why = self._health.policy.error if not state.members else None
        error = PoolTimeout(
            f"pool {self.name!r} gave no connection within {timeout:.2f} s "
            f"({state.waiting} waiting, {len(state.members)} open{f'; {why}' if why else ''})"
        )
        error.__cause__ = why
        return error

    async def _checked(
        self, check: Hook, borrower: PooledConnection, came_at: float, patience: float
    ) -> Connection:
        """Give the first connection that passes the user's check."""
        deadline = came_at + patience
        while True:
            self.check_open()  # it may have been closed during the check
            connection = self._state.lend(self.tasks.now())
            if connection is None:
                connection = await self._enqueue(borrower, came_at, patience)
                borrower.future = None  # whatever comes, the connection goes back from here
            try:
                if await self.checker.passes(check, connection, deadline):
                    return connection
            except TimeoutError as error:
                raise self._timed_out(borrower.timeout) from error
            # Before those who came in the same moment, as it was.
            came_at -= _A_MOMENT

    # --- taking back ------------------------------------------------------------------------

    def discard(self, dead: Connection) -> None:
        """Let a connection go that died unused."""
        self._state.retire(dead, NO_LONGER_OPEN)  # its end may not have been told yet

    def put_back(self, connection: Connection) -> None:
        """Take a connection back: lend it on, clean it or let it go."""
        now = self.tasks.now()
        used = now - connection.since
        used_ms, counters = used * 1000.0, self._counters
        counters.usage_ms += used_ms
        counters.usage_ms_squared += used_ms * used_ms
        counters.returns_num += 1
        if self.listeners.each:
            self.tell(Kind.RETURNED, connection.connection_id, "", used)
        self._release(connection, now)

    def _release(self, connection: Connection, now: float) -> None:
        left, connection.left = connection.left, None  # an idle connection keeps no frames
        if connection.phase is not LENT:
            return  # it died meanwhile, or the pool cut it
        session = connection.session
        if session.is_ending:
            self._state.retire(connection, NO_LONGER_OPEN)
        elif connection.why:
            self._state.retire(connection, connection.why)
        elif not connection.is_touched or session.is_settled:
            if self._reset is None:
                self._state.recycle(connection, now)
            else:
                self._cleaner.free(connection, now)
        else:
            self._counters.returns_unsettled += 1
            if self.listeners.each:
                self.tasks.inside(self.tell, Kind.QUARANTINED, connection.connection_id)
            self._cleaner.fade(connection, left, now)

    # --- told by connections ------------------------------------------------------------------

    def lost(self, connection: Connection, error: AvatarSDKError | None) -> None:
        """A connection ended, in whoever's hands: replace it."""
        self.tasks.inside(self._lost, connection, error)

    def _lost(self, connection: Connection, error: AvatarSDKError | None) -> None:
        with self._state.together():  # another one is opened once all is told of this one
            if self._state.lose(connection):
                self._tell_lost(connection, error)
            self._fail_waiters_if_refused()

    def _tell_lost(self, connection: Connection, error: AvatarSDKError | None) -> None:
        self._counters.connections_lost += 1
        if error is not None and error.code is AvatarSDKErrorCode.protocolError:
            self._counters.protocol_errors += 1
        why = str(error or "closed from here")
        self.tell(Kind.LOST, connection.connection_id, why, error=error)
        log.warning("pool %r lost connection %s: %s", self.name, connection.connection_id, error)
        if error is not None:
            self._health.died(connection, error)

    def broken(self, connection: Connection, error: AvatarSDKError) -> None:
        """A connection's peer broke the protocol: it is not lent any more."""
        self.tasks.inside(self._broken, connection, error)

    def _broken(self, connection: Connection, error: AvatarSDKError) -> None:
        self._counters.protocol_errors += 1
        if connection.why:
            return
        connection.why = "its peer broke the protocol"
        log.warning("pool %r: connection %s: %s", self.name, connection.connection_id, error)
        if connection.phase in (IDLE, DRAINING):
            self._state.retire(connection, connection.why)

    def opening_failed(self) -> None:
        """No connection could be opened: who waits may have to be sent away."""
        self._fail_waiters_if_refused()
        self._cleaner.look_for_faded()

    def _fail_waiters_if_refused(self) -> None:
        """Send waiters away where nothing is open and the service refuses."""
        refusal = self._health.policy.refusal
        if refusal is not None and not self._state.members:
            self._state.fail_waiters(refusal)

    def look(self) -> None:
        """Let idle connections go that died unheard; log who holds or may wait for too long."""
        state = self._state
        # A connection that picows ends is not lost before its peer took what was
        # queued, and a peer may take nothing.
        for connection in list(state.members):
            if connection.phase is IDLE and not connection.session.is_open:
                state.retire(connection, NO_LONGER_OPEN)
        if state.waiting:
            self._warn_of_deadlocks(state.waiters())
        if self._leak_warning is not None:
            warn_of_leaks(self.name, state.members, self.tasks.now(), self._leak_warning)

    def _warn_of_deadlocks(self, waiters: Iterable[PooledConnection]) -> None:
        if len(self._state.members) >= self._state.max_size:
            warn_of_deadlocks(self.name, self._state.members, waiters)
