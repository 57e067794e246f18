"""What to do about each way in which the service can refuse."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator
from datetime import datetime, timezone

from avatarpool.exceptions import AvatarSDKError, AvatarSDKErrorCode, RequestTimeout
from avatarpool.protocol.refusals import is_own
from avatarpool.protocol.settings import DEFAULT_SAMPLE_RATE

Code = AvatarSDKErrorCode

_BY_CODE: dict[Code, str] = {
    Code.sessionTokenExpired: "Check this machine's clock: a fresh token counts as expired.",
    Code.sessionTokenInvalid: (
        "Check that AVATAR_CONSOLE_ENDPOINT and AVATAR_INGRESS_ENDPOINT belong to the same "
        "service: the ingress does not know the console's token."
    ),
    Code.appIDUnrecognized: "Check AVATAR_APP_ID: the service does not know it.",
    Code.appIDMismatch: "Check AVATAR_APP_ID: AVATAR_API_KEY belongs to another application.",
    Code.avatarNotFound: "Check AVATAR_SESSION_AVATAR_ID: this application has no such avatar.",
    Code.billingRequired: "Look at the account's billing: it does not allow sessions now.",
    Code.creditsExhausted: "Top up the account's credits.",
    Code.concurrencyLimit: (
        "Close other sessions or wait until they end: the plan allows no more at once."
    ),
    Code.sessionDurationExceeded: "Ask for longer sessions: this one ended during one request.",
    Code.idleTimeout: "Try again: the service heard no audio in time.",
    Code.unsupportedSampleRate: (
        f"Ask the provider whether the service takes {DEFAULT_SAMPLE_RATE} Hz PCM."
    ),
    Code.upstreamError: "Try again later: a part of the service is unavailable.",
    Code.serverError: "Try again later, and tell the provider if it stays.",
    Code.protocolError: "Check that the endpoint is an avatar service's: its answer is none.",
    Code.invalidRequest: "Compare the endpoint with the provider's documentation.",
    Code.connectionClosed: "Try again: the connection was lost on the way.",
}

_KEY = "Check AVATAR_API_KEY: the console does not accept it."


# What OpenSSL calls it when the first bytes are no TLS.
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL")

_HUNG_UP = "UNEXPECTED_EOF_WHILE_READING"

# So nginx, Go and Apache answer whoever speaks plain HTTP where they expect TLS.
_PLAIN_TO_TLS = re.compile(r"(?i)\bto (an )?(https (port|server)|ssl-enabled server port)")

# What web servers answer to an upgrade at a path that is no ingress.
_NO_INGRESS = (400, 404, 405, 410, 426)


def advice(error: Exception) -> str:
    """Return one sentence on what to do about a failed step."""
    if isinstance(error, RequestTimeout):
        return "Try again with a longer --timeout: the service took the audio and gave no answer."
    if not isinstance(error, AvatarSDKError):
        return "Try again, and report it if it stays."
    is_console = error.phase == "session_token"
    endpoint = "AVATAR_CONSOLE_ENDPOINT" if is_console else "AVATAR_INGRESS_ENDPOINT"
    if error.code is Code.connectionFailed:
        return _about_proxy(error) if error.proxy else _about_way(error, endpoint)
    if is_console and error.http_status in (401, 403):
        return _KEY
    if elsewhere := _about_elsewhere(error, endpoint):
        return elsewhere
    return _BY_CODE.get(error.code, "Ask the provider, with the message above.")


def _about_proxy(error: AvatarSDKError) -> str:
    if error.http_status in (401, 407):
        return "Check the user name and password of the proxy in HTTPS_PROXY or ALL_PROXY."
    return (
        f"Check the proxy {error.proxy}, which HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names; "
        "NO_PROXY exempts hosts from it."
    )


def _about_elsewhere(error: AvatarSDKError, endpoint: str) -> str | None:
    """Say what to do if something answered that is no avatar service."""
    status = error.http_status
    if status is None or is_own(error):
        return None
    if status == 400 and _PLAIN_TO_TLS.search(error.raw_body or ""):
        return f"Write https:// or wss:// in {endpoint}: its port is for TLS."
    if error.phase == "session_token":
        is_elsewhere = status in (404, 405) and error.code is Code.invalidRequest
    else:
        is_elsewhere = status < 400 or status in _NO_INGRESS
    return f"Check the path of {endpoint}: nothing answers there." if is_elsewhere else None


def _about_way(error: AvatarSDKError, endpoint: str) -> str:
    """Say what to do if no HTTP was spoken at all."""
    causes = [*_causes(error)]
    tls = [cause for cause in causes if isinstance(cause, ssl.SSLError)]
    if tls and tls[-1].reason != _HUNG_UP:
        return _about_tls(tls[-1], endpoint)  # those before it are other libraries' wrappers
    faults = [cause for cause in causes if isinstance(cause, OSError)]
    if tls or not faults or isinstance(faults[-1], (ConnectionResetError, BrokenPipeError)):
        return (
            f"Check the scheme and port of {endpoint}: what listens there does not talk to us "
            "(https:// and wss:// are for TLS, http:// and ws:// go without)."
        )
    return f"Check {endpoint} and the way to it: network, proxy, firewall."


def _about_tls(error: ssl.SSLError, endpoint: str) -> str:
    if not isinstance(error, ssl.SSLCertVerificationError):
        if error.reason in _NO_TLS:
            return (
                f"Check the scheme and port of {endpoint}: no TLS is spoken there "
                "(http:// and ws:// go without)."
            )
        return f"Check {endpoint} and what is on the way to it: TLS fails there."
    match getattr(error, "verify_code", 0):
        case 9 | 10 as code:
            now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
            when = "not valid yet" if code == 9 else "no longer valid"
            return (
                f"Check this machine's clock, which says {now}: the certificate of {endpoint} "
                f"is {when} by it; if the clock is right, the certificate must be renewed."
            )
        case 2 | 18 | 19 | 20 | 21:
            return _about_authority(endpoint)
        case 62 | 64:
            return f"Check the host in {endpoint}: the certificate there is for another one."
    return f"Have the certificate of {endpoint} corrected, or of what stands before it."


def _about_authority(endpoint: str) -> str:
    named = os.environ.get("SSL_CERT_FILE")
    if named and not os.access(named, os.R_OK):  # OpenSSL says nothing of that
        return f"Correct SSL_CERT_FILE: there is no {named} to be read."
    return (
        f"Name the authority of {endpoint} in SSL_CERT_FILE, a file of PEM "
        "certificates: this machine does not know it."
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    while error.__cause__ is not None:
        error = error.__cause__
        yield error
