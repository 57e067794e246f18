"""A pooled connection: the pool's record of it, and the handle that is lent."""

from __future__ import annotations

import asyncio
from types import CodeType
from typing import Protocol

from avatarpool.collector import AnimationCollector, CollectionLimits
from avatarpool.exceptions import (
    AvatarPoolError,
    AvatarSDKError,
    AvatarSDKErrorCode,
    SessionStateError,
)
from avatarpool.pool.events import PoolEventKind as Kind
from avatarpool.pool.meter import Meter
from avatarpool.pool.state import Member
from avatarpool.protocol.messages import AnimationFrame
from avatarpool.protocol.requests import RequestLog


class Owner(Protocol):
    """What a connection asks of its pool."""

    name: str
    limits: CollectionLimits
    meter: Meter

    def settled(self, connection: Connection) -> None:
        """Learn that a connection's requests may be over."""

    def lost(self, connection: Connection, error: AvatarSDKError | None) -> None:
        """Learn that a connection ended."""

    def broken(self, connection: Connection, error: AvatarSDKError) -> None:
        """Learn that a connection's peer broke the protocol."""

    async def exchange(self, dead: Connection) -> Connection:
        """Give another connection for one that died unused."""

    def put_back(self, connection: Connection) -> None:
        """Take a connection back."""

    def tell(
        self,
        kind: Kind,
        connection_id: str = "",
        reason: str = "",
        seconds: float = 0.0,
        error: BaseException | None = None,
    ) -> None:
        """Pass an event on to whoever follows the pool."""


class PoolableSession(Protocol):
    """What the pool asks of a session, be it ours or a vendor's behind an adapter."""

    requests: RequestLog

    @property
    def connection_id(self) -> str | None:
        """The service's name for the connection."""

    @property
    def is_open(self) -> bool:
        """Whether audio can be sent now."""

    @property
    def is_settled(self) -> bool:
        """Whether nothing is half-sent and no frame can come any more."""

    async def init(self) -> None:
        """Fetch a token."""

    async def start(self) -> str:
        """Open the connection and return its id."""

    async def send_audio(self, audio: bytes, end: bool = False) -> str:  # noqa: FBT001, FBT002
        """Send audio of the current request, or begin one."""

    async def interrupt(self) -> str:
        """Stop the most recent request."""

    async def abandon(self) -> None:
        """End whatever request is open."""

    async def ending(self) -> AvatarSDKError | None:
        """Return why the connection ended, if that is known."""

    async def close(self) -> None:
        """Close the connection."""


