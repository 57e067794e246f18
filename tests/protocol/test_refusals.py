from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avatarpool.exceptions import AvatarSDKErrorCode as Code
from avatarpool.exceptions import CloseCode, SessionTokenError
from avatarpool.protocol.messages import ServerError
from avatarpool.protocol.refusals import (
    RefusalBody,
    connection_closed,
    read_refusal,
    server_error,
    token_refused,
    upgrade_refused,
)

# --- the body of an HTTP refusal -----------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            '{"errors":[{"status":401,"code":"badKey","title":"Bad key","detail":"no such key"}]}',
            RefusalBody("badKey", "Bad key", "no such key"),
        ),
        ('{"errors":[{"code":17}]}', RefusalBody(code="17")),
        ('{"errors":[],"message":"later"}', RefusalBody(detail="later")),
        ('{"message":"Invalid session token"}\n', RefusalBody(detail="Invalid session token")),
        ("  Bad gateway \n", RefusalBody(detail="Bad gateway")),
        ('["a list"]', RefusalBody(detail='["a list"]')),
        ("[" * 100_000, RefusalBody(detail="[" * 500)),  # deeper than the parser goes
        ("", RefusalBody()),
        ("{}", RefusalBody()),
        ('{"message":"' + "x" * 9000 + '"}', RefusalBody(detail="x" * 500)),
    ],
)
def test_a_refusal_is_read_in_all_its_forms(body: str, said: RefusalBody):
    assert read_refusal(body) == said


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["errors", "message", "code", "detail"]), inner)
    ),
    max_leaves=10,
)


@given(st.one_of(st.text(), json_values.map(json.dumps)))
def test_any_body_makes_an_error_and_not_a_crash(body: str):
    assert token_refused(500, body).raw_body == body
    assert upgrade_refused(500, body).http_status == 500


# --- the console -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, Code.invalidRequest),
        (401, Code.sessionTokenExpired),  # as the SDKs call a bad key
        (402, Code.billingRequired),
        (403, Code.invalidRequest),
        (418, Code.invalidRequest),
        (429, Code.concurrencyLimit),
        (500, Code.serverError),
        (503, Code.serverError),
        (302, Code.protocolError),
        (204, Code.protocolError),
    ],
)
def test_a_console_that_says_no_more_is_judged_by_its_status(status: int, code: Code):
    error = token_refused(status, "")
    assert isinstance(error, SessionTokenError)
    assert error.code is code
    assert str(error) == f"{code.value}: the console refused a session token with HTTP {status}"


def test_a_token_refusal_carries_all_that_the_console_said():
    body = '{"errors":[{"status":401,"code":"badKey","title":"Bad key","detail":"no such key"}]}'
    error = token_refused(401, body)
    assert error.phase == "session_token"
    assert error.http_status == 401
    assert error.server_code == "badKey"
    assert error.server_title == "Bad key"
    assert error.server_detail == "no such key"
    assert error.raw_body == body
    assert error.message == (
        "the console refused a session token with HTTP 401: Bad key - no such key"
    )


def test_the_consoles_own_code_counts_as_a_sentence():
    body = '{"errors":[{"status":400,"code":"appIDUnrecognized"}]}'
    assert token_refused(400, body).code is Code.appIDUnrecognized


# --- the upgrade -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "sentence", "code"),
    [
        (400, "Invalid session token", Code.sessionTokenInvalid),
        (401, "the session token is expired", Code.sessionTokenExpired),
        (400, "app id mismatch", Code.appIDMismatch),
        (404, "Avatar not found: a-1", Code.avatarNotFound),
        (404, "app id unrecognized", Code.appIDUnrecognized),
        (404, "no such app", Code.appIDUnrecognized),
        (402, "session denied: no credits left", Code.billingRequired),
        (402, "pay", Code.billingRequired),
        # A billing sentence may come with any status.
        (403, "session denied: no credits left", Code.billingRequired),
        (400, "empty token", Code.sessionTokenInvalid),
        (400, "", Code.sessionTokenInvalid),
        (401, "", Code.sessionTokenExpired),
        (429, "slow down", Code.concurrencyLimit),
        (403, "", Code.invalidRequest),
        (502, "Bad gateway", Code.serverError),
        (200, "hello", Code.protocolError),
    ],
)
def test_an_upgrade_refused_is_classified(status: int, sentence: str, code: Code):
    body = json.dumps({"message": sentence}, separators=(",", ":")) + "\n"
    error = upgrade_refused(status, body)
    assert error.code is code
    assert error.phase == "websocket_connect"
    assert error.http_status == status
    assert error.server_detail == (sentence or None)
    assert error.raw_body == body


