"""The vendor's rules: what a room's session may follow, and what it may not."""

from __future__ import annotations

import pytest

from avatarpool import AvatarSDKError, ConfigurationError, PoolError
from avatarpool.exceptions import AvatarSDKErrorCode as Code
from avatarpool.fleet.reopening import Reopening


def error(code, phase="websocket_runtime", **facts):
    return AvatarSDKError(code, "why", phase=phase, **facts)


@pytest.mark.parametrize(
    "gone",
    [
        None,
        error(Code.connectionClosed),
        error(Code.connectionClosed, close_code=1006),
        error(Code.connectionFailed, "websocket_connect"),
        error(Code.idleTimeout),
        error(Code.idleTimeout, close_code=1008),
        error(Code.sessionDurationExceeded, close_code=4002),
        error(Code.concurrencyLimit, close_code=4003),
        error(Code.upstreamError, close_code=4503),
        error(Code.egressUnavailable, "websocket_handshake"),
        error(Code.invalidRequest, "session_token", http_status=429),
        error(Code.invalidRequest, "session_token", http_status=503),
        error(Code.unknown),
        PoolError("config_factory failed: the vault is away"),
    ],
    ids=repr,
)
def test_what_time_or_another_connection_mends_is_tried_again(gone):
    assert Reopening().may_follow(gone)


@pytest.mark.parametrize(
    "gone",
    [
        error(Code.creditsExhausted, close_code=4001),
        error(Code.sessionTokenInvalid, close_code=4010),
        error(Code.sessionTokenExpired, "session_token", http_status=401),
        error(Code.appIDUnrecognized, "websocket_connect", http_status=404),
        error(Code.appIDMismatch, "websocket_connect", http_status=400),
        error(Code.billingRequired, "websocket_connect", http_status=402),
        error(Code.avatarNotFound, "websocket_connect", http_status=404),
        error(Code.invalidEgressConfig, "websocket_handshake"),
        error(Code.unsupportedSampleRate, "websocket_handshake"),
        error(Code.invalidRequest, "session_token", http_status=403),
        ConfigurationError("it cannot work", ["api_key is missing"]),
    ],
    ids=repr,
)
def test_what_the_service_would_refuse_again_is_not(gone):
    assert not Reopening().may_follow(gone)


def test_a_fresh_token_that_is_not_taken_is_followed_by_one_more():
    stale = error(Code.sessionTokenInvalid, "websocket_connect", http_status=400)
    reopening = Reopening()
    assert reopening.may_follow(stale)
    assert not reopening.may_follow(stale)
    reopening.opened()
    assert reopening.may_follow(stale)
    assert reopening.may_follow(error(Code.connectionFailed))
    assert not reopening.may_follow(stale)
