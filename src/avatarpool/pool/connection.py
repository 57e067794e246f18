"""The pool's record of a connection: its requests, and whoever has borrowed it."""

from __future__ import annotations

import asyncio
from typing import Protocol

from avatarpool.collector import AnimationCollector, Collection, CollectionLimits
from avatarpool.exceptions import (
    AvatarPoolError,
    AvatarSDKError,
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

    def tell(
        self,
        kind: Kind,
        connection_id: str = "",
        reason: str = "",
        seconds: float = 0.0,
        error: BaseException | None = None,
    ) -> None:
        """Pass an event on to whoever follows the pool."""


class Borrower(Protocol):
    """What a connection and the pool ask of whoever has borrowed it."""

    holder: asyncio.Task[object] | None
    is_told: bool

    @property
    def collector(self) -> AnimationCollector:
        """Where its frames go."""

    @property
    def borrowed_at(self) -> str:
        """The place in the code that borrowed it."""

    def ended(self, error: AvatarPoolError | None, *, is_final: bool = False) -> None:
        """Learn that the connection died."""


class PoolableSession(Protocol):
    """What the pool asks of a session, be it ours or a vendor's behind an adapter."""

    requests: RequestLog

    @property
    def connection_id(self) -> str | None:
        """The service's name for the connection."""

    @property
    def is_ending(self) -> bool:
        """Whether its end is known to be near; a plain attribute, where it can be one."""

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


class Connection(Member):
    """One session in the pool: follows its requests and knows its borrower.

    It is the session's observer: frames go to the collector of whoever
    borrows it now, and nobody else ever sees them.
    """

    __slots__ = (
        "_pool",
        "began_at",
        "borrower",
        "collection",
        "exchange",
        "had_frame",
        "in_request",
        "is_cleaning",
        "is_touched",
        "request_count",
        "session",
    )

    def __init__(self, pool: Owner) -> None:
        super().__init__(0.0, 0.0)
        self._pool = pool
        self.session: PoolableSession  # set once, before it is started
        self.borrower: Borrower | None = None
        self.collection: Collection | None = None  # of the borrower's current request
        self.exchange = asyncio.Lock()  # held while its borrower waits for another one
        self.request_count = 0  # requests answered to the last frame
        self.began_at = 0.0  # when the current request began
        self.had_frame = False  # whether the current request has a frame yet
        self.in_request = False  # whether its end is still to be told
        # Whether the keeper still ends its abandoned request: nobody may begin
        # one meanwhile, it would be ended with it.
        self.is_cleaning = False
        self.is_touched = False  # whether its borrower has used it

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
            self.collection = self.borrower.collector.begin(req_id)
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
        meter, collection = self._pool.meter, self.collection
        if collection is None:  # its borrower is gone: the request is abandoned
            meter.counters.frames_dropped += 1
            return
        meter.counters.frames_received += 1
        if not self.had_frame or frame.end:
            elapsed = meter.clock() - self.began_at
            if not self.had_frame:
                self.had_frame = True
                meter.first_frame.add(elapsed)
                self._pool.tell(Kind.FIRST_FRAME, self.connection_id, "", elapsed)
            if frame.end:
                self.request_count += 1
                meter.request_served(elapsed)
                self.request_over()
        collection.add(frame)

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
