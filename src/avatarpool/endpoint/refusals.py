"""Every way in which the service says no, as values: the one table of its sentences.

An upgrade is refused with an HTTP status and a JSON sentence. A session is
ended with a ServerError, which says why, and then a close code: of the
official clients, one reads the error's code, the others its sentence, and one
the close code. Codes of the close-code contract appear in both places.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from avatarpool.exceptions import CloseCode
from avatarpool.protocol.settings import PCM_SAMPLE_RATES

# Told by the sentence alone: to the clients that read it, code 3 is an invalid request
# whatever the sentence says.
BY_SENTENCE = 0
INVALID_ARGUMENT = 3
INTERNAL = 13
UNAVAILABLE = 14
UNAUTHENTICATED = 16

NORMAL = 1000
GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
UNSUPPORTED_DATA = 1003
INVALID_PAYLOAD = 1007
POLICY_VIOLATION = 1008
MESSAGE_TOO_BIG = 1009
INTERNAL_FAULT = 1011
TRY_AGAIN_LATER = 1013


@dataclass(frozen=True, slots=True)
class TokenRefusal:
    """The console's answer to a token request that it does not grant."""

    status: int
    code: str
    title: str
    detail: str


# What a 426 must name (RFC 9110, 15.5.22, and RFC 6455, 4.4).
_UPGRADE_TO = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}


@dataclass(frozen=True, slots=True)
class UpgradeRefusal:
    """The ingress's answer to an upgrade that it does not grant."""

    status: int
    message: str

    @property
    def body(self) -> bytes:
        """The sentence as the ingress's JSON."""
        return json.dumps({"message": self.message}, separators=(",", ":")).encode() + b"\n"

    @property
    def headers(self) -> dict[str, str]:
        """What the answer says of it in its headers."""
        upgrade_to = _UPGRADE_TO if self.status == 426 else {}
        return {"Content-Type": "application/json; charset=utf-8", **upgrade_to}


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a session ends: what is said, and how it is closed.

    Attributes:
        close_code: The WebSocket close code.
        code: The ServerError's code; None sends no ServerError.
        message: The sentence of both.
    """

    close_code: int
    code: int | None
    message: str


# The sentences below are matched by clients. Words such as "unauthorized",
# "egress" or "credits exhausted" have one meaning each; use them for no other.

BAD_API_KEY = TokenRefusal(
    401, "invalidApiKey", "Invalid API key", "this service does not know the API key"
)


def bad_token_request(detail: str) -> TokenRefusal:
    """The body is not what it should be."""
    return TokenRefusal(400, "invalidRequest", "Invalid request", detail)


def token_fault(status: int) -> TokenRefusal:
    """The console was told to fail."""
    return TokenRefusal(status, "fault", "Fault", "the service was told to fail")


APP_MISMATCH = UpgradeRefusal(400, "app id mismatch")
APP_UNKNOWN = UpgradeRefusal(404, "app id unrecognized")
BILLING = UpgradeRefusal(402, "session denied: no credits are left on this account")
FOREIGN_PAGE = UpgradeRefusal(403, "this service is for pages of this machine alone")
NO_UPGRADE = UpgradeRefusal(426, "this is a WebSocket endpoint")
TOO_MANY_HANDSHAKES = UpgradeRefusal(503, "too many connections without a session, try later")
CLOSING = UpgradeRefusal(503, "the service is closing")


def avatar_unknown(avatar_id: str) -> UpgradeRefusal:
    """No such avatar here."""
    return UpgradeRefusal(404, f"Avatar not found: {avatar_id[:100]}")


def upgrade_fault(status: int) -> UpgradeRefusal:
    """The ingress was told to fail."""
    return UpgradeRefusal(status, "the service was told to fail")


SERVICE_CLOSED = Ending(GOING_AWAY, None, "the service is closing")
INTERNAL_ERROR = Ending(INTERNAL_FAULT, INTERNAL, "the service failed")
SHORT_OF_MEMORY = Ending(
    TRY_AGAIN_LATER, UNAVAILABLE, "the service has no room for so much audio at once, try later"
)
CREDITS_EXHAUSTED = Ending(
    CloseCode.CREDITS_EXHAUSTED, CloseCode.CREDITS_EXHAUSTED, "credits exhausted"
)
TEXT_MESSAGE = Ending(
    UNSUPPORTED_DATA,
    BY_SENTENCE,
    "unexpected message type: every message is one binary protobuf message",
)


# Of one request, whose session goes on.
ODD_AUDIO = "s16le audio has an odd number of bytes"
NO_OGG = "audio is no ogg stream, or its pages do not meet"


def audio_too_long(seconds: float) -> str:
    """A request has more audio than one may have."""
    return f"request audio is longer than {seconds:g} s"


def fault(close_code: int) -> Ending:
    """The service was told to close."""
    return Ending(close_code, None, "the service was told to fail")


def session_expired(seconds: float) -> Ending:
    """The session is as old as one may get."""
    return Ending(
        CloseCode.SESSION_TIMEOUT,
        CloseCode.SESSION_TIMEOUT,
        f"maximum session duration of {seconds:g} s reached",
    )


def too_many_connections(limit: int) -> Ending:
    """The plan's slots are taken."""
    return Ending(
        CloseCode.CONCURRENCY_LIMIT,
        CloseCode.CONCURRENCY_LIMIT,
        f"too many concurrent connections: the limit is {limit}",
    )


