"""What an error of the pool or of the service is to a client, and what of it is told."""

from __future__ import annotations

import pytest

from avatarpool.exceptions import (
    AudioError,
    AvatarSDKError,
    AvatarSDKErrorCode,
    ConfigurationError,
    PoolClosed,
    PoolError,
    PoolTimeout,
    RequestTimeout,
    SessionTokenError,
    TooManyRequests,
)
from avatarpool.gateway import failures
from avatarpool.gateway.memory import REMEMBERED_FOR, RefusalMemory
from avatarpool.protocol.messages import ServerError
from avatarpool.protocol.refusals import (
    connection_closed,
    server_error,
    token_refused,
    upgrade_refused,
)

RUNTIME = "websocket_runtime"


def timed_out_by(code):
    error = PoolTimeout("late")
    error.__cause__ = AvatarSDKError(code, "no session", phase="websocket_handshake")
    return error


CASES = [
    (PoolTimeout("late"), 4503, 503, "queueTimeout"),
    (timed_out_by(AvatarSDKErrorCode.connectionFailed), 4503, 503, "upstreamUnavailable"),
    (timed_out_by(AvatarSDKErrorCode.concurrencyLimit), 4503, 503, "queueTimeout"),
    (TimeoutError(), 4503, 503, "queueTimeout"),
    (TooManyRequests("full"), 4503, 503, "busy"),
    (PoolClosed("closed"), 4503, 503, "closing"),
    (PoolError("no"), 4503, 503, "upstreamUnavailable"),
    (RequestTimeout("r", 3.0, 0, "first frame"), 4503, 504, "upstreamTimeout"),
    (AudioError("odd"), 3, 400, "invalidRequest"),
    (ConfigurationError("key", ["rate 1 is none"]), 3, 400, "invalidRequest"),
    (RuntimeError("bug"), 13, 500, "internalError"),
    # At an opening: what is about the client is passed on, what is about the account is not.
    (upgrade_refused(404, '{"message":"Avatar not found: a"}'), 0, 404, "avatarNotFound"),
    (upgrade_refused(402, '{"message":"session denied: no"}'), 0, 402, "billingRequired"),
    (upgrade_refused(400, '{"message":"Invalid session token"}'), 4503, 503, "upstreamUnavailable"),
    (upgrade_refused(404, '{"message":"app id unrecognized"}'), 4503, 503, "upstreamUnavailable"),
    (upgrade_refused(503, "busy"), 4503, 503, "upstreamUnavailable"),
    (token_refused(401, "no such key"), 4503, 503, "upstreamUnavailable"),
    (
        server_error(ServerError(4003, "concurrent connections"), phase="websocket_handshake"),
        4503,
        503,
        "upstreamUnavailable",
    ),
    # In a request.
    (server_error(ServerError(3, "too loud"), phase=RUNTIME), 3, 400, "invalidRequest"),
    (server_error(ServerError(13, "it broke"), phase=RUNTIME), 13, 502, "upstreamFailed"),
    (server_error(ServerError(4001, "credits exhausted"), phase=RUNTIME), 4001, 402, None),
    (server_error(ServerError(4002, "session time limit reached"), phase=RUNTIME), 4503, 502, None),
    (connection_closed(4503, "gone", phase=RUNTIME), 4503, 502, "upstreamLost"),
    (connection_closed(None, None, phase=RUNTIME), 4503, 502, "upstreamLost"),
    (connection_closed(4003, "too many", phase=RUNTIME), 4503, 502, "upstreamLost"),
]


@pytest.mark.parametrize(
    ("error", "code", "status", "name"), CASES, ids=lambda case: str(case)[:40]
)
def test_an_error_is_told_in_the_terms_of_its_client(error, code, status, name):
    failure = failures.of(error)
    assert (failure.code, failure.status) == (code, status)
    assert name in (None, failure.name)
    assert str(failure) == failure.message


def test_4003_is_for_a_clients_own_limits_alone():
    everything = [failures.of(error) for error, *_ in CASES]
    assert failures.TOO_MANY not in {failure.code for failure in everything}
    assert failures.client_busy(3).code == failures.rate_limited(60, 1.0).code == failures.TOO_MANY


def test_what_is_about_the_gateways_own_account_is_not_told():
    error = SessionTokenError(
        "the console refused",
        code=AvatarSDKErrorCode.invalidRequest,
        server_detail="key sk-secret is no key of app-7",
    )
    assert failures.of(error) == failures.UNAVAILABLE


@pytest.mark.parametrize(
    ("error", "is_loss"),
    [
        (connection_closed(None, None, phase=RUNTIME), True),
        (connection_closed(4002, "old", phase=RUNTIME), True),
        (connection_closed(4503, "busy", phase=RUNTIME), True),
        (server_error(ServerError(4503, "busy"), phase=RUNTIME), True),
        (connection_closed(4001, "credits", phase=RUNTIME), False),
        (connection_closed(4003, "too many", phase=RUNTIME), False),
        (server_error(ServerError(3, "no"), phase=RUNTIME), False),
        (AvatarSDKError(AvatarSDKErrorCode.protocolError, "odd", phase=RUNTIME), False),
        (RequestTimeout("r", 1.0, 0), False),
        (None, False),
    ],
)
def test_a_loss_says_nothing_against_its_request(error, is_loss):
    assert failures.is_loss(error) is is_loss


def test_what_the_service_refuses_for_good_is_remembered_for_a_while():
    memory = RefusalMemory()
    memory.note("nobody", failures.avatar_unknown("nobody"), 100.0)
    memory.note("busy", failures.UNAVAILABLE, 100.0)
    assert memory.upgrade("nobody", 100.0 + REMEMBERED_FOR - 1.0).status == 404
    assert memory.failure("nobody", 101.0) == failures.avatar_unknown("nobody")
    assert memory.upgrade("nobody", 100.0 + REMEMBERED_FOR) is None
    assert memory.upgrade("somebody", 101.0) is None
    assert memory.upgrade("busy", 101.0) is None


def test_without_credits_no_avatar_has_a_session():
    memory = RefusalMemory()
    memory.note("one", failures.NO_CREDITS, 100.0)
    assert memory.upgrade("another", 101.0).status == 402


def test_the_memory_is_bounded():
    memory = RefusalMemory()
    for number in range(5000):
        memory.note(f"avatar-{number}", failures.avatar_unknown("x"), 100.0)
    assert len(memory._refused) <= 1024
    assert memory.upgrade("avatar-4999", 101.0) is not None


@pytest.mark.parametrize(
    "said",
    [
        ServerError(0, "no audio input for 1 s"),
        ServerError(0, "too many concurrent connections: the limit is 3"),
        ServerError(4002, "maximum session duration of 60 s reached"),
        ServerError(4010, "invalid session token"),
        ServerError(0, "unexpected message type: ServerError"),
    ],
    ids=lambda said: said.message,
)
def test_what_is_said_of_a_session_of_the_gateways_own_is_no_clients_error(said):
    error = server_error(said, phase=RUNTIME)
    assert failures.of(error) is failures.LOST
