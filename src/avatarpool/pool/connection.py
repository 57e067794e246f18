"""The pool's record of a connection: its requests, and whoever has borrowed it."""

from __future__ import annotations

import asyncio
from datetime import datetime, timezone
from typing import Protocol

from avatarpool.client.forwarding import Forwarding, FrameCounter
from avatarpool.exceptions import (
    AvatarPoolError,
    AvatarSDKError,
)
from avatarpool.pool.events import Playback
from avatarpool.pool.events import PoolEventKind as Kind
from avatarpool.pool.fading import Fading
from avatarpool.pool.receiving import Reception
from avatarpool.pool.request import Request, Teller
from avatarpool.pool.state import Member
from avatarpool.protocol.messages import AnimationFrame, Interrupt, PlaybackState, ServerError
from avatarpool.protocol.requests import RequestLog


class Owner(Teller, Protocol):
    """What a connection asks of its pool."""

    name: str

    def now(self) -> float:
        """Return the event loop's time."""

    def settled(self, connection: Connection) -> None:
        """Learn that a connection's requests may be over."""

    def went_on(self, connection: Connection) -> None:
        """Learn that a frame came of what was left on a connection."""

    def lost(self, connection: Connection, error: AvatarSDKError | None) -> None:
        """Learn that a connection ended."""

    def broken(self, connection: Connection, error: AvatarSDKError) -> None:
        """Learn that a connection's peer broke the protocol."""


class Borrower(Protocol):
    """What a connection and the pool ask of whoever has borrowed it."""

    holder: asyncio.Task[object] | None
    is_told: bool

    @property
    def borrowed_at(self) -> str:
        """The place in the code that borrowed it."""

    def begin(self, req_id: str) -> Reception:
        """A request begins: say where its frames go."""

    def ended(self, error: AvatarPoolError | None, *, is_final: bool = False) -> None:
        """Learn that the connection died."""


class PoolableSession(Protocol):
    """What the pool asks of a session, be it ours or a vendor's behind an adapter."""

    requests: RequestLog

    @property
    def connection_id(self) -> str | None:
        """The service's name for the connection."""

    @property
    def sample_rate(self) -> int:
        """Samples per second of the audio that it takes."""

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

    def forward(self, frame: AnimationFrame, forwarding: Forwarding, counter: FrameCounter) -> None:
        """Hand over unread what follows a frame and is like it, where that can be done."""

    def pause_reading(self) -> None:
        """Leave in the network what comes, where that can be done."""

    def resume_reading(self) -> None:
        """Read on."""

    async def proves_alive(self, patience: float) -> bool | None:
        """Ping the peer; None: this session has no way to."""

    async def ending(self) -> AvatarSDKError | None:
        """Return why the connection ended, if that is known."""

    async def close(self) -> None:
        """Close the connection."""


class Connection(Member):
    """One session in the pool: follows its requests and knows its borrower.

    It is the session's observer: frames go to whoever borrows it now, and nobody
    else ever sees them.
    """

    __slots__ = (
        "_pool",
        "borrower",
        "created_at",
        "exchange",
        "fading",
        "is_cleaning",
        "is_touched",
        "left",
        "request",
        "request_count",
        "session",
    )

    def __init__(self, pool: Owner) -> None:
        super().__init__(0.0, 0.0)
        self._pool = pool
        self.session: PoolableSession  # set once, before it is started
        self.created_at: datetime  # wall time, for people: nothing is decided by it
        self.borrower: Borrower | None = None
        self.request: Request | None = None  # its latest
        self.left: Request | None = None  # what it left, until that is known to be over
        self.exchange = asyncio.Lock()  # held while its borrower waits for another one
        self.request_count = 0  # requests answered to the last frame
        # Whether the keeper still ends its abandoned request: nobody may begin
        # one meanwhile, it would be ended with it.
        self.is_cleaning = False
        self.fading: Fading | None = None  # while that request's end is waited for
        self.is_touched = False  # whether its borrower has used it

    def __repr__(self) -> str:
        return f"<Connection {self.session.connection_id} {self.phase.name.lower()}>"

    @property
    def connection_id(self) -> str:
        return self.session.connection_id or "?"

    @property
    def is_ending(self) -> bool:
        return self.session.is_ending

    def opened(self) -> None:
        """Note that the session is open from now on."""
        self.created_at = datetime.now(timezone.utc)

    def forward(self, frame: AnimationFrame, forwarding: Forwarding) -> None:
        """Hand over unread what follows a frame and is like it: see `AvatarSession.forward`."""
        self.session.forward(frame, forwarding, self._pool.meter.counters)

    async def interrupt(self) -> str:
        """Interrupt the most recent request, be it sent or half-sent; return its id.

        Raises:
            SessionNotReady: There was no request.
            AvatarSDKError: The connection is closed.
        """
        if self.request is not None:
            self.request.end(reason="interrupted")
        req_id = await self.session.interrupt()
        self.was_interrupted()
        return req_id

    def was_interrupted(self) -> None:
        """Tell that the most recent request was interrupted, where a room may play it."""
        requests = self.session.requests
        if not requests.expects_frames and requests.last is not None:
            self.playback(Interrupt(requests.last))

    # --- SessionObserver --------------------------------------------------------------

    def request_began(self, req_id: str) -> None:
        if self.borrower is None:
            return  # an abandoned send that a foreign session was slow to tell of
        reception = self.borrower.begin(req_id)
        self.request = Request(self._pool, self, req_id, reception, self._pool.now())

    def request_settled(self) -> None:
        request = self.request
        if request is not None and not self.session.requests.expects_frames:
            request.end()  # its frames go to a room: with the audio sent, all is done here
        self._pool.settled(self)

    def frame_received(self, frame: AnimationFrame) -> None:
        request = self.request
        if request is None or request.is_over:
            self.frame_dropped(frame)
            return
        self._pool.meter.counters.frames_received += 1
        if not request.has_frames:
            request.first_frame()
        error = request.reception.add(frame)
        if error is not None or frame.end:
            request.end(error)

    def frame_dropped(self, frame: AnimationFrame) -> None:
        self._pool.meter.counters.frames_dropped += 1
        request, fading = self.request, self.fading
        if fading is not None:
            is_its_own = frame.req_id == self.session.requests.last
            fading.frame_came(self._pool.now(), is_its_own=is_its_own)
            self.drains_until = fading.give_up_at
            if not fading.has_alarm:
                self._pool.went_on(self)
        elif request is not None and request.req_id == frame.req_id:
            request.has_frames = True  # it was interrupted before they came

    def playback(self, told: Playback) -> None:
        match told:
            case AnimationFrame():
                self.is_playing = not told.end
            case PlaybackState():
                self.is_playing = told.state in ("playing", "paused")
            case Interrupt() | ServerError():
                self.is_playing = False
        self._pool.tell(Kind.PLAYBACK, self.connection_id, told.req_id, playback=told)

    def protocol_broken(self, error: AvatarSDKError) -> None:
        self._pool.broken(self, error)

    def request_failed(self, error: AvatarSDKError) -> None:
        if self.request is not None:
            self.request.end(error)

    def request_doubted(self, error: AvatarSDKError) -> None:
        if self.request is not None:
            self.request.reception.doubt = error

    def session_ended(self, error: AvatarSDKError | None) -> None:
        if self.borrower is not None:
            self.borrower.ended(error)
        self._pool.lost(self, error)
