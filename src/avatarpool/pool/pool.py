"""The pool: warm sessions, lent one request at a time."""

from __future__ import annotations

import asyncio
import copy
import itertools
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from types import TracebackType
from typing import Self

from avatarpool.collector import CollectionLimits
from avatarpool.exceptions import (
    AvatarSDKError,
    AvatarSDKErrorCode,
    ConfigurationError,
    PoolClosed,
    PoolError,
    PoolTimeout,
)
from avatarpool.pool import hooks
from avatarpool.pool.borrowing import Borrow, QueuedBorrower
from avatarpool.pool.connection import Connection
from avatarpool.pool.custody import Custody
from avatarpool.pool.events import PoolEvent
from avatarpool.pool.events import PoolEventKind as Kind
from avatarpool.pool.factory import ConfigFactory, SessionMaker
from avatarpool.pool.hooks import Hook
from avatarpool.pool.keeper import Keeper
from avatarpool.pool.meter import Meter
from avatarpool.pool.state import Phase, PoolState
from avatarpool.session import new_avatar_session
from avatarpool.stats import PoolStats

log = logging.getLogger("avatarpool.pool")

_pool_numbers = itertools.count(1)

# Seconds before a session is too old in which its successor is opened; a tenth
# of short lives.
_RENEWAL_LEAD = 30.0

# Of max_lifetime: each session's own life is drawn between this part of it and all.
_SHORTEST_LIFE = 0.9


