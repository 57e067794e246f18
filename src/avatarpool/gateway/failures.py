"""Every way in which the gateway says no to a request, as values: one table for all doors.

The same failure is a ServerError for an official client, and a problem+json for others. Of
upstream's errors those are passed on that concern the client; what concerns the gateway's own
account with the service is a service that is briefly unable: nothing a client could mend.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from avatarpool.endpoint import refusals
from avatarpool.exceptions import (
    AudioError,
    AvatarPoolError,
    AvatarSDKError,
    AvatarSDKErrorCode,
    CloseCode,
    ConfigurationError,
    PoolClosed,
    PoolTimeout,
    RequestTimeout,
    TooManyRequests,
)

Code = AvatarSDKErrorCode

UNABLE = int(CloseCode.UPSTREAM_UNAVAILABLE)
"""What is refused for a while: official clients may try again."""

TOO_MANY = int(CloseCode.CONCURRENCY_LIMIT)
"""What the client's own limits refuse."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request was refused, or failed.

    Attributes:
        name: What it is called in every release.
        message: One sentence.
        code: A ServerError's code.
        status: An HTTP status.
        retry_after: Seconds after which it may go better; None: it is not known.
    """

    name: str
    message: str
    code: int
    status: int
    retry_after: float | None = None

    def __str__(self) -> str:
        return self.message


CLOSING = Failure("closing", "the gateway is closing", UNABLE, 503)
PAUSED = Failure("paused", "the gateway is paused", UNABLE, 503, 5.0)
CLIENT_UNKNOWN = Failure(
    "clientUnknown", "this client is not known any more", int(CloseCode.AUTH_FAILED), 401
)
INTERNAL = Failure("internalError", "the gateway failed", refusals.INTERNAL, 500)
UNORDERLY = Failure(
    "upstreamFailed", "the avatar service answered before it had all audio", UNABLE, 502
)
UNREADABLE = Failure(
    "upstreamFailed", "the avatar service sent a frame that cannot be read", UNABLE, 502
)
UNAVAILABLE = Failure("upstreamUnavailable", "the avatar service cannot be used now", UNABLE, 503)
BILLING = Failure("billingRequired", refusals.BILLING.message, refusals.BY_SENTENCE, 402)
NO_CREDITS = Failure("creditsExhausted", "credits exhausted", int(CloseCode.CREDITS_EXHAUSTED), 402)
LOST = Failure(
    "upstreamLost", "the avatar service was lost before the last frame", UNABLE, 502, 1.0
)


def waited_too_long(seconds: float) -> Failure:
    """No session came free in time."""
    return Failure(
        "queueTimeout", f"no session came free within {seconds:g} s", UNABLE, 503, seconds
    )


def took_too_long(error: RequestTimeout) -> Failure:
    """The service did not answer in time."""
    why = f"the avatar service gave no {error.awaited} within {error.timeout:g} s"
    return Failure("upstreamTimeout", why, UNABLE, 504, 1.0)


def audio_too_long(seconds: float) -> Failure:
    """A request has more audio than its client may send at once."""
    why = refusals.audio_too_long(seconds)
    return Failure("audioTooLong", why, refusals.INVALID_ARGUMENT, 413)


def audio_stopped(seconds: float) -> Failure:
    """A client has stopped in the middle of a request."""
    why = f"no more audio within {seconds:g} s, and no end of it"
    return Failure("audioStopped", why, refusals.INVALID_ARGUMENT, 408)


def audio_late(seconds: float) -> Failure:
    """A client sends a request's audio much more slowly than it plays."""
    why = f"the end of the audio did not come within {seconds:g} s"
    return Failure("audioStopped", why, refusals.INVALID_ARGUMENT, 408)


def avatar_not_allowed(avatar_id: str) -> Failure:
    """The avatar is not one of the client's."""
    why = refusals.avatar_unknown(avatar_id).message
    return Failure("avatarNotAllowed", why, refusals.BY_SENTENCE, 403)


def avatar_unknown(avatar_id: str) -> Failure:
    """The service does not know the avatar."""
    why = refusals.avatar_unknown(avatar_id).message
    return Failure("avatarNotFound", why, refusals.BY_SENTENCE, 404)


