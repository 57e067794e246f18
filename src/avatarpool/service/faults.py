"""What a service gets wrong on purpose, for those who want to see their client survive it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFault:
    """What goes wrong with a token request.

    Attributes:
        delay: Seconds that the answer takes longer.
        status: HTTP status of the answer, which then holds no token.
    """

    delay: float = 0.0
    status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFault:
    """What goes wrong with a session.

    Attributes:
        stalls_handshake: The configuration is never answered.
        has_wrong_request_ids: Frames name a request that nobody made.
        doubles_end: Each request's last frame comes twice.
        after_frames: Frames that the session sends under this fault before
            one of the following ends it.
        garbage: A message that is sent as it is; the session goes on.
        resets: The connection is reset.
        close_code: The session is closed with this code.
    """

    stalls_handshake: bool = False
    has_wrong_request_ids: bool = False
    doubles_end: bool = False
    after_frames: int = 0
    garbage: bytes = b""
    resets: bool = False
    close_code: int | None = None


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