# --- ServerError ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "sentence", "code"),
    [
        # The close-code contract, whatever is said beside it.
        (4001, "credits exhausted", Code.creditsExhausted),
        (4002, "maximum session duration of 60 s reached", Code.sessionDurationExceeded),
        (4003, "too many concurrent connections", Code.concurrencyLimit),
        (4010, "app id mismatch", Code.sessionTokenInvalid),
        (4503, "", Code.upstreamError),
        # gRPC's codes.
        (3, "unsupported sample rate 11025", Code.unsupportedSampleRate),
        (3, "unexpected message type: Interrupt", Code.protocolError),
        (3, "no audio input for 30 s", Code.idleTimeout),
        (3, "livekit silence timeout", Code.idleTimeout),
        (3, "invalid egress configuration: no room", Code.invalidEgressConfig),
        (3, "livekit_egress.room_name is empty", Code.invalidEgressConfig),
        (3, "agora: no channel", Code.invalidEgressConfig),
        (3, "", Code.invalidRequest),
        (13, "driven server returned non-200 status code", Code.upstreamError),
        (13, "livekit went away", Code.egressUnavailable),
        (13, "", Code.upstreamError),
        (14, "egress client is not configured on server", Code.egressUnavailable),
        (14, "failed to create egress connection", Code.egressUnavailable),
        (14, "egress worker lost", Code.egressUnavailable),
        (14, "driven server request failed", Code.upstreamError),
        (14, "", Code.egressUnavailable),
        (16, "unauthorized", Code.invalidEgressConfig),
        (16, "the room's token is expired", Code.invalidEgressConfig),
        (2, "something broke", Code.serverError),
        (4999, "something broke", Code.serverError),
    ],
)
def test_a_server_error_is_classified(number: int, sentence: str, code: Code):
    error = server_error(ServerError(number, sentence, "c-1", "r-1"), phase="websocket_runtime")
    assert error.code is code
    assert error.server_code == str(number)
    assert error.server_detail == (sentence or None)
    assert (error.connection_id, error.req_id) == ("c-1", "r-1")
    assert error.phase == "websocket_runtime"


@pytest.mark.parametrize(
    ("sentence", "code"),
    [
        ("Credits exhausted", Code.creditsExhausted),
        ("session time limit reached", Code.sessionDurationExceeded),
        ("maximum session duration of 60 s reached", Code.sessionDurationExceeded),
        ("too many concurrent connections", Code.concurrencyLimit),
        ("session denied: top up", Code.billingRequired),
        ("app id mismatch", Code.appIDMismatch),
        ("Invalid session token", Code.sessionTokenInvalid),
        ("empty token", Code.sessionTokenInvalid),
        ("the token is expired", Code.sessionTokenExpired),
        ("session token expired", Code.sessionTokenExpired),
        ("app id unrecognized", Code.appIDUnrecognized),
        ("appIDUnrecognized", Code.appIDUnrecognized),
        ("Avatar not found: a-1", Code.avatarNotFound),
        ("unsupported sample rate 11025", Code.unsupportedSampleRate),
        ("no audio input for 30 s", Code.idleTimeout),
        ("livekit silence timeout", Code.idleTimeout),
        ("egress client is not configured on server", Code.egressUnavailable),
        ("failed to create egress connection", Code.egressUnavailable),
        ("invalid egress configuration: no room", Code.invalidEgressConfig),
        ("unexpected message type: Interrupt", Code.protocolError),
        ("expected ClientConfigureSession message within 10 s", Code.protocolError),
        ("failed to unmarshal initial message: no end", Code.protocolError),
        ("driven server request failed", Code.upstreamError),
    ],
)
def test_a_sentence_is_enough_where_nothing_else_tells(sentence: str, code: Code):
    assert server_error(ServerError(0, sentence), phase="websocket_runtime").code is code
    assert connection_closed(1008, sentence, phase="websocket_runtime").code is code
    assert upgrade_refused(418, json.dumps({"message": sentence})).code is code
    assert token_refused(418, sentence).code is code


