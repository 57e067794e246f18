"""One session's conversation as its server has it: what is said, what may be answered, its end.

It does no I/O and has no clock. Whoever has the socket hands in each message with the
time, does what the events say in their order, and looks again at `Conversation.deadline`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import inf

from avatarpool.endpoint import refusals
from avatarpool.endpoint.accounts import Account
from avatarpool.endpoint.configuration import refuse_configuration
from avatarpool.endpoint.limits import ServiceLimits
from avatarpool.endpoint.refusals import Ending
from avatarpool.endpoint.requests import RequestRefused, RequestTable
from avatarpool.endpoint.roster import Counts
from avatarpool.exceptions import AvatarSDKError
from avatarpool.protocol.codec import decode, is_known
from avatarpool.protocol.messages import (
    AnimationFrame,
    AudioInput,
    ConfigureSession,
    ConfirmSession,
    Interrupt,
    Message,
    Pause,
    Resume,
    ServerError,
    UnknownMessage,
)
from avatarpool.protocol.outline import outline
from avatarpool.protocol.texts import cut


@dataclass(frozen=True, slots=True)
class Configured:
    """The session is to be as it says; `Conversation.confirm` opens it."""

    configuration: ConfigureSession


@dataclass(frozen=True, slots=True)
class Audio:
    """A piece of a request's audio.

    Attributes:
        req_id: The request.
        audio: As it came; may be empty.
        end: Whether it is the last piece.
        is_first: Whether it is the first one.
    """

    req_id: str
    audio: bytes
    end: bool
    is_first: bool


@dataclass(frozen=True, slots=True)
class Stopped:
    """A request is over before its last frame, or before a room has played it: stop it."""

    req_id: str


@dataclass(frozen=True, slots=True)
class Say:
    """A message to send."""

    message: Message


@dataclass(frozen=True, slots=True)
class Over:
    """The session is over; nothing that comes from now on counts."""

    ending: Ending


Event = Configured | Audio | Stopped | Say | Over


class Stage(Enum):
    """How far a conversation has come."""

    GREETING = "greeting"  # the configuration is awaited
    CONFIRMING = "confirming"  # it came; what comes before `confirm` is dropped
    OPEN = "open"
    OVER = "over"


class Conversation:
    """Follows one session from its upgrade to its end.

    Args:
        connection_id: Its name, told to the client.
        avatar_id: The avatar that its frames are of.
        account: Whose slot it takes.
        limits: What is allowed.
        takes_opus: Whether Ogg Opus can be decoded here.
        takes_egress: Whether frames can go to a room from here.
        now: When it began, by any clock that goes forward; in seconds.

    Attributes:
        stage: How far it has come.
        requests: Those that are open, and those that were.
        counts: What it came to so far.
    """

    def __init__(
        self,
        connection_id: str,
        avatar_id: str,
        account: Account,
        limits: ServiceLimits,
        *,
        takes_opus: bool,
        now: float,
        takes_egress: bool = False,
    ) -> None:
        self.connection_id = connection_id
        self.avatar_id = avatar_id
        self.stage = Stage.GREETING
        self.counts = Counts()
        self.requests = RequestTable(
            max_open=limits.max_open_requests,
            max_id_bytes=limits.max_request_id_bytes,
            max_remembered=limits.max_remembered_requests,
        )
        self._account = account
        self._limits = limits
        self._takes = {"takes_opus": takes_opus, "takes_egress": takes_egress}
        self._began_at = now
        self._heard_at = inf  # when audio, or the configuration, last came
        self._received: dict[str, int] = {}  # bytes of each open request's audio
        self._shown: str | None = None  # the latest request, once it is over but for its room

    def __repr__(self) -> str:
        return f"<Conversation {self.connection_id} {self.stage.value} {len(self.requests)} open>"

    # --- what comes ------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take a binary message."""
        if self.stage is Stage.OVER:
            return []
        try:
            if self.stage is Stage.OPEN:
                return self._read(data, now)
            return self._read_first(data)
        except AvatarSDKError as error:
            is_first = self.stage is not Stage.OPEN
            return [Over(refusals.undecodable(error.message, is_first=is_first))]

    def _read_first(self, data: bytes) -> list[Event]:
        limit = self._limits.max_configuration_bytes
        if len(data) > limit:
            return [Over(refusals.configuration_too_large(limit))]
        message = decode(data)
        return [self._greeted(message)] if self.stage is Stage.GREETING else []

    def _read(self, data: bytes, now: float) -> list[Event]:
        limit = self._limits.max_overhead_bytes
        kind, overhead = outline(data, limit)
        if overhead <= limit:
            return self._told(decode(data), now)
        return [Over(refusals.too_much_beside_audio(limit))] if is_known(kind) else []

    def _greeted(self, message: Message) -> Event:
        if not isinstance(message, ConfigureSession):
            return Over(refusals.wrong_first_message(type(message).__name__))
        refusal = refuse_configuration(message, **self._takes)
        if refusal is not None:
            return Over(refusal)
        self.stage = Stage.CONFIRMING
        return Configured(message)

    def confirm(self, now: float) -> list[Event]:
        """Open the session that was configured, if its account has a slot left."""
        if self.stage is not Stage.CONFIRMING:  # it may have ended meanwhile
            return []
        if not self._account.take_slot():
            return [Over(refusals.too_many_connections(self._account.max_connections))]
        self.stage = Stage.OPEN
        self.counts.sessions = 1
        self._heard_at = now
        return [Say(ConfirmSession(self.connection_id))]

    def _told(self, message: Message, now: float) -> list[Event]:
        match message:
            case AudioInput():
                return self._spoken(message, now)
            case Interrupt():
                return self._interrupted(message.req_id)
            case Pause() | Resume() | UnknownMessage():
                return []  # playback exists in a room alone; the unknown is ignored
            case _:
                return [Over(refusals.wrong_message(type(message).__name__))]

    def _spoken(self, message: AudioInput, now: float) -> list[Event]:
        req_id = message.req_id
        is_first = req_id not in self.requests
        try:
            is_wanted = self.requests.audio(req_id, end=message.end)
        except RequestRefused as refusal:
            return self.fail(req_id, refusals.INVALID_ARGUMENT, str(refusal))
        if not is_wanted:
            return []
        if is_first:
            self._shown = None
        if message.audio or message.end:
            self._heard_at = now
        received = self._received[req_id] = self._received.get(req_id, 0) + len(message.audio)
        if received > self._limits.max_request_bytes:
            why = f"request audio is larger than {self._limits.max_request_bytes} bytes"
            return self.fail(req_id, refusals.INVALID_ARGUMENT, why)
        return [Audio(req_id, message.audio, message.end, is_first)]

    def _interrupted(self, req_id: str) -> list[Event]:
        is_open = req_id in self.requests
        try:
            is_owed = self.requests.interrupt(req_id)
        except RequestRefused as refusal:
            return self.fail(req_id, refusals.INVALID_ARGUMENT, str(refusal))
        if not is_owed:
            return self._stop_showing(req_id)
        last = Say(AnimationFrame(req_id, True, b"", self.connection_id, self.avatar_id))
        if not is_open:
            return [last]
        self.counts.interrupted += 1
        self._received.pop(req_id, None)
        return [Stopped(req_id), last]

    # --- what is answered --------------------------------------------------------------

    def frame(self, req_id: str, animation: bytes, *, end: bool) -> AnimationFrame:
        """Return a frame of an open request, which is to be sent now.

        Raises:
            SessionStateError: The request is not open, or its audio has not ended and
                this is to be its last frame.
        """
        self.passed(req_id, end=end)
        return AnimationFrame(req_id, end, animation, self.connection_id, self.avatar_id)

    def passed(self, req_id: str, *, end: bool) -> None:
        """Record a frame that somebody else has made, and that is to be sent now.

        Raises:
            SessionStateError: As of `frame`.
        """
        self.requests.frame(req_id, end=end)
        self.counts.frames += 1
        if end:
            self._served(req_id)

    def shown(self, req_id: str) -> None:
        """Record that a request is over whose frames went to a room.

        Raises:
            SessionStateError: It is not open, or its audio has not ended.
        """
        self.requests.frame(req_id, end=True)
        self._served(req_id)
        self._shown = req_id

    def _stop_showing(self, req_id: str) -> list[Event]:
        """Stop what a room plays though the request is over: it is the latest that has one."""
        if req_id != self._shown:
            return []
        self._shown = None
        return [Stopped(req_id)]

    def _served(self, req_id: str) -> None:
        self.counts.served += 1
        self._received.pop(req_id, None)

    def fail(self, req_id: str, code: int, why: str) -> list[Event]:
        """Give a request up: no frame of it follows."""
        if self.stage is Stage.OVER:
            return []
        shown = cut(req_id, self._limits.max_request_id_bytes)
        error = Say(ServerError(code, why, self.connection_id, shown))
        if req_id not in self.requests:
            return [error]
        self.requests.fail(req_id)
        self.counts.failed += 1
        self._received.pop(req_id, None)
        return [Stopped(req_id), error]

    # --- when it is over -----------------------------------------------------------------

    @property
    def deadline(self) -> float:
        """When to call `expire`, unless something comes before."""
        if self.stage is Stage.OVER:
            return inf
        limits = self._limits
        greeting = limits.handshake_timeout if self.stage is Stage.GREETING else inf
        return min(
            self._began_at + min(limits.max_session_duration, greeting),
            self._heard_at + limits.idle_timeout,
        )

    def expire(self, now: float, *, is_busy: bool = False) -> Over | None:
        """Return the end that has come by now, if one has.

        Args:
            now: The time.
            is_busy: Whether audio is still waiting to be animated: then it is not the
                client who is silent.
        """
        limits = self._limits
        if now < self.deadline:
            return None
        if now >= self._began_at + limits.max_session_duration:
            return Over(refusals.session_expired(limits.max_session_duration))
        if self.stage is Stage.GREETING:
            return Over(refusals.no_configuration(limits.handshake_timeout))
        if is_busy or self.requests.is_answering:
            self._heard_at = now
            return None
        return Over(refusals.idle(limits.idle_timeout))

    @property
    def is_open(self) -> bool:
        """Whether the session was confirmed and goes on."""
        return self.stage is Stage.OPEN

    @property
    def open_requests(self) -> int:
        """How many requests have neither their last frame nor an error."""
        return len(self.requests)

    def end(self) -> None:
        """End it, and give its slot back: who is told to come back may do so at once."""
        if self.stage is Stage.OPEN:
            self._account.free_slot()
        self.stage = Stage.OVER
        self.requests.abandon()
