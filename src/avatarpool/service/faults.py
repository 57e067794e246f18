"""What a service gets wrong on purpose, for those who want to see their client survive it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar

from avatarpool.exceptions import ConfigurationError
from avatarpool.protocol.texts import may_carry

_LONGEST_DELAY = 3600.0  # seconds

# Read by pydantic, where the admin endpoint takes faults as JSON.
_AS_JSON = {"extra": "forbid", "ser_json_bytes": "base64", "val_json_bytes": "base64"}


class Step(str, Enum):
    """A step of a session at which the service can fall silent."""

    UPGRADE = "upgrade"
    HANDSHAKE = "handshake"
    FRAMES = "frames"
    LAST_FRAME = "last_frame"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFault:
    """What goes wrong with a token request.

    Attributes:
        delay: Seconds that the answer takes longer.
        status: HTTP status of the answer, which then holds no token.
    """

    __pydantic_config__: ClassVar = _AS_JSON

    delay: float = 0.0
    status: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be done."""
        _check("token fault", delay=self.delay, status=self.status)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFault:
    """What goes wrong with a session.

    Attributes:
        upgrade_status: HTTP status with which the upgrade is refused.
        delay: Seconds that the upgrade, the confirmation and each frame take longer.
        stalls_at: The step that never comes; the session stays open, and answers
            pings, interrupts and closing.
        has_wrong_request_ids: Frames name a request that nobody made.
        doubles_end: Each request's last frame comes twice.
        after_frames: Frames that the session sends under this fault before
            it stalls at `Step.FRAMES` or one of the following happens.
        garbage: A message that is sent as it is; the session goes on.
        is_half_open: From then on nothing is answered any more, pings and closing
            included, even if the fault is taken back; the socket stays open.
        resets: The connection is reset.
        close_code: The session is closed with this code.
    """

    __pydantic_config__: ClassVar = _AS_JSON

    upgrade_status: int | None = None
    delay: float = 0.0
    stalls_at: Step | None = None
    has_wrong_request_ids: bool = False
    doubles_end: bool = False
    after_frames: int = 0
    garbage: bytes = b""
    is_half_open: bool = False
    resets: bool = False
    close_code: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be done."""
        _check(
            "session fault",
            delay=self.delay,
            status=self.upgrade_status,
            after_frames=self.after_frames,
            close_code=self.close_code,
        )


@dataclass(slots=True)
class Faults:
    """The faults of a `LocalAvatarService`; set them at any time.

    Attributes:
        tokens: What is wrong with every token request; None: nothing.
        sessions: What is wrong with every session, open ones included.
        next_tokens: What is wrong with the next token requests, one each,
            whatever `tokens` says.
        next_sessions: What is wrong with the next sessions, likewise.
    """

    __pydantic_config__: ClassVar = _AS_JSON

    tokens: TokenFault | None = None
    sessions: SessionFault | None = None
    next_tokens: deque[TokenFault] = field(default_factory=deque)
    next_sessions: deque[SessionFault] = field(default_factory=deque)

    def of_token(self) -> TokenFault | None:
        """Return what is wrong with a token request that has just come."""
        return self.next_tokens.popleft() if self.next_tokens else self.tokens

    def of_new_session(self) -> SessionFault | None:
        """Return what is wrong with a session that has just begun, and with it alone."""
        return self.next_sessions.popleft() if self.next_sessions else None

    def become(self, other: Faults) -> None:
        """Take over another's faults; who holds this object sees them at once."""
        self.tokens, self.sessions = other.tokens, other.sessions
        self.next_tokens, self.next_sessions = other.next_tokens, other.next_sessions


def _check(
    what: str,
    *,
    delay: float,
    status: int | None,
    after_frames: int = 0,
    close_code: int | None = None,
) -> None:
    problems = []
    if not 0.0 <= delay <= _LONGEST_DELAY:
        problems.append(f"delay {delay} is not within 0 to {_LONGEST_DELAY:g} s")
    if status is not None and not 400 <= status <= 599:
        problems.append(f"status {status} is no HTTP error's, 400 to 599")
    if after_frames < 0:
        problems.append(f"after_frames {after_frames} is below 0")
    if close_code is not None and not may_carry(close_code):
        problems.append(f"close_code {close_code} is none that a close frame may carry")
    if problems:
        raise ConfigurationError(f"the {what} cannot be made", problems)
