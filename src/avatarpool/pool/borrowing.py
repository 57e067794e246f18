"""What a borrower holds of the pool: its ``async with``, its place in the queue, its session."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from datetime import datetime
from enum import Enum, auto
from types import CodeType, TracebackType
from typing import Protocol, Self

from avatarpool.client.forwarding import Forwarding
from avatarpool.exceptions import (
    AvatarPoolError,
    AvatarSDKError,
    AvatarSDKErrorCode,
    PoolError,
    SessionNotReady,
    SessionStateError,
)
from avatarpool.pool.collection import CollectionLimits
from avatarpool.pool.collector import AnimationCollector
from avatarpool.pool.connection import Connection, Owner
from avatarpool.pool.receiving import Receiver, Reception
from avatarpool.pool.tasks import Tasks
from avatarpool.protocol.messages import AnimationFrame
from avatarpool.untrusted import copied, words


class Desk(Owner, Protocol):
    """Where a borrow goes: what it asks of the pool."""

    timeout: float
    limits: CollectionLimits
    tasks: Tasks

    def lend(self) -> Connection | None:
        """Take a connection out if one is idle."""

    def queue(self, borrower: PooledConnection) -> Awaitable[Connection]:
        """Have a borrower wait for a connection."""

    def admit(self, borrower: PooledConnection, connection: Connection) -> None:
        """Count a borrower that waited and has its connection now."""

    def withdraw(self, borrower: PooledConnection, error: BaseException) -> None:
        """Count a borrower that will not have its connection."""

    def discard(self, dead: Connection) -> None:
        """Let a connection go that died unused."""

    def put_back(self, connection: Connection) -> None:
        """Take a connection back."""


class _Stage(Enum):
    NEW = auto()
    WAITING = auto()
    LENT = auto()
    RETURNED = auto()


# Looked up once: on Python 3.11 an enum's member costs a call, and each borrow takes several.
_NEW, _WAITING, _LENT, _RETURNED = _Stage


class PooledConnection:
    """A connection for the length of an ``async with``: what ``pool.borrow()`` gives.

    Use `session` to send and `collector` to receive. What the collector has
    gathered stays readable after the return; sending raises.
    """

    # While it waits it is the pool's `Waiter`, and `future` its place in the queue.

    __slots__ = (
        "_collector",
        "_connection",
        "_desk",
        "_place",
        "_pool",
        "_receiver",
        "_req_id",
        "_stage",
        "came_at",
        "future",
        "holder",
        "is_told",
        "priority",
        "timeout",
        "waits_since",
    )

    def __init__(self, desk: Desk, timeout: float, priority: float, pool: object = None) -> None:
        self._desk = desk
        self._pool = pool  # not to be forgotten while it lends
        self.timeout = timeout
        self.priority = priority
        self._stage = _NEW
        self.came_at: float | None = None  # whose place in the queue it has; None: nobody's yet
        self.future: asyncio.Future[Connection] | None = None  # gets what it waits for
        self.waits_since: float
        self._req_id: str | None = None  # of the latest request
        self._collector: AnimationCollector | None = None
        self._receiver: Receiver | None = None  # in its place
        self.is_told = False  # whether it was logged as misused
        self.holder: asyncio.Task[object] | None  # who borrows, from here on set on entering
        self._connection: Connection
        # Code and instruction, whose line is looked up when asked for; or a hook's name.
        self._place: tuple[CodeType, int] | str

    def __repr__(self) -> str:
        stage = self._stage.name.lower()
        if self._stage in (_NEW, _WAITING):
            return f"<PooledConnection {stage}>"
        return f"<PooledConnection {self.connection_id} {stage}>"

    async def __aenter__(self) -> Self:
        if self._stage is not _NEW:
            raise SessionStateError("this borrow was entered already: call pool.borrow() again")
        caller = sys._getframe(1)  # noqa: SLF001  # the coroutine that awaits this
        self._place = caller.f_code, caller.f_lasti
        desk = self._desk
        self.holder = asyncio.current_task(desk.tasks.loop)  # naming the loop halves its cost
        connection = desk.lend()
        if connection is None:
            self._stage = _WAITING  # another task may enter meanwhile
            try:
                connection = await desk.queue(self)
            except BaseException as error:
                self._stage = _NEW
                desk.withdraw(self, error)
                raise
            desk.admit(self, connection)
        self.hold(connection)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._stage is not _LENT:
            self._check_lent()  # returned twice, it would be lent to two
        self._desk.put_back(self.give_back())

    @property
    def connection_id(self) -> str:
        """The service's name for the connection."""
        return self._held().connection_id

    @property
    def created_at(self) -> datetime:
        """When the connection was opened, in UTC."""
        return self._held().created_at

    @property
    def request_count(self) -> int:
        """Requests that the connection has answered to the last frame, whoever made them."""
        return self._held().request_count

    def discard(self) -> None:
        """Have the connection closed and replaced once it is returned: it is not lent again.

        For whoever has reason to distrust it. In a hook, it fails the connection.

        Raises:
            SessionStateError: It was returned already.
        """
        self._held()
        self._check_lent()
        self._connection.why = self._connection.why or "discarded by its borrower"

    @property
    def borrowed_at(self) -> str:
        """The place in the code that borrowed it."""
        if isinstance(self._place, str):
            return self._place
        code, instruction = self._place
        lines = (line for begin, end, line in code.co_lines() if begin <= instruction < end)
        return f"{code.co_filename}:{next(lines, 0)}"

    @property
    def session(self) -> LentSession:
        """What sends."""
        # Made when asked for: kept, the two would be a cycle, and every request's
        # frames would stay until the garbage collector looks for cycles.
        return LentSession(self)

    @property
    def half_sent_failure(self) -> Exception | None:
        """Why the current request has failed, if its audio has begun and not ended."""
        if self.is_unused or not self._connection.session.requests.is_half_sent:
            return None
        request = self._connection.request
        return None if request is None else request.error

    @property
    def collector(self) -> AnimationCollector:
        """The frames of this borrower's requests."""
        if self._collector is None:  # not every borrower needs one
            self._held()
            self._collector = AnimationCollector(limits=self._desk.limits)
            if self._stage is _RETURNED:
                self._collector.finish(self._ended_early())
            else:
                self._collector.goes_on = True
        return self._collector

    def deliver_to(self, receiver: Receiver) -> None:
        """Have the frames of each request from now on go to a receiver; `collector` stays empty.

        For whoever passes frames on: nothing is kept, and nobody is woken. The receiver is
        called from the event loop as a frame comes, and must not block or raise. It learns of
        each request's end: with the last frame, by an interrupt, by a failure, or as the
        connection is returned before it. How long a request may take, and how many frames it
        may bring, is for whoever passes them on to watch.

        Raises:
            SessionStateError: The connection was returned, or a request is under way.
        """
        self._held()
        self._check_lent()
        if not self._is_between_requests:
            raise SessionStateError(f"request {self._req_id} is under way: its frames go on")
        self._receiver = receiver

    async def ready(self) -> Connection:
        """Return the connection to send on.

        One that died before its first audio, or between two requests, is exchanged
        for another one: nothing was sent, so nothing can be doubled.
        """
        self._check_lent()
        while not self._connection.session.is_open and self._is_between_requests:
            dead = self._connection
            async with dead.exchange:  # two tasks of a borrower could wait for each other
                self._check_lent()
                if self._connection is not dead:
                    continue  # the other task has exchanged it
                self._desk.discard(dead)
                if self.came_at is None:  # it had not to wait
                    self.came_at = dead.since
                successor = _Successor(self, self._desk, self.came_at)
                await successor.__aenter__()
                found = successor.give_back()
                if self._stage is not _LENT:  # the block was left
                    self._desk.put_back(found)
                    self._check_lent()
                dead.borrower = None
                self.hold(found)
                self._desk.put_back(dead)  # out already: for its usage to be counted and told
        return self.touched()

    def touched(self) -> Connection:
        """Return the connection it stands for, dead or alive."""
        self._check_lent()
        self._connection.is_touched = True
        return self._connection

    # --- Waiter -----------------------------------------------------------------------

    def hand_over(self, member: Connection) -> bool:
        """Take the connection; False if the borrower is gone."""
        future = self.future
        if future is None or future.done():
            return False
        future.set_result(member)
        return True

    def fail(self, error: Exception) -> None:
        """Learn that none will come."""
        if self.future is not None and not self.future.done():
            self.future.set_exception(copied(error))

    # --- Borrower ---------------------------------------------------------------------

    def _held(self) -> Connection:
        if self._stage in (_NEW, _WAITING):
            raise SessionStateError("this borrow has no connection yet: enter it with async with")
        return self._connection

    def _check_lent(self) -> None:
        if self._stage is not _LENT:
            raise SessionStateError(
                f"connection {self.connection_id} was returned to pool {self._desk.name!r}: "
                "borrow another one"
            )

    @property
    def is_unused(self) -> bool:
        """Whether nothing was sent in this borrow yet."""
        return self._req_id is None

    @property
    def _is_between_requests(self) -> bool:
        """Whether nothing is under way that a new connection would tear apart."""
        connection = self._connection
        request = connection.request
        return request is None or (request.is_over and not connection.session.requests.is_half_sent)

    def begin(self, req_id: str) -> Reception:
        """A request begins: say where its frames go."""
        self._req_id = req_id
        receiver = self.collector if self._receiver is None else self._receiver
        return receiver.begin(req_id)

    def ended(self, error: AvatarPoolError | None, *, is_final: bool = False) -> None:
        """The connection died under the borrower; between requests it may be exchanged.

        Args:
            error: Why, if that is known.
            is_final: Whether there will be no other one.
        """
        if self._is_between_requests and not is_final:
            return
        self._finish(
            error
            or AvatarSDKError(
                AvatarSDKErrorCode.connectionClosed,
                "the connection was closed before the last frame",
                phase="websocket_runtime",
                connection_id=self.connection_id,
                req_id=self._req_id,
            )
        )

    def hold(self, connection: Connection) -> None:
        """Stand for a connection from now on."""
        self._connection = connection
        connection.borrower = self
        connection.is_touched = False
        self._stage = _LENT

    def give_back(self) -> Connection:
        """Kill the handle; return the connection it stood for."""
        self._stage = _RETURNED
        connection = self._connection
        connection.borrower = None
        if self._receiver is not None:
            connection.session.resume_reading()  # whoever passed frames on may have paused it
        request, collector = connection.request, self._collector
        if request is not None and not request.is_over:
            request.end(self._ended_early())
        if collector is not None:
            collector.goes_on = False
            if not collector.is_settled:
                collector.finish(self._ended_early())
        connection.left, connection.request = request, None
        return connection

    def _finish(self, error: AvatarPoolError) -> None:
        """Fail the current request, or the waiting for one that has not begun."""
        request = self._connection.request
        if request is not None:
            request.end(error)
        self.collector.finish(error)  # harmless if that has done it

    def _ended_early(self) -> SessionStateError:
        return SessionStateError(
            f"connection {self.connection_id} was returned before the last frame"
        )


