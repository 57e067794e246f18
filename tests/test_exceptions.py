from __future__ import annotations

import copy
import inspect
import pickle
import re

import pytest

from avatarpool import exceptions
from avatarpool.exceptions import (
    AvatarPoolError,
    AvatarSDKError,
    AvatarSDKErrorCode,
    CloseCode,
    ConfigurationError,
    ConnectionGone,
    PoolTimeout,
    RequestTimeout,
    SessionNotReady,
    SessionTokenError,
)

Code = AvatarSDKErrorCode


def test_the_tree_is_the_one_that_is_drawn():
    drawn: dict[str, tuple[str, ...]] = {}
    branch: list[str] = []  # the names above the current line
    for line in (exceptions.__doc__ or "").splitlines():
        matched = re.match(r"    ([│ ├└─]*)(\w+)(?: \((\w+)\))?(?:  |$)", line)
        if matched is None:
            continue
        indent, name, builtin = matched.groups()
        branch[len(indent) // 4 :] = [name]
        parent = branch[-2] if len(branch) > 1 else "Exception"
        drawn[name] = (parent, builtin) if builtin else (parent,)
    classes = {
        name: tuple(base.__name__ for base in value.__bases__)
        for name, value in vars(exceptions).items()
        if inspect.isclass(value) and issubclass(value, Exception)
    }
    assert drawn == classes


def test_the_stable_codes_are_their_own_names():
    assert [code.value for code in Code] == [code.name for code in Code]
    assert Code("idleTimeout") is Code.idleTimeout
    assert Code.idleTimeout == "idleTimeout"


def test_an_error_says_its_code_and_its_sentence():
    error = AvatarSDKError(Code.idleTimeout, "no audio for 30 s")
    assert str(error) == "idleTimeout: no audio for 30 s"
    assert error.phase == "unknown"
    assert isinstance(error, AvatarPoolError)


def test_an_error_keeps_every_fact():
    facts = {
        "phase": "websocket_runtime",
        "http_status": 400,
        "server_code": "3",
        "server_title": "title",
        "server_detail": "detail",
        "connection_id": "c-1",
        "req_id": "r-1",
        "raw_body": "{}",
        "close_code": 4002,
        "close_reason": "too old",
    }
    error = AvatarSDKError(Code.unknown, "all of it", **facts)
    assert {name: getattr(error, name) for name in facts} == facts


def test_a_refusals_body_is_kept_up_to_2048_characters():
    assert AvatarSDKError(Code.unknown, "", raw_body="x" * 5000).raw_body == "x" * 2048
    assert AvatarSDKError(Code.unknown, "", raw_body="").raw_body == ""


def test_what_a_service_said_stays_out_of_a_repr():
    error = SessionTokenError("refused", raw_body="the-secret-key")
    assert "the-secret-key" not in repr(error) + str(error)


def test_a_token_error_speaks_of_the_token_phase():
    error = SessionTokenError("refused")
    assert error.phase == "session_token"
    assert error.code is Code.invalidRequest


def test_a_token_error_takes_the_sdks_keywords():
    facts = {
        "phase": "prewarm",
        "connection_id": "c-1",
        "req_id": "r-1",
        "close_code": 4010,
        "close_reason": "no",
    }
    error = SessionTokenError("refused", code=Code.sessionTokenExpired, **facts)
    assert {name: getattr(error, name) for name in facts} == facts


@pytest.mark.parametrize(
    "error", [SessionNotReady("not open"), ConnectionGone(Code.connectionClosed, "gone")]
)
def test_what_the_sdks_call_a_value_error_is_one_copied_and_pickled_too(error):
    for each in (error, copy.copy(error), pickle.loads(pickle.dumps(error))):  # noqa: S301
        assert isinstance(each, ValueError)
        assert str(each) == str(error)


CLOSE = [
    (CloseCode.CREDITS_EXHAUSTED, False),
    (CloseCode.SESSION_TIMEOUT, True),
    (CloseCode.CONCURRENCY_LIMIT, False),
    (CloseCode.AUTH_FAILED, False),
    (CloseCode.UPSTREAM_UNAVAILABLE, True),
    (4000, False),
    (4499, False),
    (4500, True),
    (4599, True),
    (1000, True),
    (1006, True),
    (3999, True),
]


@pytest.mark.parametrize(("close_code", "retryable"), CLOSE)
def test_a_close_code_decides_whether_to_retry(close_code, retryable):
    for code in Code:  # whatever else is known
        error = AvatarSDKError(code, "", close_code=close_code, http_status=500)
        assert error.retryable is retryable


@pytest.mark.parametrize(
    ("http_status", "retryable"),
    [(400, False), (401, False), (402, False), (404, False), (429, True), (500, True), (503, True)],
)
def test_without_a_close_code_the_status_decides(http_status, retryable):
    for code in Code:
        assert AvatarSDKError(code, "", http_status=http_status).retryable is retryable


def test_without_either_the_code_decides():
    retryable = {code.value for code in Code if AvatarSDKError(code, "").retryable}
    assert retryable == {
        "connectionFailed",
        "connectionClosed",
        "sessionDurationExceeded",
        "idleTimeout",
        "upstreamError",
        "serverError",
        "protocolError",
    }


def test_a_configuration_error_names_every_problem():
    error = ConfigurationError("it cannot work", ["a is missing", "b is wrong"])
    assert str(error) == "it cannot work: a is missing; b is wrong"
    assert error.problems == ("a is missing", "b is wrong")
    assert isinstance(error, ValueError)


def test_a_request_timeout_repeats_the_callers_number():
    error = RequestTimeout("r-1", 2.5, 7)
    assert str(error) == "request r-1 gave no last frame within 2.50 s (7 frames so far)"
    assert isinstance(error, TimeoutError)
    assert str(RequestTimeout(None, 2.5, 0)) == "no request was sent within 2.50 s"


@pytest.mark.parametrize(
    "error",
    [
        AvatarSDKError(AvatarSDKErrorCode.upstreamError, "x", phase="p", close_code=4503),
        SessionTokenError("x", http_status=401),
        ConfigurationError("x", ["a", "b"]),
        RequestTimeout("r", 1.0, 2),
        PoolTimeout("x"),
    ],
)
def test_errors_can_be_copied_and_pickled(error):
    for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):  # noqa: S301
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert again.__dict__ == error.__dict__