class AvatarConnectionPool:
    """Keeps avatar sessions warm and lends them, one request at a time.

    ::

        async with AvatarConnectionPool(pool_size=3, config_factory=factory) as pool:
            async with pool.borrow() as conn:
                await conn.session.send_audio(audio, end=True)
                frames = await conn.collector.wait()

    It belongs to the event loop that initialized it. All times are seconds.

    Args:
        pool_size: Sessions to keep open; sets ``min_size`` and ``max_size``.
        config_factory: Makes each session's configuration: a `SessionConfig`
            or a mapping of its fields. Called with a collector whose methods
            may be wired to the session's callbacks, or without arguments.
        session_ttl_minutes: Lifetime of a session's token, and of the session
            unless ``max_lifetime`` says otherwise.
        min_size: Sessions to keep open.
        max_size: Sessions to grow to while borrowers wait.
        timeout: How long `borrow` waits, unless it is told.
        request_timeout: How long ``collector.wait()`` waits, unless it is told. A
            session whose remaining life is shorter is not lent.
        first_frame_timeout: How long ``collector.wait()`` waits for the first
            frame; None for no such limit.
        frame_gap_timeout: How long it waits between frames; None for no such limit.
        max_frames: Frames of one request; one more fails it.
        max_frame_bytes: Bytes of one request's animations; more fails it.
        max_waiting: Borrowers that may wait; 0 for any number.
        max_lifetime: Age at which a session is replaced, less up to 10 %, so
            that sessions opened together do not expire together.
        max_idle: Time after which an idle session beyond ``min_size`` is closed.
        quarantine_timeout: How long a session may take to finish a request
            that its borrower left; then it is replaced.
        num_workers: Sessions opened at the same time, at the most.
        configure: Called with each new connection, before anybody borrows it.
        check: Called with a connection before it is lent; one that fails is
            replaced, and the borrower gets another one.
        reset: Called with each connection that comes back, before it is lent again.
        reconnect_timeout: Time of failing to open sessions after which
            ``reconnect_failed`` is called; the pool goes on trying.
        reconnect_failed: Called with the pool, once per outage.
        leak_warning: Time of being lent after which a connection is logged, with
            the place that borrowed it; None for never.
        on_event: Called with each `PoolEvent`, from the event loop; must not block.
        name: Shown in messages and logs.
        session_factory: `new_avatar_session`, ours or an official SDK's.

    The three hooks are coroutine functions that take a `PooledConnection` and may
    make requests with it. A connection is closed and replaced if its hook raises,
    takes longer than ``request_timeout``, or leaves a request open.

    Raises:
        ConfigurationError: The numbers cannot work.
    """

    def __init__(
        self,
        pool_size: int = 3,
        config_factory: ConfigFactory | None = None,
        session_ttl_minutes: float = 5,
        *,
        min_size: int | None = None,
        max_size: int | None = None,
        timeout: float = 30.0,
        request_timeout: float = 45.0,
        first_frame_timeout: float | None = None,
        frame_gap_timeout: float | None = None,
        max_frames: int = 100_000,
        max_frame_bytes: int = 64 * 1024 * 1024,
        max_waiting: int = 0,
        max_lifetime: float | None = None,
        max_idle: float = 600.0,
        quarantine_timeout: float = 5.0,
        num_workers: int = 8,
        configure: Hook | None = None,
        check: Hook | None = None,
        reset: Hook | None = None,
        reconnect_timeout: float = 300.0,
        reconnect_failed: Callable[[AvatarConnectionPool], object] | None = None,
        leak_warning: float | None = None,
        on_event: Callable[[PoolEvent], object] | None = None,
        name: str | None = None,
        session_factory: Callable[..., object] = new_avatar_session,
    ) -> None:
        self.name = name or f"pool-{next(_pool_numbers)}"
        self.timeout = timeout
        self.request_timeout = request_timeout
        self.limits = CollectionLimits(
            request_timeout, first_frame_timeout, frame_gap_timeout, max_frames, max_frame_bytes
        )
        self.meter = Meter()
        self._max_lifetime = session_ttl_minutes * 60.0 if max_lifetime is None else max_lifetime
        problems = _problems(session_ttl_minutes, self._max_lifetime, request_timeout, num_workers)
        if config_factory is None:
            problems.append("config_factory is missing")
        if problems or config_factory is None:
            raise ConfigurationError(f"pool {self.name!r} cannot work", problems)
        ttl = timedelta(minutes=session_ttl_minutes)
        self._sessions = SessionMaker(config_factory, session_factory, ttl)
        if max_size is None:
            max_size = max(pool_size, min_size or 0)
        self._state: PoolState[Connection] = PoolState(
            min_size=min(pool_size, max_size) if min_size is None else min_size,
            max_size=max_size,
            max_waiting=max_waiting,
            max_idle=max_idle,
            quarantine_timeout=quarantine_timeout,
        )
        self._num_workers = num_workers
        self._configure = configure
        self._check = check
        self._reset = reset
        self._reconnect_timeout = reconnect_timeout
        self._reconnect_failed = reconnect_failed
        self.custody = Custody(self.name, leak_warning)
        self._listeners: tuple[Callable[[PoolEvent], object], ...] = ()
        if on_event is not None:
            self.add_listener(on_event)
        self._rng = random.Random()  # noqa: S311  # jitter, no secret
        self._loop: asyncio.AbstractEventLoop | None = None
        self._keeper: Keeper | None = None  # from initialize() on
        self._is_open = False  # whether initialize() has done its work
        self._progress: asyncio.Event | None = None  # set when a connection comes or goes
        self._closed: asyncio.Future[None] | None = None  # from close() on

    def __repr__(self) -> str:
        state = self._state
        if self._closed is not None:
            return f"<AvatarConnectionPool {self.name!r} closed>"
        return (
            f"<AvatarConnectionPool {self.name!r} {state.idle} idle, "
            f"{state.count(Phase.LENT)} lent, {state.waiting} waiting>"
        )

    # --- what it holds -------------------------------------------------------------------

    @property
    def available_count(self) -> int:
        """Sessions ready to be lent."""
        return self._state.idle

    @property
    def total_count(self) -> int:
        """Open sessions: idle, lent and draining."""
        return len(self._state.members)

    @property
    def last_open_error(self) -> Exception | None:
        """Why the latest attempt to open a session failed; None after a success."""
        return self._keeper.policy.error if self._keeper else None

    def get_stats(self) -> PoolStats:
        """Return the pool's numbers; `PoolStats` describes each with its unit."""
        now = self.now() if self._loop else 0.0
        return self.meter.snapshot(self._state, self._state.members, now)

    def pop_stats(self) -> PoolStats:
        """Return the pool's numbers and start the counters and latencies anew."""
        stats = self.get_stats()
        self.meter.reset()
        return stats

    def add_listener(self, listener: Callable[[PoolEvent], object]) -> None:
        """Have one more listener called with each `PoolEvent`, as ``on_event`` is."""
        self._listeners = (*self._listeners, listener)

    def remove_listener(self, listener: Callable[[PoolEvent], object]) -> None:
        """Call a listener no more; harmless if it was not there."""
        self._listeners = tuple(each for each in self._listeners if each != listener)

    # --- opening and closing --------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def initialize(self, timeout: float = 30.0) -> None:
        """Open ``min_size`` sessions, and keep them open from now on.

        Returns when they are up, or with fewer once ``timeout`` has passed or
        the service has refused more; those are opened in the background as
        soon as it lets us. Initializing an open pool does nothing; beside a call
        that still opens it, this one waits for the same. Cancelling the first
        call closes the pool.

        Raises:
            ConfigurationError: The configuration cannot work.
            PoolError: No session could be opened; the message has the reason.
                The pool is closed: make a new one to try again.
            PoolClosed: It is closed already.
        """
        if self._closed is not None:
            raise PoolClosed(f"pool {self.name!r} is closed: make a new one")
        if self._keeper is not None:
            self._check_loop()
            if not self._is_open:
                await self._first_connections(timeout)
            return
        self._loop = asyncio.get_running_loop()
        self._progress = asyncio.Event()
        self._keeper = Keeper(
            self.name,
            self._state,
            self.meter,
            new_connection=self._open_connection,
            joined=self._join,
            opening_failed=self._opening_failed,
            swept=lambda: self.custody.warn_of_leaks(self._state.members, self.now()),
            tell=self.tell,
            num_workers=self._num_workers,
            reconnect_timeout=self._reconnect_timeout,
            reconnect_failed=lambda: self._reconnect_failed and self._reconnect_failed(self),
            sweep_interval=self._sweep_interval(),
        )
        self._keeper.start()
        try:
            await self._first_connections(timeout)
        except BaseException:
            await self.close(timeout=0.0)
            raise
        self._is_open = True

    async def _first_connections(self, timeout: float) -> None:
        keeper, state, progress = self._keeper, self._state, self._progress
        assert keeper is not None
        assert progress is not None
        try:
            async with asyncio.timeout(timeout):
                while len(state.members) < state.min_size:
                    if self._closed is not None:
                        why = f": {keeper.policy.error}" if keeper.policy.error else ""
                        raise PoolClosed(f"pool {self.name!r} was closed while it opened{why}")
                    if keeper.policy.refusal is not None and not state.opening:
                        break
                    await progress.wait()
                    progress.clear()
        except TimeoutError:
            pass
        if state.members or not state.min_size:
            return
        error = keeper.policy.error
        if isinstance(error, ConfigurationError):
            raise error
        raise PoolError(
            f"pool {self.name!r} could open none of its {state.min_size} connections: "
            f"{error or f'no answer within {timeout:.2f} s'}"
        ) from error

    async def close(self, timeout: float = 5.0) -> None:
        """Close the pool: waiters learn it at once, borrowers have ``timeout`` seconds.

        Connections still lent after that are cut. Safe to call twice, and
        while `initialize` runs; whoever calls second waits for the first.
        Cancelling cuts everything at once.
        """
        if self._closed is not None:
            await asyncio.shield(self._closed)
            return
        loop = asyncio.get_running_loop()
        self._closed = loop.create_future()
        try:
            self._state.close(PoolClosed(f"pool {self.name!r} was closed while waiting"))
            if self._keeper is not None:
                assert self._progress is not None
                self._progress.set()  # initialize() looks up
                self._keeper.stop()
                self._keeper.act()
                await self._until_returned(loop.time() + timeout)
                self._cut()
                await self._keeper.close()
        finally:
            try:
                self._cut()
                await self._sessions.console.close()
            finally:
                self._closed.set_result(None)

    async def _until_returned(self, deadline: float) -> None:
        progress = self._progress
        assert progress is not None
        try:
            async with asyncio.timeout_at(deadline):
                while self._state.members:
                    await progress.wait()
                    progress.clear()
        except TimeoutError:
            pass

    def _cut(self) -> None:
        """Close what is still lent: its borrower's request fails at once."""
        for connection in list(self._state.members):
            if connection.borrower is not None:
                connection.borrower.ended(
                    PoolClosed(f"pool {self.name!r} was closed before the last frame"),
                    is_final=True,
                )
            self._state.retire(connection, "the pool closes")
        if self._keeper is not None:
            self._keeper.act()

    def resize(self, min_size: int, max_size: int | None = None) -> None:
        """Change the pool's size; it opens and closes sessions in the background.

        Raises:
            ConfigurationError: The numbers cannot work.
        """
        self._state.resize(min_size, min_size if max_size is None else max_size)
        self._state.shrink()
        self._act()

    def drain(self) -> None:
        """Replace every session: idle ones now, lent ones on their return.

        Raises:
            PoolClosed: The pool is not open.
        """
        self._check_open()
        self._state.expire(self.now())
        self._act()

    # --- borrowing ------------------------------------------------------------------------

    def borrow(self, timeout: float | None = None, *, priority: float = 0.0) -> Borrow:
        """Lend a connection for the length of an ``async with``.

        Borrowers are served in the order they came. Cancelling while waiting
        leaves the queue; no connection is lost. Leaving the block returns the
        connection without waiting for anything: if its request is not over,
        the pool finishes it in the background before anybody else gets it.

        Args:
            timeout: Seconds to wait; left out, the pool's ``timeout``.
            priority: Each unit counts as 10 s of waiting, so that the urgent go
                first and nobody starves; negative for work that can wait.

        Raises:
            PoolTimeout: No connection came free in time.
            TooManyRequests: ``max_waiting`` borrowers wait already.
            PoolClosed: The pool is not open.
            PoolError: The pool belongs to another event loop.
            AvatarSDKError: No session is open, and the service refuses new ones.
        """
        return Borrow(self, self.timeout if timeout is None else timeout, priority)

    async def acquire(self, timeout: float, priority: float = 0.0) -> Connection:
        """Take a connection out; `Borrow` and `exchange` give it back."""
        self.meter.counters.borrows_num += 1
        began = self.meter.clock()
        try:
            self._check_open()
            self._check_loop()
            connection = self._lend(self.now()) or await self._queue(timeout, priority)
            if self._check is not None:
                connection = await self._checked(connection, self._check, timeout, priority)
        except BaseException as error:
            self.meter.counters.borrows_errors += 1
            self.meter.counters.borrows_timeouts += isinstance(error, PoolTimeout)
            self.tell(Kind.NOT_LENT, "", "", self.meter.clock() - began, error)
            raise
        waited = self.meter.clock() - began
        self.meter.wait.add(waited)
        self.tell(Kind.LENT, connection.connection_id, "", waited)
        return connection

    def _check_open(self) -> None:
        if self._keeper is None or self._closed is not None:
            state = "closed" if self._closed is not None else "not open: call initialize() first"
            raise PoolClosed(f"pool {self.name!r} is {state}")

    def _check_loop(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # in a child process that was forked from within the loop
            loop = None
        if loop is not self._loop:
            raise PoolError(
                f"pool {self.name!r} belongs to another event loop or process: initialize "
                "and use it in one, and make a pool for each"
            )

    def _lend(self, now: float) -> Connection | None:
        connection = self._state.lend(now)
        while connection is not None and not connection.session.is_open:
            # It is closing this very moment, and its end will be told next.
            self._state.retire(connection, "no longer open")
            connection = self._state.lend(now)
        if self._state.to_close:
            self._act()
        return connection

    async def _queue(
        self, timeout: float, priority: float, deadline: float | None = None
    ) -> Connection:
        state, keeper = self._state, self._keeper
        assert keeper is not None
        self._raise_refusal()
        self.meter.counters.borrows_queued += 1
        began = self.meter.clock()
        if len(state.members) >= state.max_size:
            self.custody.warn_of_deadlock(len(state.members))
        waiter = QueuedBorrower()
        state.enqueue(waiter, self.now(), priority)
        keeper.act()  # one more borrower may be a reason to grow
        try:
            async with asyncio.timeout_at(self.now() + timeout if deadline is None else deadline):
                return await waiter.future
        except TimeoutError as error:
            self._withdraw(waiter)
            raise self._timed_out(timeout) from error
        except BaseException:
            self._withdraw(waiter)
            raise
        finally:
            self.meter.counters.borrows_wait_ms += (self.meter.clock() - began) * 1000.0

    def _timed_out(self, timeout: float) -> PoolTimeout:
        state, keeper = self._state, self._keeper
        assert keeper is not None
        why = keeper.policy.error if not state.members else None
        return PoolTimeout(
            f"pool {self.name!r} gave no connection within {timeout:.2f} s "
            f"({state.waiting} waiting, {len(state.members)} open{f'; {why}' if why else ''})"
        )

    async def _checked(
        self, connection: Connection, check: Hook, timeout: float, priority: float
    ) -> Connection:
        """Give the first connection that passes the user's check, this one to begin with."""
        assert self._keeper is not None
        deadline = self.now() + timeout
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    await hooks.call(check, "check", self, connection, self.request_timeout)
            except AvatarSDKError as error:
                self._state.retire(connection, "did not pass the check")
                self._keeper.check_failed(error)
                self._act()
            except TimeoutError as error:
                self._release(connection)
                raise self._timed_out(timeout) from error
            except BaseException:
                self._release(connection)
                raise
            else:
                return connection
            connection = self._lend(self.now()) or await self._queue(timeout, priority, deadline)

    def _withdraw(self, waiter: QueuedBorrower) -> None:
        """Leave the queue; a connection that was handed over meanwhile goes back."""
        self._state.leave(waiter)
        future = waiter.future
        if future.done() and not future.cancelled() and future.exception() is None:
            self._release(future.result())

    def _raise_refusal(self) -> None:
        """Fail at once where no connection is to be had until the service relents."""
        keeper = self._keeper
        assert keeper is not None
        if keeper.policy.refusal is not None and not self._state.members:
            raise copy.copy(keeper.policy.refusal)  # one per borrower: each has its own traceback

    async def exchange(self, dead: Connection) -> Connection:
        """Give a borrower another connection for one that died unused."""
        self._state.retire(dead, "no longer open")  # its end may not have been told yet
        self._act()
        return await self.acquire(self.timeout)

    def put_back(self, connection: Connection) -> None:
        """Take a connection back: lend it on, clean it or let it go."""
        used = self.now() - connection.since
        self.meter.counters.usage_ms += used * 1000.0
        self.tell(Kind.RETURNED, connection.connection_id, "", used)
        self._release(connection)

    def _release(self, connection: Connection) -> None:
        if connection.phase is not Phase.LENT:
            return  # it died meanwhile, or the pool cut it
        session = connection.session
        if not session.is_open:
            self._state.retire(connection, "no longer open")
        elif connection.why:
            self._state.retire(connection, connection.why)
        elif session.is_settled:
            self._free(connection)
        else:
            self.meter.counters.returns_unsettled += 1
            self.tell(Kind.QUARANTINED, connection.connection_id)
            self._clean(connection, session.abandon, self.settled)
        if self._state.is_closed:
            self._told()
        if self._state.to_close:
            self._act()

    def _free(self, connection: Connection) -> None:
        """A connection's requests are over: lend it on, once it was reset."""
        reset = self._reset
        if reset is None:
            self._state.recycle(connection, self.now())
        else:
            self._clean(
                connection,
                lambda: hooks.call(reset, "reset", self, connection, self.request_timeout),
                self._was_reset,
            )

    def _was_reset(self, connection: Connection) -> None:
        if connection.phase is Phase.DRAINING:
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

    # --- told by connections and the keeper ---------------------------------------------------

    def now(self) -> float:
        """Return the event loop's time."""
        assert self._loop is not None
        return self._loop.time()

    def settled(self, connection: Connection) -> None:
        """A connection's requests may be over: then out of quarantine with it."""
        if connection.phase is not Phase.DRAINING or connection.is_cleaning:
            return
        if connection.session.is_settled:
            self._free(connection)
            self._act()

    def lost(self, connection: Connection, error: AvatarSDKError | None) -> None:
        """A connection ended: replace it."""
        if self._state.lose(connection):
            self.meter.counters.connections_lost += 1
            if error is not None and error.code is AvatarSDKErrorCode.protocolError:
                self.meter.counters.protocol_errors += 1
            self.tell(Kind.LOST, connection.connection_id, str(error or "closed from here"))
            log.warning(
                "pool %r lost connection %s: %s", self.name, connection.connection_id, error
            )
        self._fail_waiters_if_refused()
        self._told()
        self._act()

    def broken(self, connection: Connection, error: AvatarSDKError) -> None:
        """A connection's peer broke the protocol: it is not lent any more."""
        self.meter.counters.protocol_errors += 1
        if connection.why:
            return
        connection.why = "its peer broke the protocol"
        log.warning("pool %r: connection %s: %s", self.name, connection.connection_id, error)
        if connection.phase in (Phase.IDLE, Phase.DRAINING):
            self._state.retire(connection, connection.why)
            self._act()

    async def _open_connection(self) -> Connection:
        connection = Connection(self)
        await self._sessions.open(connection)
        if self._configure is not None:
            try:
                await hooks.call(
                    self._configure, "configure", self, connection, self.request_timeout
                )
            except BaseException:
                await connection.session.close()
                raise
        return connection

    def _join(self, connection: Connection, seconds: float) -> None:
        now = self.now()
        connection.opened_at = now
        life = self._max_lifetime * self._rng.uniform(_SHORTEST_LIFE, 1.0)
        usable = max(life - self.request_timeout, 0.0)
        connection.retire_at = now + usable
        connection.renew_at = now + usable - min(_RENEWAL_LEAD, usable / 10.0)
        self.tell(Kind.OPENED, connection.connection_id, "", seconds)
        self._state.join(connection, now)
        self._told()

    def _opening_failed(self) -> None:
        self._fail_waiters_if_refused()
        self._told()

    def _fail_waiters_if_refused(self) -> None:
        refusal = self._keeper.policy.refusal if self._keeper else None
        if refusal is not None and not self._state.members:
            self._state.fail_waiters(refusal)

    def tell(
        self,
        kind: Kind,
        connection_id: str = "",
        reason: str = "",
        seconds: float = 0.0,
        error: BaseException | None = None,
    ) -> None:
        """Pass an event on to ``on_event`` and every other listener."""
        if not self._listeners:
            return
        event = PoolEvent(kind, self.name, connection_id, reason, seconds, error)
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:
                log.exception("on_event of pool %r failed", self.name)

    def _told(self) -> None:
        assert self._progress is not None
        self._progress.set()

    def _act(self) -> None:
        if self._keeper is not None:
            self._keeper.act()

    def _sweep_interval(self) -> float:
        """A twentieth of the shortest limit: late by 5 % at most, at no cost worth naming."""
        limits = (self._max_lifetime, self._state.max_idle, self._state.quarantine_timeout)
        return min(1.0, max(0.01, min(limits) / 20.0))


def _problems(
    ttl_minutes: float, max_lifetime: float, request_timeout: float, num_workers: int
) -> list[str]:
    problems = []
    if max_lifetime * _SHORTEST_LIFE <= request_timeout:
        problems.append(
            f"sessions live {max_lifetime:.2f} s, less 10 %, which holds no request of "
            f"{request_timeout:.2f} s: raise session_ttl_minutes or max_lifetime, "
            "or lower request_timeout"
        )
    if not 0 < ttl_minutes <= 24 * 60:
        problems.append(f"session_ttl_minutes {ttl_minutes} is not within the service's 24 h")
    if num_workers < 1:
        problems.append(f"num_workers {num_workers} is not at least 1")
    return problems
