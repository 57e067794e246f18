"""What the service allows: every size, count and time that a peer could abuse."""

from __future__ import annotations

from dataclasses import dataclass, fields

from avatarpool.exceptions import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLimits:
    """The limits of a `LocalAvatarService`; times are in seconds.

    Attributes:
        credits: Seconds of audio that each application may have animated;
            None is unlimited. Without any left the upgrade is refused (402);
            running out ends the session (4001).
        max_connections: Sessions that one application may have at once (4003).
        max_handshakes: Connections that one application may have on top of
            those, before or after their sessions; the upgrade is refused (503).
        max_session_duration: A session is ended after this time (4002).
        idle_timeout: A session without audio is ended after this time (code 0).
        http_idle_timeout: A connection without a whole request is closed after
            this time. Above the 15 s after which aiohttp's own clients let go.
            Before its first request only by aiohttp 3.14.4 or newer.
        handshake_timeout: Time for the configuration to arrive.
        send_timeout: Time that a peer may leave its frames unread.
        close_timeout: Time for the closing handshake, and for `close()`.
        max_token_lifetime: How far ahead a token may expire.
        single_use_tokens: Whether a token opens one connection, and not as many as
            are asked for until it expires.
        max_used_tokens: Used tokens remembered until they expire, if they are
            for a single use; beyond it the ingress answers 503, since forgetting
            one would let it in again.
        max_token_request_bytes: Size of a token request's body.
        max_configuration_bytes: Size of a session's first message, whose maps
            would take many times its size once decoded.
        max_overhead_bytes: What of a later message may be anything but audio.
        max_message_bytes: Size of one WebSocket message (close code 1009).
        max_buffered_bytes: Audio of one session that waits to be animated;
            beyond it, and one message more, nothing is read from the socket.
        max_total_buffered_bytes: What all sessions together hold of messages and audio
            that are not dealt with; beyond it the one that holds the most is ended
            (close code 1013).
        max_sockets: Connections of all kinds to one port at once, whoever's they are, a
            session's or not; fewer where the process may not open as many files.
        max_request_bytes: Audio of one request, as it came.
        max_request_seconds: Audio of one request, as it plays.
        max_open_requests: Unfinished requests of one session.
        max_request_id_bytes: Length of a request id.
        max_remembered_requests: Finished requests of one session whose ids are
            known, so that a reused one is refused.
    """

    credits: float | None = None
    max_connections: int = 256
    max_handshakes: int = 256
    max_session_duration: float = 3600.0
    idle_timeout: float = 300.0
    http_idle_timeout: float = 30.0
    handshake_timeout: float = 10.0
    send_timeout: float = 30.0
    close_timeout: float = 2.0
    max_token_lifetime: float = 24 * 3600.0
    single_use_tokens: bool = False
    max_used_tokens: int = 100_000
    max_token_request_bytes: int = 4096
    max_configuration_bytes: int = 64 * 1024
    max_overhead_bytes: int = 4096
    max_message_bytes: int = 4 * 1024 * 1024
    max_buffered_bytes: int = 1024 * 1024
    max_total_buffered_bytes: int = 256 * 1024 * 1024
    max_sockets: int = 4096
    max_request_bytes: int = 64 * 1024 * 1024
    max_request_seconds: float = 600.0
    max_open_requests: int = 8
    max_request_id_bytes: int = 128
    max_remembered_requests: int = 4096

    def __post_init__(self) -> None:
        """Refuse limits that would let nothing through, all at once."""
        problems = [
            f"{field.name} {value} is not above 0"
            for field in fields(self)
            if field.name not in ("credits", "single_use_tokens")
            and (value := getattr(self, field.name)) <= 0
        ]
        if self.credits is not None and self.credits < 0:
            problems.append(f"credits {self.credits} is below 0")
        if problems:
            raise ConfigurationError("service limits cannot work", problems)
