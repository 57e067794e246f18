"""What to do about each way in which the service can refuse."""

from __future__ import annotations

from avatarpool.exceptions import AvatarSDKError, AvatarSDKErrorCode, RequestTimeout

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
    Code.unsupportedSampleRate: "Ask the provider whether the service takes 16000 Hz PCM.",
    Code.upstreamError: "Try again later: a part of the service is unavailable.",
    Code.serverError: "Try again later, and tell the provider if it stays.",
    Code.protocolError: "Check that the endpoint is an avatar service's: its answer is none.",
    Code.invalidRequest: "Compare the endpoint with the provider's documentation.",
    Code.connectionClosed: "Try again: the connection was lost on the way.",
}

_KEY = "Check AVATAR_API_KEY: the console does not accept it."


def advice(error: Exception) -> str:
    """Return one sentence on what to do about a failed step."""
    if isinstance(error, RequestTimeout):
        return "Try again with a longer --timeout: the service took the audio and gave no answer."
    if not isinstance(error, AvatarSDKError):
        return "Try again, and report it if it stays."
    is_console = error.phase == "session_token"
    endpoint = "AVATAR_CONSOLE_ENDPOINT" if is_console else "AVATAR_INGRESS_ENDPOINT"
    if error.code is Code.connectionFailed:
        return f"Check {endpoint} and the way to it: network, proxy, firewall."
    if is_console and error.http_status in (401, 403):
        return _KEY
    if error.http_status in (404, 405) and error.code is Code.invalidRequest:
        return f"Check the path of {endpoint}: nothing answers there."
    return _BY_CODE.get(error.code, "Ask the provider, with the message above.")
