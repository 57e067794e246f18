"""``avatarpool doctor``: each step can fail, and says so."""

import asyncio
import json
import re
import socket

import pytest
from proxying import (
    CONSOLE,
    INGRESS,
    Authority,
    named,
    port_of,
    real_proxy,
    tls_in_front_of,
    with_password,
)

from avatarpool.cli.advice import advice
from avatarpool.exceptions import (
    AvatarSDKError,
    AvatarSDKErrorCode,
    RequestTimeout,
    SessionTokenError,
)
from avatarpool.service import LocalAvatarService


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


def test_as_json_every_step_is_there_with_its_time(command, running_service):
    result = command("doctor", "--json", env=running_service)
    assert (result.returncode, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert found["works"] is True
    steps = {step["step"]: step for step in found["steps"]}
    assert list(steps) == ["environment", "token", "connection", "handshake", "request"]
    for name, step in steps.items():
        assert (step["state"], step["what_to_do"]) == ("ok", None)
        assert (step["ms"] is None) is (name == "connection")  # it is in the handshake's
    assert steps["request"]["message"] == "75 frames"


def test_as_json_a_failure_says_what_to_do_and_what_was_not_reached(command, running_service):
    result = command("doctor", "--json", env={**running_service, "AVATAR_API_KEY": "hush-key"})
    assert (result.returncode, result.stderr) == (1, "")
    found = json.loads(result.stdout)
    assert found["works"] is False
    states = {step["step"]: step["state"] for step in found["steps"]}
    assert states == {
        "environment": "ok",
        "token": "failed",
        **dict.fromkeys(("connection", "handshake", "request"), "not_reached"),
    }
    token = found["steps"][1]
    assert token["ms"] > 0
    assert token["what_to_do"] == "Check AVATAR_API_KEY: the console does not accept it."
    assert "hush" not in result.stdout


def test_as_json_an_environment_that_cannot_work_exits_2_too(command):
    result = command("doctor", "--json", env={"AVATAR_APP_ID": "app"})
    assert (result.returncode, result.stderr) == (2, "")
    environment = json.loads(result.stdout)["steps"][0]
    assert (environment["step"], environment["state"]) == ("environment", "failed")
    assert "AVATAR_API_KEY" in environment["message"]
    assert environment["what_to_do"].startswith("Set or correct what is named")


# --- a company's network --------------------------------------------------------------


@pytest.fixture
async def company(tmp_path):
    """The variables of a service behind TLS and a proxy, of which one is left out at a time."""
    authority = Authority(tmp_path)
    tls = authority.serving(CONSOLE, INGRESS)
    async with LocalAvatarService() as service:
        async with tls_in_front_of(port_of(service.console_url), tls) as port:
            with real_proxy("http with a password", tmp_path) as proxy:
                urls = named(service, port)
                yield {
                    **service.environment,
                    "AVATAR_CONSOLE_ENDPOINT": urls["console_endpoint_url"],
                    "AVATAR_INGRESS_ENDPOINT": urls["ingress_endpoint_url"],
                    "HTTPS_PROXY": with_password(proxy),
                    "SSL_CERT_FILE": str(authority.file),
                    "NO_PROXY": "",
                }


def proxy_of(environment):
    return environment["HTTPS_PROXY"].replace("hush-me:hush-word@", "")


async def test_the_proxy_is_named_without_its_password(command, company):
    result = await asyncio.to_thread(command, "doctor", env=company)
    assert result.returncode == 0, result.stdout + result.stderr
    (line,) = re.findall(r"^proxy .*$", result.stdout, flags=re.MULTILINE)
    assert line.split() == ["proxy", "ok", proxy_of(company)]
    assert "hush" not in result.stdout + result.stderr


async def test_a_proxy_for_tokens_alone_is_named_as_that(command, company):
    company["NO_PROXY"] = INGRESS
    result = await asyncio.to_thread(command, "doctor", env=company)
    assert f"token: {proxy_of(company)}, connection: none" in result.stdout
    assert outcomes(result.stdout)["token"] == "ok"
    assert result.stderr.startswith("Check AVATAR_INGRESS_ENDPOINT and the way to it")


async def test_a_proxys_password_is_asked_for(command, company):
    company["HTTPS_PROXY"] = company["HTTPS_PROXY"].replace("hush-word", "hush-wrong")
    result = await asyncio.to_thread(command, "doctor", env=company)
    assert result.returncode == 1
    assert (
        f"the proxy {proxy_of(company).replace('hush-me:hush-wrong@', '')} refused" in result.stdout
    )
    assert result.stderr.startswith("Check the user name and password of the proxy")
    assert "hush" not in result.stdout + result.stderr


async def test_a_proxy_that_cannot_work_is_a_step_of_its_own(command, company):
    company["HTTPS_PROXY"] = "gopher://hush-me:hush-word@127.0.0.1:1"
    result = await asyncio.to_thread(command, "doctor", env=company)
    assert result.returncode == 2
    assert outcomes(result.stdout) == {"environment": "ok", "proxy": "FAILED"}
    assert "HTTPS_PROXY must begin with" in result.stdout
    assert "hush" not in result.stdout + result.stderr


async def test_an_authority_that_this_machine_does_not_know_is_asked_for(
    command, company, tmp_path
):
    (tmp_path / "others.pem").touch()
    company["SSL_CERT_FILE"] = str(tmp_path / "others.pem")
    result = await asyncio.to_thread(command, "doctor", env=company)
    assert outcomes(result.stdout)["token"] == "FAILED"
    assert result.stderr.startswith("Name the authority of AVATAR_CONSOLE_ENDPOINT")


async def test_a_file_of_authorities_that_is_not_there_is_named(command, company):
    company["SSL_CERT_FILE"] = "/nowhere"
    result = await asyncio.to_thread(command, "doctor", env=company)
    assert outcomes(result.stdout)["token"] == "FAILED"
    assert result.stderr == "Correct SSL_CERT_FILE: there is no /nowhere to be read.\n"


async def test_an_ingress_that_is_no_ingress_is_a_wrong_path(command, company):
    company["AVATAR_INGRESS_ENDPOINT"] += "/elsewhere"
    result = await asyncio.to_thread(command, "doctor", env=company)
    assert outcomes(result.stdout)["connection"] == "FAILED"
    assert result.stderr == "Check the path of AVATAR_INGRESS_ENDPOINT: nothing answers there.\n"


async def test_an_ingress_that_hangs_up_in_tls_fails_in_one_sentence(command, company):
    async def hang_up(reader, writer):
        await reader.read(4096)
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        company["AVATAR_INGRESS_ENDPOINT"] = f"wss://127.0.0.1:{port}"
        result = await asyncio.to_thread(command, "doctor", env=company)
    assert "the ingress could not be reached: the peer hung up" in result.stdout
    assert result.stderr.startswith("Check the scheme and port of AVATAR_INGRESS_ENDPOINT")
    assert result.stderr.count("\n") == 1


# --- advice ------------------------------------------------------------------------------


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
        (
            AvatarSDKError(AvatarSDKErrorCode.connectionFailed, "refused", proxy="http://p:1"),
            "Check the proxy http://p:1, which HTTPS_PROXY",
        ),
        (RequestTimeout("r1", 10.0, 0), "Try again with a longer --timeout"),
        (ValueError("odd"), "Try again, and report it"),
    ],
)
def test_advice_knows_errors_beyond_the_codes(error, expected):
    assert advice(error).startswith(expected)