class EventWakeup:
    """A `Wakeup` of asyncio: one future per sleep."""

    __slots__ = ("_future",)

    def __init__(self) -> None:
        self._future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def now(self) -> float:
        return self._future.get_loop().time()

    def notify(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    async def wait(self, timeout: float | None) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._future
        finally:  # a timeout has cancelled it
            self._future = asyncio.get_running_loop().create_future()


class Connection(Member):
    """One session in the pool: follows its requests and knows its borrower.

    It is the session's observer: frames go to the collector of whoever
    borrows it now, and nobody else ever sees them.
    """

    __slots__ = (
        "_pool",
        "began_at",
        "borrower",
        "had_frame",
        "in_request",
        "is_cleaning",
        "request_count",
        "session",
    )

    def __init__(self, pool: Owner) -> None:
        super().__init__(0.0, 0.0)
        self._pool = pool
        self.session: PoolableSession  # set once, before it is started
        self.borrower: PooledConnection | None = None
        self.request_count = 0  # requests answered to the last frame
        self.began_at = 0.0  # when the current request began
        self.had_frame = False  # whether the current request has a frame yet
        self.in_request = False  # whether its end is still to be told
        # Whether the keeper still ends its abandoned request: nobody may begin
        # one meanwhile, it would be ended with it.
        self.is_cleaning = False

    def __repr__(self) -> str:
        return f"<Connection {self.session.connection_id} {self.phase.name.lower()}>"

    @property
    def connection_id(self) -> str:
        return self.session.connection_id or "?"

    def request_over(self, error: Exception | None = None, reason: str = "") -> None:
        """Tell how the current request ended, once."""
        if self.in_request:
            self.in_request = False
            seconds = self._pool.meter.clock() - self.began_at
            self._pool.tell(Kind.REQUEST_ENDED, self.connection_id, reason, seconds, error)

    # --- SessionObserver --------------------------------------------------------------

    def request_began(self, req_id: str) -> None:
        if self.borrower is not None:  # who may have gone on after a collection that failed
            self.request_over(self.borrower.collector.error)
        self.in_request = True
        self.began_at = self._pool.meter.clock()
        self.had_frame = False
        self._pool.meter.counters.requests_num += 1
        if self.borrower is not None:
            self.borrower.collector.begin(req_id)
        self._pool.tell(Kind.REQUEST_BEGAN, self.connection_id, req_id)

    def request_settled(self) -> None:
        if self.borrower is not None and not self.session.requests.expects_frames:
            collector = self.borrower.collector
            if collector.req_id is not None and not collector.is_done:
                # Its frames go to a room: with the audio sent, all is done here.
                self.request_count += 1
                self._pool.meter.request_served(self._pool.meter.clock() - self.began_at)
                collector.finish()
                self.request_over()
        self._pool.settled(self)

    def frame_received(self, frame: AnimationFrame) -> None:
        pool = self._pool
        if self.borrower is None:  # returned meanwhile: the request is abandoned
            pool.meter.counters.frames_dropped += 1
            return
        pool.meter.counters.frames_received += 1
        if not self.had_frame or frame.end:
            elapsed = pool.meter.clock() - self.began_at
            if not self.had_frame:
                self.had_frame = True
                pool.meter.first_frame.add(elapsed)
                pool.tell(Kind.FIRST_FRAME, self.connection_id, "", elapsed)
            if frame.end:
                self.request_count += 1
                pool.meter.request_served(elapsed)
                self.request_over()
        self.borrower.collector.add(frame)

    def frame_dropped(self, frame: AnimationFrame) -> None:  # noqa: ARG002
        self._pool.meter.counters.frames_dropped += 1

    def protocol_broken(self, error: AvatarSDKError) -> None:
        self._pool.broken(self, error)

    def request_failed(self, error: AvatarSDKError) -> None:
        self._pool.meter.counters.requests_errors += 1
        if self.borrower is not None:
            self.borrower.collector.finish(error)
        self.request_over(error)

    def session_ended(self, error: AvatarSDKError | None) -> None:
        if self.borrower is not None:
            self.borrower.ended(error)
        self._pool.lost(self, error)


class PooledConnection:
    """A connection while it is lent: made by ``pool.borrow()``, dead after its return.

    Use `session` to send and `collector` to receive. What the collector has
    gathered stays readable after the return; sending raises.
    """

    __slots__ = (
        "_borrowed_at",
        "_collector",
        "_connection",
        "_pool",
        "_returned",
        "holder",
        "is_leak_told",
    )

    def __init__(
        self, pool: Owner, connection: Connection, borrowed_at: tuple[CodeType, int] | str
    ) -> None:
        self._pool = pool
        self._connection = connection
        self._borrowed_at = (
            borrowed_at  # code and instruction: the line is looked up when asked for
        )
        self.holder: asyncio.Task[object] | None = None  # who borrowed it
        self.is_leak_told = False  # whether it was logged as held for long
        self._returned = False
        self._collector: AnimationCollector | None = None
        connection.borrower = self

    def __repr__(self) -> str:
        state = "returned" if self._returned else "lent"
        return f"<PooledConnection {self.connection_id} {state}>"

    @property
    def connection_id(self) -> str:
        """The service's name for the connection."""
        return self._connection.connection_id

    @property
    def borrowed_at(self) -> str:
        """The place in the code that borrowed it."""
        if isinstance(self._borrowed_at, str):
            return self._borrowed_at
        code, instruction = self._borrowed_at
        lines = (line for begin, end, line in code.co_lines() if begin <= instruction < end)
        return f"{code.co_filename}:{next(lines, 0)}"

    @property
    def session(self) -> LentSession:
        """What sends."""
        # Made when asked for: kept, the two would be a cycle, and every request's
        # frames would stay until the garbage collector looks for cycles.
        return LentSession(self)

    @property
    def is_half_sent(self) -> bool:
        """Whether the current request's audio has begun and not ended."""
        return self._collector is not None and self._connection.session.requests.is_half_sent

    @property
    def collector(self) -> AnimationCollector:
        """The frames of this borrower's requests."""
        if self._collector is None:  # not every borrower needs one
            self._collector = AnimationCollector(EventWakeup, self._pool.limits)
            if self._returned:
                self._collector.finish(self._ended_early())
        return self._collector

    async def ready(self) -> Connection:
        """Return the connection to send on.

        One that died between being lent and its first audio is exchanged for
        another one: nothing was sent, so nothing can be doubled.
        """
        self._check_lent()
        while not self._connection.session.is_open and self.is_unused:
            dead = self._connection
            found = await self._pool.exchange(dead)
            if self._returned or self._connection is not dead:
                # The block was left, or another task of the borrower was faster.
                self._pool.put_back(found)
                self._check_lent()
            else:
                dead.borrower = None
                self._connection = found
                found.borrower = self
                self._pool.put_back(dead)  # out already: for its usage to be counted and told
        return self._connection

    def _check_lent(self) -> None:
        if self._returned:
            raise SessionStateError(
                f"connection {self.connection_id} was returned to pool {self._pool.name!r}: "
                "borrow another one"
            )

    @property
    def is_unused(self) -> bool:
        """Whether nothing was sent in this borrow yet."""
        return self._collector is None or self._collector.req_id is None

    def ended(self, error: AvatarPoolError | None, *, is_final: bool = False) -> None:
        """The connection died under the borrower; an unused one may be exchanged.

        Args:
            error: Why, if that is known.
            is_final: Whether there will be no other one.
        """
        if self.is_unused and not is_final:
            return
        collector = self.collector
        if not collector.is_done:
            self._pool.meter.counters.requests_errors += collector.req_id is not None
            collector.finish(
                error
                or AvatarSDKError(
                    AvatarSDKErrorCode.connectionClosed,
                    "the connection was closed before the last frame",
                    phase="websocket_runtime",
                    connection_id=self.connection_id,
                    req_id=collector.req_id,
                )
            )
        self._connection.request_over(collector.error)

    def give_back(self) -> Connection:
        """Kill the handle; return the connection it stood for."""
        self._returned = True
        connection = self._connection
        connection.borrower = None
        collector = self._collector
        if collector is not None and not collector.is_done:
            self._pool.meter.counters.requests_errors += collector.req_id is not None
            collector.finish(self._ended_early())
        if collector is not None:
            connection.request_over(collector.error)
        return connection

    def _ended_early(self) -> SessionStateError:
        return SessionStateError(
            f"connection {self.connection_id} was returned before the last frame"
        )


class LentSession:
    """The session of a lent connection: what a borrower may do with it.

    Opening and closing are the pool's; everything else behaves as on
    `AvatarSession`.
    """

    __slots__ = ("_lent",)

    def __init__(self, lent: PooledConnection) -> None:
        self._lent = lent

    def __repr__(self) -> str:
        return f"<LentSession of {self._lent!r}>"

    @property
    def connection_id(self) -> str:
        """The service's name for the connection."""
        return self._lent.connection_id

    async def send_audio(self, audio: bytes, end: bool = False) -> str:  # noqa: FBT001, FBT002
        """Send audio of the current request, or begin one; return its request id.

        The first audio after the last request starts a fresh collection in
        ``conn.collector``. Cancelling leaves the request half-sent; the pool
        cleans up on return.

        Raises:
            AudioError: The audio is not what the session was opened for.
            SessionStateError: The connection was returned, or the previous
                request is still being answered.
            AvatarSDKError: The connection is closed, or the peer takes no data.
        """
        lent = self._lent
        if lent.is_half_sent and lent.collector.error is not None:
            # The rest of a failed request's audio must not become a request.
            session = (await lent.ready()).session
            if session.is_open:
                await session.abandon()
            raise lent.collector.error
        return await (await lent.ready()).session.send_audio(audio, end)

    async def interrupt(self) -> str:
        """Stop the current request; its collection is over at once.

        Raises:
            SessionStateError: The connection was returned, or there is no request.
            AvatarSDKError: The connection is closed, or the peer takes no data.
        """
        lent = self._lent
        connection = await lent.ready()
        if lent.is_unused:
            raise SessionStateError("there is no request to interrupt")
        lent.collector.finish()
        connection.request_over(reason="interrupted")
        return await connection.session.interrupt()