@pytest.mark.parametrize("number", [0, 3])
@pytest.mark.parametrize(
    ("sentence", "code"),
    [
        ("unsupported sample rate 12345", Code.unsupportedSampleRate),
        ("no audio input for 30 s", Code.idleTimeout),
        ("unexpected message type: Interrupt", Code.protocolError),
        ("missing LiveKit credentials: provide api_token", Code.invalidEgressConfig),
        ("agora_egress.channel_name is missing", Code.invalidEgressConfig),
    ],
)
def test_a_sentence_means_the_same_with_either_code_that_services_send(number, sentence, code):
    assert server_error(ServerError(number, sentence), phase="websocket_handshake").code is code


def test_unauthorized_is_about_a_room_in_a_session_and_about_the_key_at_the_console():
    said = server_error(ServerError(0, "Unauthorized: no such grant"), phase="websocket_handshake")
    assert said.code is Code.invalidEgressConfig
    assert token_refused(401, '{"message":"Unauthorized"}').code is Code.sessionTokenExpired


def test_a_server_error_of_the_whole_session_names_no_request():
    error = server_error(ServerError(13, ""), phase="websocket_handshake")
    assert error.connection_id is None
    assert error.req_id is None
    assert error.message == "the service reported error 13"


@pytest.mark.parametrize(
    ("number", "close_code", "retryable"),
    [
        (4001, 4001, False),
        (4002, 4002, True),
        (4003, 4003, False),
        (4010, 4010, False),
        (4503, 4503, True),
        (3, None, False),  # invalidRequest
        (13, None, True),  # upstreamError
        (14, None, False),  # egressUnavailable
        (16, None, False),  # invalidEgressConfig
        (5000, None, True),  # serverError
    ],
)
def test_only_codes_of_the_contract_count_as_close_codes(
    number: int, close_code: int | None, retryable
):
    error = server_error(ServerError(number, ""), phase="websocket_runtime")
    assert error.close_code == close_code
    assert error.retryable is retryable


# --- the end of the connection ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("close_code", "reason", "code", "retryable"),
    [
        (4001, "", Code.creditsExhausted, False),
        (4002, "", Code.sessionDurationExceeded, True),
        (4003, "", Code.concurrencyLimit, False),
        (4010, "", Code.sessionTokenInvalid, False),
        (4503, "", Code.upstreamError, True),
        (4099, "", Code.connectionClosed, False),
        (4599, "", Code.connectionClosed, True),
        (1000, "no audio input for 30 s", Code.idleTimeout, True),
        (1008, "invalid egress configuration: no room", Code.invalidEgressConfig, True),
        (1008, "session denied", Code.billingRequired, True),
        (1001, "the service is closing", Code.connectionClosed, True),
        (1006, "", Code.connectionClosed, True),
        (None, None, Code.connectionClosed, True),
    ],
)
def test_the_end_of_a_connection_is_classified(
    close_code: int | None, reason: str | None, code: Code, retryable
):
    error = connection_closed(close_code, reason, phase="websocket_runtime", connection_id="c-1")
    assert error.code is code
    assert error.retryable is retryable
    assert error.close_code == close_code
    assert error.close_reason == (reason or None)
    assert error.connection_id == "c-1"


def test_the_end_of_a_connection_says_how_it_came():
    def say(code: int | None, reason: str | None) -> str:
        return connection_closed(code, reason, phase="websocket_runtime").message

    assert say(None, None) == "the connection was closed without a close frame"
    assert say(1001, "") == "the connection was closed with code 1001"
    assert say(4001, "no more") == "the connection was closed with code 4001: no more"


def test_every_close_code_of_the_contract_has_a_meaning():
    for close_code in CloseCode:
        error = connection_closed(close_code, None, phase="websocket_runtime")
        assert error.code is not Code.connectionClosed


def test_what_the_service_says_is_one_line_and_not_a_long_one():
    said = "no\n\x1b[2J" + "x" * 10_000
    error = server_error(ServerError(13, said, said, said), phase="websocket_runtime")
    for text in (
        str(error),
        error.server_detail,
        error.connection_id,
        error.req_id,
        str(connection_closed(1011, said, phase="websocket_runtime")),
        str(upgrade_refused(500, said)),
        str(token_refused(500, json.dumps({"message": said}))),
    ):
        assert text is not None
        assert "no  [2Jxxx" in text
        assert len(text) < 700
