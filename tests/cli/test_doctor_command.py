"""``avatarpool doctor``: each step can fail, and says so."""

import re
import socket

import pytest

from avatarpool.cli.advice import advice
from avatarpool.exceptions import (
    AvatarSDKError,
    AvatarSDKErrorCode,
    RequestTimeout,
    SessionTokenError,
)


def outcomes(stdout):
    """Return ``{step: "ok" or "FAILED"}`` in the order in which they were printed."""
    return dict(re.findall(r"^(\w+) +(ok|FAILED)\b", stdout, flags=re.MULTILINE))


@pytest.fixture
def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_with_nothing_set_it_examines_a_local_service_and_says_so(command, says_local):
    result = command("doctor")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == says_local
    steps = ("environment", "token", "connection", "handshake", "request")
    assert outcomes(result.stdout) == dict.fromkeys(steps, "ok")
    assert re.search(r"^token +ok +\d+\.\d ms", result.stdout, flags=re.MULTILINE)
    assert re.search(r"^request +ok +\d+\.\d ms  \d+ frames", result.stdout, flags=re.MULTILINE)
    assert result.stdout.endswith("Everything works.\n")


def test_an_incomplete_environment_is_the_first_step_to_fail(command):
    result = command("doctor", env={"AVATAR_APP_ID": "app"})
    assert result.returncode == 2
    assert outcomes(result.stdout) == {"environment": "FAILED"}
    assert "AVATAR_API_KEY" in result.stdout
    assert result.stderr == (
        "Set or correct what is named above, or unset all AVATAR_* variables.\n"
    )


@pytest.mark.parametrize(
    "variables",
    [
        {"AVATAR_USE_QUERY_AUTH": "maybe"},
        {"AVATAR_CONSOLE_ENDPOINT": "nope"},
    ],
)
def test_an_environment_that_cannot_work_names_the_variable_and_exits_2(
    command, running_service, variables
):
    result = command("doctor", env={**running_service, **variables})
    assert result.returncode == 2
    assert outcomes(result.stdout) == {"environment": "FAILED"}
    assert all(name in result.stdout for name in variables)


def test_a_wrong_key_fails_the_token(command, running_service):
    result = command("doctor", env={**running_service, "AVATAR_API_KEY": "wrong-key"})
    assert result.returncode == 1
    assert outcomes(result.stdout) == {"environment": "ok", "token": "FAILED"}
    assert result.stderr == "Check AVATAR_API_KEY: the console does not accept it.\n"
    assert "wrong-key" not in result.stdout + result.stderr


def test_a_console_that_is_not_there_fails_the_token(command, running_service, closed_port):
    endpoint = f"http://127.0.0.1:{closed_port}"
    result = command("doctor", env={**running_service, "AVATAR_CONSOLE_ENDPOINT": endpoint})
    assert outcomes(result.stdout) == {"environment": "ok", "token": "FAILED"}
    assert result.stderr.startswith("Check AVATAR_CONSOLE_ENDPOINT and the way to it")


def test_a_console_that_does_not_answer_fails_the_token_in_time(command, running_service):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment = {**running_service, "AVATAR_CONSOLE_ENDPOINT": endpoint}
        result = command("doctor", "--timeout", 0.05, env=environment)
    assert result.returncode == 1
    assert "the console gave no token within 0.05 s" in result.stdout


def test_an_ingress_that_is_not_there_fails_the_connection(command, running_service, closed_port):
    endpoint = f"ws://127.0.0.1:{closed_port}"
    result = command("doctor", env={**running_service, "AVATAR_INGRESS_ENDPOINT": endpoint})
    assert result.returncode == 1
    assert outcomes(result.stdout) == {"environment": "ok", "token": "ok", "connection": "FAILED"}
    assert result.stderr.startswith("Check AVATAR_INGRESS_ENDPOINT and the way to it")


def test_an_unknown_avatar_fails_the_connection_and_names_its_variable(command, running_service):
    result = command("doctor", env={**running_service, "AVATAR_SESSION_AVATAR_ID": "nobody"})
    assert outcomes(result.stdout)["connection"] == "FAILED"
    assert result.stderr.startswith("Check AVATAR_SESSION_AVATAR_ID")


def test_a_refusal_after_the_upgrade_fails_the_handshake(command):
    _, environment = command.start_service("--max-connections", 1)
    holder = command.start("run", "--pool-size", 1, "--requests", 1, env=environment)
    for line in holder.stdout:
        if line.startswith("  Waiting"):
            break
    result = command("doctor", env=environment)
    assert result.returncode == 1
    assert outcomes(result.stdout) == {
        "environment": "ok",
        "token": "ok",
        "connection": "ok",
        "handshake": "FAILED",
    }
    assert result.stderr.startswith("Close other sessions")


def test_credits_that_run_out_fail_the_request(command):
    _, environment = command.start_service("--credits", 0.5)
    result = command("doctor", env=environment)
    assert result.returncode == 1
    assert outcomes(result.stdout)["handshake"] == "ok"
    assert outcomes(result.stdout)["request"] == "FAILED"
    assert result.stderr == "Top up the account's credits.\n"


@pytest.mark.parametrize("code", list(AvatarSDKErrorCode))
@pytest.mark.parametrize("phase", ["session_token", "websocket_connect", "websocket_runtime"])
def test_every_error_code_has_one_sentence_of_advice(code, phase):
    sentence = advice(AvatarSDKError(code, "refused", phase=phase))
    assert sentence.endswith(".")
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            SessionTokenError("refused", http_status=404),
            "Check the path of AVATAR_CONSOLE_ENDPOINT",
        ),
        (RequestTimeout("r1", 10.0, 0), "Try again with a longer --timeout"),
        (ValueError("odd"), "Try again, and report it"),
    ],
)
def test_advice_knows_errors_beyond_the_codes(error, expected):
    assert advice(error).startswith(expected)
