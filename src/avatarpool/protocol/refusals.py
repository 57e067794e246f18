"""From what the service said to a stable error code: one ordered table per source.

The sentences are the service's own, matched in lower case; the order matters,
since a billing sentence may come with any status.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from avatarpool.exceptions import (
    AvatarSDKError,
    AvatarSDKErrorCode,
    CloseCode,
    SessionTokenError,
)
from avatarpool.protocol.messages import ServerError

Code = AvatarSDKErrorCode

HIDDEN = "[hidden]"
"""What stands in an error where the service repeated a key or a token."""

CLOSE_CODES: dict[int, Code] = {
    CloseCode.CREDITS_EXHAUSTED: Code.creditsExhausted,
    CloseCode.SESSION_TIMEOUT: Code.sessionDurationExceeded,
    CloseCode.CONCURRENCY_LIMIT: Code.concurrencyLimit,
    CloseCode.AUTH_FAILED: Code.sessionTokenInvalid,
    CloseCode.UPSTREAM_UNAVAILABLE: Code.upstreamError,
}

_SENTENCES: tuple[tuple[str, Code], ...] = (
    ("credits exhausted", Code.creditsExhausted),
    ("session time limit reached", Code.sessionDurationExceeded),
    ("maximum session duration", Code.sessionDurationExceeded),
    ("concurrent connections", Code.concurrencyLimit),
    ("session denied", Code.billingRequired),
    ("app id mismatch", Code.appIDMismatch),
    ("invalid session token", Code.sessionTokenInvalid),
    ("empty token", Code.sessionTokenInvalid),
    ("token is expired", Code.sessionTokenExpired),
    ("session token expired", Code.sessionTokenExpired),
    ("app id unrecognized", Code.appIDUnrecognized),
    ("appidunrecognized", Code.appIDUnrecognized),  # as the console's own code
    ("avatar not found", Code.avatarNotFound),
    ("unsupported sample rate", Code.unsupportedSampleRate),
    ("no audio input for", Code.idleTimeout),
    ("silence timeout", Code.idleTimeout),
    ("egress client is not configured", Code.egressUnavailable),
    ("failed to create egress connection", Code.egressUnavailable),
    ("invalid egress", Code.invalidEgressConfig),
    ("unexpected message type", Code.protocolError),
    ("clientconfiguresession message", Code.protocolError),  # expected, or nil
    ("failed to unmarshal", Code.protocolError),
    ("driven server", Code.upstreamError),
)

# gRPC's codes, as ServerError carries them, for sentences that say nothing more.
_GRPC: dict[int, Code] = {
    3: Code.invalidRequest,
    13: Code.upstreamError,
    14: Code.egressUnavailable,
}

# The same where the sentence is about a room: who refused it depends on the code.
_GRPC_EGRESS: dict[int, Code] = {**_GRPC, 3: Code.invalidEgressConfig, 13: Code.egressUnavailable}

# Of a ServerError alone: a console may well say "Unauthorized" to a key.
_EGRESS_SENTENCES: tuple[tuple[str, Code], ...] = (
    ("livekit_egress", Code.invalidEgressConfig),
    ("agora_egress", Code.invalidEgressConfig),
    ("missing livekit credentials", Code.invalidEgressConfig),
    ("provide api_token", Code.invalidEgressConfig),
    ("unauthorized", Code.invalidEgressConfig),
)

# These say it all: code 16 speaks of the room's token and never of the session's.
_CERTAIN: dict[int, Code] = {**CLOSE_CODES, 16: Code.invalidEgressConfig}

_CONNECT_STATUS: dict[int, Code] = {
    400: Code.sessionTokenInvalid,
    401: Code.sessionTokenExpired,
    402: Code.billingRequired,
    404: Code.appIDUnrecognized,
    429: Code.concurrencyLimit,
}

# For the console a 401 is the key and not the token: no token exists yet. The newest
# official client, its forerunner and its twin in JavaScript call it an expired token all
# the same, and a 403 an invalid request; whoever branches on their codes keeps their word.
_TOKEN_STATUS: dict[int, Code] = {
    401: Code.sessionTokenExpired,
    402: Code.billingRequired,
    429: Code.concurrencyLimit,
}


@dataclass(frozen=True, slots=True)
class RefusalBody:
    """What an HTTP refusal's body said, whichever of its forms it took."""

    code: str | None = None
    title: str | None = None
    detail: str | None = None