class _Successor(PooledConnection):
    """A borrow for whose connection died in its hands: it comes before who came later."""

    __slots__ = ("_predecessor",)

    def __init__(self, predecessor: PooledConnection, desk: Desk, came_at: float) -> None:
        super().__init__(desk, desk.timeout, predecessor.priority)
        self._predecessor = predecessor
        self.came_at = came_at

    @property
    def borrowed_at(self) -> str:
        return self._predecessor.borrowed_at


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

    @property
    def sample_rate(self) -> int:
        """Samples per second of the audio that it takes.

        Raises:
            SessionStateError: The connection was returned.
        """
        return self._lent.touched().session.sample_rate

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
            PoolError: A callable of the session's configuration failed.
        """
        lent = self._lent
        failure = lent.half_sent_failure
        if failure is not None:
            # The rest of a failed request's audio must not become a request.
            session = (await lent.ready()).session
            if session.is_open:
                await session.abandon()
            raise failure
        session = (await lent.ready()).session
        try:
            return await session.send_audio(audio, end)
        except AvatarPoolError:
            raise
        except Exception as error:  # a trace_context, for one
            raise PoolError(f"send_audio failed: {words(error)}") from error

    def forward(self, frame: AnimationFrame, forwarding: Forwarding) -> None:
        """Hand over unread what follows a frame and is like it, for a relay.

        The first frames and the last one are received as ever; see `AvatarSession.forward`.

        Args:
            frame: Of the current request, just received.
            forwarding: Sends each message on.

        Raises:
            SessionStateError: The connection was returned.
        """
        self._lent.touched().forward(frame, forwarding)

    def pause_reading(self) -> None:
        """Leave in the network what the service sends, until `resume_reading` or the return.

        Raises:
            SessionStateError: The connection was returned.
        """
        self._lent.touched().session.pause_reading()

    def resume_reading(self) -> None:
        """Read on.

        Raises:
            SessionStateError: The connection was returned.
        """
        self._lent.touched().session.resume_reading()

    async def interrupt(self) -> str:
        """Stop the current request; its collection is over at once.

        Raises:
            SessionStateError: The connection was returned.
            SessionNotReady: There is no request.
            AvatarSDKError: The connection is closed.
        """
        lent = self._lent
        connection = lent.touched()  # a dead one is not exchanged for this
        if lent.is_unused:
            raise SessionNotReady("there is no request to interrupt")
        return await connection.interrupt()
