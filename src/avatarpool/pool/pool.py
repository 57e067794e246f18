"""The pool: warm sessions, lent one request at a time."""

from __future__ import annotations

import asyncio
import contextlib
import warnings
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Self

from avatarpool.client.session import new_avatar_session
from avatarpool.exceptions import AvatarPoolError, PoolClosed
from avatarpool.pool.arguments import check_number, is_number
from avatarpool.pool.borrowing import PooledConnection
from avatarpool.pool.connection import Connection
from avatarpool.pool.events import Listeners, PoolEvent
from avatarpool.pool.factory import ConfigFactory, SessionMaker
from avatarpool.pool.health import Health
from avatarpool.pool.hooks import Hook
from avatarpool.pool.keeper import Keeper
from avatarpool.pool.lending import Lender
from avatarpool.pool.meter import Meter
from avatarpool.pool.opener import Opener
from avatarpool.pool.options import PoolOptions, new_name
from avatarpool.pool.readiness import Readiness
from avatarpool.pool.slots import Slots
from avatarpool.pool.state import Phase, PoolState
from avatarpool.pool.tasks import Tasks
from avatarpool.stats import PoolStats


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
            may be wired to the session's callbacks, or without arguments; may be
            a coroutine function.
        session_ttl_minutes: Lifetime of a session's token, and of the session
            unless ``max_lifetime`` says otherwise.
        min_size: Sessions to keep open.
        max_size: Sessions to grow to while borrowers wait.
        timeout: How long `borrow` waits, unless it is told.
        request_timeout: How long ``collector.wait()`` and ``async for frame in
            collector`` wait for the last frame, unless they are told. A session
            whose remaining life is shorter is not lent.
        first_frame_timeout: How long they wait for the first frame; None for no
            such limit.
        frame_gap_timeout: How long they wait between frames; None for no such limit.
        max_frames: Frames of one request; one more fails it.
        max_frame_bytes: Bytes of one request's messages; more fails it.
        max_waiting: Borrowers that may wait; 0 for any number.
        max_lifetime: Age at which a session is replaced, less up to 10 %, so
            that sessions opened together do not expire together.
        max_idle: Time after which an idle session beyond ``min_size`` is closed.
        quarantine_timeout: How long a request that its borrower left may bring no
            frame, unless it had some and its service has stopped; then its
            session is replaced.
        num_workers: Sessions opened at the same time, at the most.
        configure: Called with each new connection, before anybody borrows it.
        check: Called with a connection before it is lent; one that fails is
            replaced, and the borrower gets another one.
        reset: Called with each connection that comes back, before it is lent again.
        reconnect_timeout: Time of failing to open sessions after which
            ``reconnect_failed`` is called; the pool goes on trying.
        reconnect_failed: Called with the pool, once per outage; may be a coroutine
            function.
        leak_warning: Time of being lent after which a connection is logged, with
            the place that borrowed it; None for never.
        on_event: Called with each `PoolEvent`, from the event loop; must not block.
        name: Shown in messages and logs.
        session_factory: `new_avatar_session`, ours or an official SDK's.

    The three hooks are coroutine functions that take a `PooledConnection` and may
    make requests with it. A connection is closed and replaced if its hook raises,
    takes longer than ``request_timeout`` (``reset``: than ``quarantine_timeout``), or
    leaves a request open.

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
        self._build(
            PoolOptions(
                pool_size=pool_size,
                config_factory=config_factory,  # type: ignore[arg-type]  # None: it says so
                session_ttl_minutes=session_ttl_minutes,
                min_size=min_size,
                max_size=max_size,
                timeout=timeout,
                request_timeout=request_timeout,
                first_frame_timeout=first_frame_timeout,
                frame_gap_timeout=frame_gap_timeout,
                max_frames=max_frames,
                max_frame_bytes=max_frame_bytes,
                max_waiting=max_waiting,
                max_lifetime=max_lifetime,
                max_idle=max_idle,
                quarantine_timeout=quarantine_timeout,
                num_workers=num_workers,
                configure=configure,
                check=check,
                reset=reset,
                reconnect_timeout=reconnect_timeout,
                reconnect_failed=reconnect_failed,
                leak_warning=leak_warning,
                on_event=on_event,
                name=name or new_name(),
                session_factory=session_factory,
            )
        )

    @classmethod
    def from_options(cls, options: PoolOptions, slots: Slots | None = None) -> Self:
        """Make a pool from what another one, a group or a file has put together.

        Args:
            options: What the constructor takes, checked.
            slots: The pool's part in sessions that it shares with others.
        """
        pool = cls.__new__(cls)
        pool._build(options, slots)  # noqa: SLF001  # our own
        return pool

    def _build(self, options: PoolOptions, slots: Slots | None = None) -> None:
        self.name = options.name
        self.timeout = options.timeout
        self.request_timeout = options.request_timeout
        self.meter = Meter()
        self._num_workers = options.num_workers
        self._state: PoolState[Connection, PooledConnection] = PoolState(
            options.name,
            min_size=options.smallest_size,
            max_size=options.largest_size,
            max_waiting=options.max_waiting,
            max_idle=options.max_idle,
            quarantine_timeout=options.quarantine_timeout,
        )
        listeners = Listeners(options.name)
        if options.on_event is not None:
            listeners.add(options.on_event)
        self._tasks = Tasks(options.name)
        # Nobody holds the pool but its user: forgotten, it closes what it had open.
        health = Health(options, self._tasks, self.meter, listeners, pool=weakref.ref(self))
        self._lender = Lender(
            options, self._state, self._tasks, health, meter=self.meter, listeners=listeners
        )
        self._sessions = SessionMaker(
            options.config_factory, options.session_factory, options.token_ttl
        )
        self._opener = Opener(options, self._state, self._lender, self._sessions, slots)
        self._keeper = Keeper(
            options,
            self._state,
            self._tasks,
            health,
            opener=self._opener,
            lender=self._lender,
            slots=slots,
        )
        self._readiness = Readiness(self._state, health.policy, self._keeper.progress)
        self._is_up = False  # whether initialize() has done its work
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
    def closed(self) -> bool:
        """Whether it is not open: not initialized yet, or closed."""
        return self._tasks.loop is None or self._closed is not None

    @property
    def min_size(self) -> int:
        """Sessions to keep open; `resize` changes it."""
        return self._state.min_size

    @property
    def max_size(self) -> int:
        """Sessions to grow to while borrowers wait; `resize` changes it."""
        return self._state.max_size

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
        return self._keeper.policy.error

    def get_stats(self) -> PoolStats:
        """Return the pool's numbers; `PoolStats` describes each with its unit."""
        return self.meter.snapshot(self._state, self._state.members, self._tasks.now())

    def pop_stats(self) -> PoolStats:
        """Return the pool's numbers and start the counters and latencies anew."""
        stats = self.get_stats()
        self.meter.reset()
        return stats

    def add_listener(self, listener: Callable[[PoolEvent], object]) -> None:
        """Have one more listener called with each `PoolEvent`, as ``on_event`` is."""
        self._lender.listeners.add(listener)

    def remove_listener(self, listener: Callable[[PoolEvent], object]) -> None:
        """Call a listener no more; harmless if it was not there."""
        self._lender.listeners.remove(listener)

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

    async def initialize(self, timeout: float = 30.0, *, wait: bool = True) -> None:
        """Open ``min_size`` sessions, and keep them open from now on.

        Returns when they are up, or with fewer once ``timeout`` has passed or
        the service has refused more; those are opened in the background as
        soon as it lets us. Initializing an open pool does nothing; beside a call
        that still opens it, this one waits for the same. Cancelling the first
        call closes the pool.

        Args:
            timeout: Seconds to wait for the sessions.
            wait: False returns at once and opens all of them in the background,
                whether or not the service is there; borrowers wait meanwhile, and
                `wait` tells when all are up.

        Raises:
            ConfigurationError: The configuration cannot work.
            PoolError: No session could be opened; the message has the reason.
                The pool is closed, if this call opened it: make a new one to try again.
            PoolClosed: It is closed already.
        """
        check_number(f"pool {self.name!r} cannot be opened", timeout=timeout)
        if self._closed is None and self._tasks.loop is None and not wait:
            await self._sessions.rehearse(Connection(self._lender))
        # After that, which takes its time: much may have happened meanwhile.
        if self._closed is not None:
            raise PoolClosed(f"pool {self.name!r} is closed: make a new one")
        if self._tasks.loop is not None:
            self._lender.check_loop()
            if wait and not self._is_up:
                await self._readiness.some(timeout)
                self._is_up = True
            return
        self._keeper.start()
        if not wait:
            return
        try:
            await self._readiness.some(timeout)
        except BaseException:
            await self.close(timeout=0.0)
            raise
        self._is_up = True

    def start(self) -> None:
        """Open sessions in the background from now on, without a look at the configuration.

        For whoever makes pools on demand and must not wait: what is wrong is told to borrowers.
        """
        self._keeper.start()

    async def wait(self, timeout: float = 30.0) -> None:
        """Wait until ``min_size`` sessions are open, lent or not: all of them, and no fewer.

        For those who would rather not start than start with less. The pool stays
        open, whatever comes. Cancelling ends the waiting alone.

        Raises:
            PoolTimeout: They are not open in time; its cause is why opening failed, if
                that is known.
            PoolClosed: The pool is not open, or was closed meanwhile.
            PoolError: It belongs to another event loop.
        """
        self._lender.check_open()
        self._lender.check_loop()
        await self._readiness.all(timeout)

    async def check(self) -> None:
        """Look at the idle sessions now: each is pinged and passes ``check``, or is replaced.

        At most ``num_workers`` at a time, which are kept from borrowers meanwhile. An
        official SDK's session has no ping. Returns when all were looked at; others in the
        place of those that failed are opened in the background. Cancelling loses none.

        Raises:
            PoolClosed: The pool is not open.
            PoolError: It belongs to another event loop.
        """
        self._lender.check_open()
        self._lender.check_loop()
        await self._lender.checker.verify_idle(self._num_workers)

    async def close(self, timeout: float = 5.0) -> None:
        """Close the pool: waiters learn it at once, borrowers have ``timeout`` seconds.

        Connections still lent after that are cut. Safe to call twice, and
        while `initialize` runs; whoever calls second waits for the first.
        Cancelling cuts everything at once, and leaves no task and no socket.

        Raises:
            PoolError: It belongs to another event loop.
        """
        check_number(f"pool {self.name!r} cannot be closed", timeout=timeout)
        if self._closed is not None:
            await asyncio.shield(self._closed)
            return
        if self._tasks.loop is not None:
            self._lender.check_loop()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        self._closed = loop.create_future()
        try:
            self._lender.close(f"pool {self.name!r} was closed while waiting")
            self._keeper.stop()
            await self._readiness.none(deadline)
            self._lender.cut()
            await self._keeper.close()
        finally:
            try:
                self._lender.cut()
                await self._tasks.cut()
            finally:
                try:
                    await self._sessions.console.close()
                finally:
                    self._closed.set_result(None)

    def __del__(self) -> None:
        tasks: Tasks | None = getattr(self, "_tasks", None)  # the constructor may have raised
        if tasks is None or tasks.loop is None or self._closed is not None:
            return
        if not tasks.loop.is_closed():
            tasks.loop.call_soon_threadsafe(_let_go, self._lender, self._keeper, self._sessions)
        warnings.warn(  # last: where warnings are errors it raises
            f"pool {self.name!r} was forgotten with {self.total_count} sessions open: "
            "close it, or use it with async with",
            ResourceWarning,
            source=self,
            stacklevel=1,
        )

    def resize(self, min_size: int, max_size: int | None = None) -> None:
        """Change the pool's size; it opens and closes sessions in the background.

        Raises:
            ConfigurationError: The numbers cannot work.
        """
        with self._state.together():
            self._state.resize(min_size, min_size if max_size is None else max_size)
            self._state.shrink()

    async def interrupt(self) -> None:
        """Interrupt what every session was sent last, lent or not: rooms fall silent at once.

        Whoever still sends a request is to stop by itself.
        """
        for connection in list(self._state.members):
            with contextlib.suppress(AvatarPoolError):  # there is nothing to stop
                await connection.interrupt()

    def turn_away(self, error: Exception) -> None:
        """Send all who wait away with an error, such as before closing."""
        self._state.fail_waiters(error)

    def drain(self) -> None:
        """Replace every session: idle ones now, lent ones on their return.

        Those that are being opened are replaced as well.

        Raises:
            PoolClosed: The pool is not open.
        """
        self._lender.check_open()
        self._opener.drains += 1
        self._state.expire(self._tasks.now())

    # --- borrowing ------------------------------------------------------------------------

    def borrow(self, timeout: float | None = None, *, priority: float = 0.0) -> PooledConnection:
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
            PoolError: The pool belongs to another event loop, or no session is open
                and the user's own code refuses to open one.
            AvatarSDKError: No session is open, and the service refuses new ones.
            ConfigurationError: An argument is no number; raised at once.
        """
        if timeout is None:
            timeout = self.timeout
        elif not is_number(timeout):
            check_number(f"pool {self.name!r} cannot lend a connection", timeout=timeout)
        if priority != 0.0 and not is_number(priority):
            check_number(f"pool {self.name!r} cannot lend a connection", priority=priority)
        return PooledConnection(self._lender, timeout, priority, self)


def _let_go(lender: Lender, keeper: Keeper, sessions: SessionMaker) -> None:
    """Close what a forgotten pool had open."""
    lender.close(f"pool {lender.name!r} was forgotten")
    keeper.stop()
    lender.tasks.finish(sessions.console.close)