def idle(seconds: float) -> Ending:
    """Nobody has spoken for long; no fault, hence a normal closure."""
    return Ending(NORMAL, BY_SENTENCE, f"no audio input for {seconds:g} s")


def no_configuration(seconds: float) -> Ending:
    """The client never said what its audio is."""
    return Ending(
        POLICY_VIOLATION,
        BY_SENTENCE,
        f"expected ClientConfigureSession message within {seconds:g} s",
    )


def configuration_too_large(limit: int) -> Ending:
    """The configuration is larger than any that could make sense."""
    return Ending(MESSAGE_TOO_BIG, INVALID_ARGUMENT, f"first message is larger than {limit} bytes")


def message_too_large(limit: int) -> Ending:
    """A message is larger than any may be."""
    return Ending(MESSAGE_TOO_BIG, None, f"a message is over {limit} bytes")


def too_much_beside_audio(limit: int) -> Ending:
    """A message is large, and not for its audio."""
    return Ending(
        MESSAGE_TOO_BIG,
        BY_SENTENCE,
        f"unexpected message type: it has more than {limit} bytes that are no audio",
    )


def wrong_first_message(name: str) -> Ending:
    """Something else came in the configuration's place."""
    return Ending(
        POLICY_VIOLATION,
        BY_SENTENCE,
        f"unexpected message type: expected ClientConfigureSession message, got {name}",
    )


def wrong_message(name: str) -> Ending:
    """A message that only a server sends, or a second configuration."""
    return Ending(POLICY_VIOLATION, BY_SENTENCE, f"unexpected message type: {name}")


def undecodable(detail: str, *, is_first: bool) -> Ending:
    """Bytes that are no message."""
    what = "failed to unmarshal initial message" if is_first else "unexpected message type"
    return Ending(INVALID_PAYLOAD, BY_SENTENCE, f"{what}: {detail}")


def unsupported_rate(rate: int, rates: tuple[int, ...] = PCM_SAMPLE_RATES) -> Ending:
    """No such sample rate for this audio format."""
    return Ending(
        POLICY_VIOLATION,
        BY_SENTENCE,
        f"unsupported sample rate {rate}: none of {', '.join(map(str, rates))}",
    )


OPUS_UNAVAILABLE = Ending(
    POLICY_VIOLATION,
    INVALID_ARGUMENT,
    "audio format ogg_opus needs the extra 'audio' on the server (or pip install av)",
)


def bad_egress(detail: str) -> Ending:
    """An egress configuration that could not work anywhere."""
    return Ending(POLICY_VIOLATION, INVALID_ARGUMENT, f"invalid egress configuration: {detail}")


EGRESS_UNAUTHORIZED = Ending(
    POLICY_VIOLATION, UNAUTHENTICATED, "unauthorized: livekit_egress.api_token is no JWT"
)
EGRESS_UNAVAILABLE = Ending(
    POLICY_VIOLATION, UNAVAILABLE, "egress client is not configured on server"
)
