"""Who gets which connection when: the path of every borrow and every return."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from math import inf

from avatarpool.exceptions import (
    AvatarSDKError,
    AvatarSDKErrorCode,
    PoolClosed,
    PoolError,
    PoolTimeout,
)
from avatarpool.pool import hooks
from avatarpool.pool.borrowing import PooledConnection
from avatarpool.pool.collector import CollectionLimits
from avatarpool.pool.connection import Connection
from avatarpool.pool.custody import warn_of_deadlocks, warn_of_leaks
from avatarpool.pool.events import Listeners
from avatarpool.pool.events import PoolEventKind as Kind
from avatarpool.pool.fading import PONG_TIMEOUT, Fading
from avatarpool.pool.hooks import Hook
from avatarpool.pool.keeper import Keeper
from avatarpool.pool.meter import Meter
from avatarpool.pool.state import DRAINING, IDLE, LENT, PoolState
from avatarpool.untrusted import copied

log = logging.getLogger("avatarpool.pool")

_GRACE = 0.1  # seconds in which a check that is cancelled may end

_A_MOMENT = 1e-6  # seconds; shorter than what event loops' clocks tell apart


class Lender:
    """Lends connections and takes them back; what that opens or closes, the keeper does.

    Args:
        name: The pool's.
        state: What decides.
        limits: What one request may bring, and how long it may take.
        timeout: Seconds that an exchange for a dead connection may take.
        check: Called with a connection before it is lent.
        reset: Called with a connection that came back.
        leak_warning: Seconds of being lent after which a connection is logged.
    """

    def __init__(
        self,
        name: str,
        state: PoolState[Connection, PooledConnection],
        limits: CollectionLimits,
        *,
        timeout: float,
        check: Hook | None,
        reset: Hook | None,
        leak_warning: float | None,
    ) -> None:
        self.name = name
        self.limits = limits
        self.meter = Meter()
        self._counters = self.meter.counters
        self.listeners = Listeners(name)
        self.progress = asyncio.Event()  # set when a connection comes or goes
        self.now: Callable[[], float]  # the event loop's time, from open() on
        self._state: PoolState[Connection, PooledConnection] = state
        self.timeout = timeout
        self._check = check
        self._reset = reset
        self._leak_warning = leak_warning
        # From open() on:
        self._keeper: Keeper | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self._alarm: asyncio.TimerHandle | None = None  # at the next waiter's deadline
        self._alarm_at = inf

    def open(self, keeper: Keeper) -> None:
        """Lend from now on, in this event loop."""
        self._keeper = keeper
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time

    def close(self, why: str) -> None:
        """Send all waiters away with this reason; what comes back is not lent again."""
        self._state.close(PoolClosed(why))
        if self._alarm is not None:
            self._alarm.cancel()
        self.progress.set()  # initialize() looks up

    # --- lending ----------------------------------------------------------------------------

    def lend(self) -> Connection | None:
        """Take a connection out at once; None: `queue` for one."""
        if self._state.is_closed or not self._is_at_home():
            self._turn_away()
        self._counters.borrows_num += 1
        if self._check is not None or not self._state.idle_members:
            return None
        connection = self._take()
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
        now, patience = self.now(), borrower.timeout
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
            self._release(future.result(), self.now())
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
        if self._keeper is None:
            raise PoolClosed(f"pool {self.name!r} is not open: call initialize() first")

    def check_loop(self) -> None:
        """Raise `PoolError` in another event loop or process than the pool's own."""
        if not self._is_at_home():
            raise PoolError(
                f"pool {self.name!r} belongs to another event loop or process: initialize "
                "and use it in one, and make a pool for each"
            )

    def _is_at_home(self) -> bool:
        try:
            return asyncio.get_running_loop() is self.loop
        except RuntimeError:  # in a child process that was forked from within the loop
            return False

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

    def _take(self) -> Connection | None:
        """Take an idle connection out; None: wait for one."""
        state, now = self._state, self.now()
        connection = state.lend(now)
        while connection is not None and connection.session.is_ending:
            state.retire(connection, "no longer open")
            connection = state.lend(now)
        if state.to_close:
            self._act()
        return connection

    def _enqueue(
        self, borrower: PooledConnection, came_at: float, patience: float
    ) -> asyncio.Future[Connection]:
        """Put a borrower into the queue, at the place of who came then, for so many seconds."""
        state = self._state
        if not state.members:
            self._raise_refusal()
        self._counters.borrows_queued += 1
        assert self.loop is not None
        state.enqueue(borrower, came_at, borrower.priority, patience)
        borrower.future = future = self.loop.create_future()
        if state.has_room:
            self._act()  # one more borrower may be a reason to grow
        if state.draining_members:  # ... or to take what is as good as free
            self.look_for_faded()
        if came_at + patience < self._alarm_at:
            self._set_alarm(came_at + patience)
        return future

    def _raise_refusal(self) -> None:
        """Fail at once where no connection is to be had until the service relents."""
        assert self._keeper is not None
        refusal = self._keeper.policy.refusal
        if refusal is not None:
            raise copied(refusal)

    # One alarm for all waiters: a timer for each would cost more than the lending.

    def _set_alarm(self, when: float) -> None:
        assert self._keeper is not None
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = when
        self._alarm = self._keeper.at(when, self._send_overdue_away) if when < inf else None

    def _send_overdue_away(self) -> None:
        # uvloop counts whole milliseconds, so that it may be a bit early.
        now = max(self.now(), self._alarm_at)
        overdue = self._state.overdue(now)
        self._warn_of_deadlocks(overdue)  # who waited for less than a look's interval too
        for waiter in overdue:
            waiter.fail(self._timed_out(waiter.timeout))
        self._set_alarm(self._state.next_deadline)

    def _timed_out(self, timeout: float) -> PoolTimeout:
        state, keeper = self._state, self._keeper
        assert keeper is not None
        why = keeper.policy.error if not state.members else None
        return PoolTimeout(
            f"pool {self.name!r} gave no connection within {timeout:.2f} s "
            f"({state.waiting} waiting, {len(state.members)} open{f'; {why}' if why else ''})"
        )

    async def _checked(
        self, check: Hook, borrower: PooledConnection, came_at: float, patience: float
    ) -> Connection:
        """Give the first connection that passes the user's check."""
        deadline = came_at + patience
        while True:
            self.check_open()  # it may have been closed during the check
            connection = self._take()
            if connection is None:
                connection = await self._enqueue(borrower, came_at, patience)
                borrower.future = None  # whatever comes, the connection goes back from here
            if await self._passes(check, connection, borrower, deadline):
                return connection
            # Before those who came in the same moment, as it was.
            came_at -= _A_MOMENT

    async def _passes(
        self, check: Hook, connection: Connection, borrower: PooledConnection, deadline: float
    ) -> bool:
        assert self._keeper is not None
        checking = self._keeper.run(hooks.call(check, "check", self, connection))
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.wait({checking})
        except BaseException as error:
            await self._break_off(checking, connection)
            if isinstance(error, TimeoutError):
                raise self._timed_out(borrower.timeout) from error
            raise
        if checking.cancelled() and self._state.is_closed:
            self._release(connection, self.now())
            self.check_open()
        unfit = _what_it_raised(checking, connection)
        if isinstance(unfit, AvatarSDKError):
            self._state.retire(connection, "did not pass the check")
            self._keeper.inside(self._keeper.check_failed, unfit)
            self._act()
        elif unfit is not None:
            self._release(connection, self.now())
            raise unfit
        return unfit is None

    async def _break_off(self, checking: asyncio.Task[None], connection: Connection) -> None:
        """End a check whose borrower leaves, and take its connection back."""
        checking.cancel()
        try:
            await asyncio.wait({checking}, timeout=_GRACE)
        finally:
            if checking.done():
                self._end_check(checking, connection)
            else:
                assert self._keeper is not None
                self._keeper.have(self._release_after, checking, connection)

    async def _release_after(self, checking: asyncio.Task[None], connection: Connection) -> None:
        """Take a connection back whose check takes its time to be cancelled."""
        await asyncio.wait({checking}, timeout=self._state.quarantine_timeout)
        if checking.done():
            self._end_check(checking, connection)
        else:  # a hook that takes no notice of being cancelled
            self._state.retire(connection, "its check does not end")
            self._act()

    def _end_check(self, checking: asyncio.Task[None], connection: Connection) -> None:
        """Take a connection back from a check that was broken off, or had just failed."""
        if checking.cancelled() or checking.exception() is None:
            self._release(connection, self.now())
        else:
            self._state.retire(connection, "did not pass the check")
            self._act()

    # --- checking ---------------------------------------------------------------------------

    async def verify_idle(self, at_once: int) -> None:
        """Ping every idle connection and have the user check it; replace those that fail."""
        assert self._keeper is not None
        unverified, step = list(self._state.idle_members), self._keeper.policy.step

        async def verify() -> None:
            while unverified:
                await self._verify(unverified.pop(), step)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, len(unverified))):
                group.create_task(verify(), context=self._keeper.new_context())

    async def _verify(self, connection: Connection, step: int) -> None:
        state, idle_since = self._state, connection.since
        assert self._keeper is not None
        if not state.take_out(connection, self.now()):
            return  # lent meanwhile, or gone
        try:
            if await connection.session.proves_alive(PONG_TIMEOUT) is False:
                state.retire(connection, "its peer did not answer a ping")
            elif self._check is not None:
                await hooks.call(self._check, "check", self, connection)
        except AvatarSDKError as error:
            state.retire(connection, "did not pass the check")
            self._keeper.check_failed(error, step)
        except BaseException:
            self._release(connection, self.now())
            raise
        if connection.phase is LENT:
            state.recycle(connection, self.now())
        if connection.phase is IDLE:
            connection.since = idle_since  # looking at it is no use of it
        self._act()

    # --- taking back ------------------------------------------------------------------------

    def discard(self, dead: Connection) -> None:
        """Let a connection go that died unused."""
        self._state.retire(dead, "no longer open")  # its end may not have been told yet
        self._act()

    def put_back(self, connection: Connection) -> None:
        """Take a connection back: lend it on, clean it or let it go."""
        now = self.now()
        used = now - connection.since
        self._counters.usage_ms += used * 1000.0
        if self.listeners.each:
            self.tell(Kind.RETURNED, connection.connection_id, "", used)
        self._release(connection, now)

    def _release(self, connection: Connection, now: float) -> None:
        left, connection.left = connection.left, None  # an idle connection keeps no frames
        if connection.phase is not LENT:
            return  # it died meanwhile, or the pool cut it
        session = connection.session
        if session.is_ending:
            self._state.retire(connection, "no longer open")
        elif connection.why:
            self._state.retire(connection, connection.why)
        elif not connection.is_touched or session.is_settled:
            if self._reset is None:
                self._state.recycle(connection, now)
            else:
                self._free(connection, now)
        else:
            self._counters.returns_unsettled += 1
            if self.listeners.each:
                self._inside(self.tell, Kind.QUARANTINED, connection.connection_id)
            connection.fading = Fading(
                now,
                asked_at=left.began_at if left else now,
                has_frames=left is not None and left.has_frames,
                patience=self._state.quarantine_timeout,
                longest=inf if self.limits.timeout is None else self.limits.timeout,
            )
            self._clean(connection, session.abandon, self._interrupted)
        if self._state.to_close:
            self._act()
            self.progress.set()

    def _interrupted(self, connection: Connection) -> None:
        """What a borrower left is interrupted: see whether its peer is alive, and stops."""
        self.settled(connection)
        if connection.phase is DRAINING and connection.fading is not None:
            self._ask_for_life(connection, connection.fading)

    def _ask_for_life(self, connection: Connection, fading: Fading) -> None:
        assert self._keeper is not None
        fading.peer_asked()
        self._keeper.have(self._prove_alive, connection, fading)

    async def _prove_alive(self, connection: Connection, fading: Fading) -> None:
        answered = await connection.session.proves_alive(PONG_TIMEOUT)
        if connection.phase is not DRAINING or connection.fading is not fading:
            return  # its request is over, or so is the connection
        if answered:
            fading.peer_answered()
            fading.answered_at = self.now()
            self._look_at_fading(connection)
        elif answered is not None:
            self._state.retire(connection, "its peer did not answer a ping")
            self._act()

    def look_for_faded(self) -> None:
        """Free what is as good as over for those who wait, now that they may have nothing else."""
        for connection in list(self._state.draining_members):
            self._look_at_fading(connection)

    def _look_at_fading(self, connection: Connection) -> None:
        """Free a connection whose request is as good as over, or look again when it may be."""
        fading, state = connection.fading, self._state
        if connection.phase is not DRAINING or fading is None:
            return
        now = self.now()
        over_at = fading.over_at(is_wanted=state.waiting > state.opening)
        if over_at > now:
            if over_at < inf and not fading.has_alarm:
                assert self._keeper is not None
                fading.has_alarm = True
                self._keeper.at(over_at, self._look_again, connection, fading)
        elif fading.is_stale(now):
            self._ask_for_life(connection, fading)
        else:
            connection.session.requests.write_off()
            self.settled(connection)

    def _look_again(self, connection: Connection, fading: Fading) -> None:
        fading.has_alarm = False
        if connection.fading is fading:
            self._look_at_fading(connection)

    def _free(self, connection: Connection, now: float) -> None:
        """A connection's requests are over: lend it on, once it was reset."""
        connection.fading = None
        reset = self._reset
        if reset is None:
            self._state.recycle(connection, now)
        else:
            self._clean(
                connection, lambda: hooks.call(reset, "reset", self, connection), self._was_reset
            )

    def _was_reset(self, connection: Connection) -> None:
        if connection.phase is DRAINING:
            self._state.recycle(connection, self.now())
            self._act()

    def _clean(
        self,
        connection: Connection,
        work: Callable[[], Awaitable[object]],
        done: Callable[[Connection], None],
    ) -> None:
        if self._state.quarantine(connection, self.now()) and self._keeper is not None:
            self._keeper.clean(connection, work, done)

    # --- told by connections ------------------------------------------------------------------

    def settled(self, connection: Connection) -> None:
        """A connection's requests may be over: then out of quarantine with it."""
        if connection.phase is not DRAINING or connection.is_cleaning:
            return
        if connection.session.is_settled:
            self._free(connection, self.now())
            self._act()

    def went_on(self, connection: Connection) -> None:
        """What was left on a connection goes on: it may be over a moment after this."""
        self._look_at_fading(connection)

    def lost(self, connection: Connection, error: AvatarSDKError | None) -> None:
        """A connection ended, in whoever's hands: replace it."""
        self._inside(self._lost, connection, error)

    def _lost(self, connection: Connection, error: AvatarSDKError | None) -> None:
        if self._state.lose(connection):
            self._counters.connections_lost += 1
            if error is not None and error.code is AvatarSDKErrorCode.protocolError:
                self._counters.protocol_errors += 1
            self.tell(Kind.LOST, connection.connection_id, str(error or "closed from here"))
            log.warning(
                "pool %r lost connection %s: %s", self.name, connection.connection_id, error
            )
            if error is not None and self._keeper is not None:
                self._keeper.died(connection, error)
        self.fail_waiters_if_refused()
        self.progress.set()
        self._act()

    def broken(self, connection: Connection, error: AvatarSDKError) -> None:
        """A connection's peer broke the protocol: it is not lent any more."""
        self._inside(self._broken, connection, error)

    def _broken(self, connection: Connection, error: AvatarSDKError) -> None:
        self._counters.protocol_errors += 1
        if connection.why:
            return
        connection.why = "its peer broke the protocol"
        log.warning("pool %r: connection %s: %s", self.name, connection.connection_id, error)
        if connection.phase in (IDLE, DRAINING):
            self._state.retire(connection, connection.why)
            self._act()

    def opening_failed(self) -> None:
        """No connection could be opened: who waits may have to be sent away."""
        self.fail_waiters_if_refused()
        self.look_for_faded()
        self.progress.set()

    def fail_waiters_if_refused(self) -> None:
        """Send waiters away where nothing is open and the service refuses."""
        refusal = self._keeper.policy.refusal if self._keeper else None
        if refusal is not None and not self._state.members:
            self._state.fail_waiters(refusal)

    def look(self) -> None:
        """Let idle connections go that died unheard; log who holds or may wait for too long."""
        state = self._state
        # A connection that picows ends is not lost before its peer took what was
        # queued, and a peer may take nothing.
        for connection in list(state.members):
            if connection.phase is IDLE and not connection.session.is_open:
                state.retire(connection, "no longer open")
        if state.waiting:
            self._warn_of_deadlocks(state.waiters())
        if self._leak_warning is not None:
            warn_of_leaks(self.name, state.members, self.now(), self._leak_warning)

    def _warn_of_deadlocks(self, waiters: Iterable[PooledConnection]) -> None:
        if len(self._state.members) >= self._state.max_size:
            warn_of_deadlocks(self.name, self._state.members, waiters)

    def tell(
        self,
        kind: Kind,
        connection_id: str = "",
        reason: str = "",
        seconds: float = 0.0,
        error: BaseException | None = None,
    ) -> None:
        """Pass an event on to whoever follows the pool."""
        if self.listeners.each:
            self.listeners.tell(kind, connection_id, reason, seconds, error)

    def _act(self) -> None:
        assert self._keeper is not None
        self._keeper.act()

    def _inside(self, act: Callable[..., object], *args: object) -> None:
        """Do what is the pool's in its own context."""
        assert self._keeper is not None
        self._keeper.inside(act, *args)


def _what_it_raised(checking: asyncio.Task[None], connection: Connection) -> BaseException | None:
    if checking.cancelled():  # a hook that has cancelled its own task
        return hooks.failure("check was cancelled from within", connection)
    return checking.exception()