def invalid(why: str) -> Failure:
    """The service, or the gateway, cannot make sense of what was asked for."""
    return Failure("invalidRequest", why, refusals.INVALID_ARGUMENT, 400)


def client_busy(waiting: int) -> Failure:
    """So many of a client's requests wait already."""
    why = f"too many concurrent requests: {waiting} of this client wait already"
    return Failure("clientBusy", why, TOO_MANY, 429, 1.0)


def rate_limited(per_minute: int, retry_after: float) -> Failure:
    """A client asks more often than it may."""
    why = f"too many concurrent requests: this client may send {per_minute} a minute"
    return Failure("rateLimited", why, TOO_MANY, 429, retry_after)


def of(error: Exception) -> Failure:
    """Return what an error of the pool, of the service or of its audio is to a client."""
    kinds = (kind for kind in _KINDS if isinstance(error, kind))
    told = _KINDS[next(kinds, Exception)]
    return told if isinstance(told, Failure) else told(error)


def is_loss(error: Exception | None) -> bool:
    """Whether a session was lost in a way that says nothing against its request.

    A broken connection, one that had become too old, a service that is briefly unable.
    """
    if not isinstance(error, AvatarSDKError):
        return False
    code = error.close_code
    if code is not None:
        return code == CloseCode.SESSION_TIMEOUT or 4500 <= code <= 4599
    return error.code in (Code.connectionFailed, Code.connectionClosed)


# What is passed on of a refusal at the opening ...
_AT_OPENING: dict[Code, Callable[[str], Failure]] = {
    Code.avatarNotFound: lambda why: Failure("avatarNotFound", why, refusals.BY_SENTENCE, 404),
    Code.creditsExhausted: lambda _: NO_CREDITS,
    Code.billingRequired: lambda _: BILLING,
    Code.invalidEgressConfig: lambda why: Failure(
        "invalidEgressConfig", why, refusals.INVALID_ARGUMENT, 400
    ),
    Code.egressUnavailable: lambda why: Failure(
        "egressUnavailable", why, refusals.UNAVAILABLE, 503
    ),
}

# ... and what besides of an error in a request.
_IN_A_REQUEST: dict[Code, Callable[[str], Failure]] = {
    **_AT_OPENING,
    Code.invalidRequest: invalid,
    Code.unsupportedSampleRate: invalid,
}


def _of_service(error: AvatarSDKError) -> Failure:
    detail = error.server_detail or error.message
    if error.phase != "websocket_runtime":
        told = _AT_OPENING.get(error.code)
        return UNAVAILABLE if told is None else told(detail)
    told = _IN_A_REQUEST.get(error.code)
    if told is not None:
        return told(detail)
    is_its_word = error.server_code is not None and error.close_code is None
    # Whatever else it says is about a session of the gateway's own: its age, its silence.
    if is_its_word and error.code in (Code.upstreamError, Code.serverError):
        return Failure("upstreamFailed", detail, int(error.server_code or 0), 502)
    return LOST


def _of_audio(error: AudioError) -> Failure:
    is_ogg = "Ogg page" in str(error)
    return invalid(refusals.NO_OGG if is_ogg else str(error))


_NO_SESSION = Failure("queueTimeout", "no session came free in time", UNABLE, 503, 1.0)


def _of_wait(error: PoolTimeout) -> Failure:
    why = error.__cause__  # no session could be opened, or the account's are in use elsewhere
    if isinstance(why, AvatarSDKError) and why.code is not Code.concurrencyLimit:
        return replace(UNAVAILABLE, retry_after=1.0)
    return _NO_SESSION


# The first that fits counts.
_KINDS: dict[type[Exception], Failure | Callable[[Any], Failure]] = {
    AvatarSDKError: _of_service,
    RequestTimeout: took_too_long,
    PoolTimeout: _of_wait,
    TooManyRequests: Failure("busy", "too many requests wait for a session", UNABLE, 503, 1.0),
    PoolClosed: CLOSING,
    AudioError: _of_audio,
    ConfigurationError: lambda error: invalid(error.problems[0]),
    AvatarPoolError: UNAVAILABLE,
    TimeoutError: _NO_SESSION,
    Exception: INTERNAL,
}