def read_refusal(body: str) -> RefusalBody:
    """Read ``{"errors": [...]}``, ``{"message": ...}`` or plain text; never raises."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        return RefusalBody(detail=_text(body.strip()))
    errors = data.get("errors")
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        data = errors[0]
    return RefusalBody(
        _text(data.get("code")),
        _text(data.get("title")),
        _text(data.get("detail")) or _text(data.get("message")),
    )


def _text(value: object) -> str | None:
    """Take what somebody else wrote: one line, and not a long one, for messages and logs."""
    if value in (None, ""):
        return None
    return "".join(c if c.isprintable() else " " for c in str(value)[:500])


def token_refused(status: int, body: str) -> SessionTokenError:
    """The console answered a token request with an error."""
    said = read_refusal(body)
    code = _by_sentence(said) or _by_status(status, _TOKEN_STATUS)
    return SessionTokenError(
        f"the console refused a session token with HTTP {status}{_colon(said)}",
        code=code,
        http_status=status,
        server_code=said.code,
        server_title=said.title,
        server_detail=said.detail,
        raw_body=body,
    )


def upgrade_refused(status: int, body: str) -> AvatarSDKError:
    """The ingress answered the WebSocket upgrade with something else than 101."""
    said = read_refusal(body)
    code = _by_sentence(said) or _by_status(status, _CONNECT_STATUS)
    return AvatarSDKError(
        code,
        f"the ingress refused the connection with HTTP {status}{_colon(said)}",
        phase="websocket_connect",
        http_status=status,
        server_code=said.code,
        server_title=said.title,
        server_detail=said.detail,
        raw_body=body,
    )


def is_own(error: AvatarSDKError) -> bool:
    """Whether an HTTP refusal is the service's, and not that of something else that answers."""
    said = RefusalBody(error.server_code, error.server_title, error.server_detail)
    return bool(said.code or said.title or _by_sentence(said))


def server_error(error: ServerError, *, phase: str) -> AvatarSDKError:
    """The service sent a ServerError."""
    said = RefusalBody(detail=_text(error.message))
    code = (
        _CERTAIN.get(error.code)
        or _by_sentence(said, _SENTENCES if error.code in _GRPC else _SENTENCES + _EGRESS_SENTENCES)
        or _by_grpc(error)
        or Code.serverError
    )
    return AvatarSDKError(
        code,
        f"the service reported error {error.code}{_colon(said)}",
        phase=phase,
        connection_id=_text(error.connection_id),
        req_id=_text(error.req_id),
        server_code=str(error.code),
        server_detail=said.detail,
        # Codes of the close-code contract mean the same here, so that
        # `retryable` follows it; gRPC's do not take part.
        close_code=error.code if 4000 <= error.code <= 4999 else None,
    )


def connection_closed(
    close_code: int | None,
    reason: str | None,
    *,
    phase: str,
    connection_id: str | None = None,
    req_id: str | None = None,
) -> AvatarSDKError:
    """The WebSocket ended; ``close_code`` is None where no close frame came."""
    reason = _text(reason)
    code = CLOSE_CODES.get(close_code or 0) or _by_sentence(RefusalBody(detail=reason))
    why = "without a close frame" if close_code is None else f"with code {close_code}"
    return AvatarSDKError(
        code or Code.connectionClosed,
        f"the connection was closed {why}{f': {reason}' if reason else ''}",
        phase=phase,
        connection_id=connection_id,
        req_id=req_id,
        close_code=close_code,
        close_reason=reason,
    )


def protocol_violation(
    message: str,
    phase: str = "runtime",
    *,
    connection_id: str | None = None,
    req_id: str | None = None,
) -> AvatarSDKError:
    """Say what the service did that it must not."""
    return AvatarSDKError(
        Code.protocolError,
        message,
        phase=f"websocket_{phase}",
        connection_id=connection_id,
        req_id=req_id,
    )


def _by_sentence(
    said: RefusalBody, sentences: tuple[tuple[str, Code], ...] = _SENTENCES
) -> Code | None:
    text = " | ".join(part.lower() for part in (said.code, said.title, said.detail) if part)
    return next((code for sentence, code in sentences if sentence in text), None)


def _by_grpc(error: ServerError) -> Code | None:
    text = error.message.lower()
    is_egress = any(word in text for word in ("egress", "livekit", "agora"))
    return (_GRPC_EGRESS if is_egress else _GRPC).get(error.code)


def _by_status(status: int, table: dict[int, Code]) -> Code:
    if status in table:
        return table[status]
    if 400 <= status < 500:
        return Code.invalidRequest
    return Code.serverError if status >= 500 else Code.protocolError


def _colon(said: RefusalBody) -> str:
    parts = [part for part in (said.title, said.detail) if part]
    return f": {' - '.join(parts)}" if parts else ""
