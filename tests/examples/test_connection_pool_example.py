"""The example of the specification, on the local service."""

import os
import re
import subprocess
import sys

import pytest

from avatarpool.service import LocalAvatarService


@pytest.fixture
def example(load_example):
    return load_example("connection_pool")


def test_the_constants_are_the_specifications(example):
    assert (example.POOL_SIZE, example.CONCURRENT_REQUESTS, example.NUM_ROUNDS) == (3, 5, 10)
    assert (example.ROUND_INTERVAL, example.SESSION_TTL, example.REQUEST_TIMEOUT) == (30.0, 10, 45)


async def test_fifty_of_fifty_succeed_and_use_is_spread_evenly(example, monkeypatch, capsys):
    monkeypatch.setattr(example, "ROUND_INTERVAL", 0.0)
    assert await example.main() == 0
    output = capsys.readouterr()
    assert output.err == "No AVATAR_* account is set: using a local avatar service.\n"
    assert output.out.count("  Completed: 5 OK, 0 FAILED in ") == 10
    assert "  Total requests: 50\n  Successful: 50 (100.0%)\n  Failed: 0 (0.0%)\n" in output.out
    uses = re.findall(r"^  \S+\.\.\.: (\d+) requests \((.*)%\)$", output.out, flags=re.MULTILINE)
    assert uses == [("17", "34.0"), ("17", "34.0"), ("16", "32.0")]
    assert output.out.endswith("\nClosing connection pool...\nConnection pool closed\n")


async def test_it_uses_the_service_that_the_environment_names(example, monkeypatch, capsys):
    monkeypatch.setattr(example, "ROUND_INTERVAL", 0.0)
    monkeypatch.setattr(example, "NUM_ROUNDS", 1)
    async with LocalAvatarService() as service:
        for name, value in service.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AVATAR_USE_QUERY_AUTH", "true")
        assert await example.main() == 0
    output = capsys.readouterr()
    assert output.err == ""
    assert "  Successful: 5 (100.0%)\n" in output.out


async def test_a_service_that_refuses_is_told_in_a_sentence(example, monkeypatch, capsys):
    async with LocalAvatarService() as service:
        for name, value in service.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AVATAR_API_KEY", "wrong-key")
        assert await example.main() == 1
    output = capsys.readouterr()
    assert output.err.startswith("The pool could not be opened: ")
    assert output.out.endswith("Connection pool closed\n")


@pytest.mark.parametrize(
    ("name", "value"), [("AVATAR_CONSOLE_ENDPOINT", "nope"), ("AVATAR_USE_QUERY_AUTH", "maybe")]
)
async def test_a_value_that_cannot_work_is_told_in_a_sentence(
    example, monkeypatch, capsys, name, value
):
    async with LocalAvatarService() as service:
        for variable in service.environment.items():
            monkeypatch.setenv(*variable)
        monkeypatch.setenv(name, value)
        assert await example.main() == 2
    assert capsys.readouterr().err.startswith("The pool could not be opened: ")


def test_as_a_script_it_names_the_missing_variables_and_exits_2(example):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("AVATAR_")}
    result = subprocess.run(  # noqa: S603 - our own example
        [sys.executable, "-W", "error", example.__file__],
        env={**inherited, "AVATAR_API_KEY": "key", "AVATAR_APP_ID": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == (
        "These environment variables are missing: AVATAR_APP_ID, AVATAR_CONSOLE_ENDPOINT, "
        "AVATAR_INGRESS_ENDPOINT, AVATAR_SESSION_AVATAR_ID\n"
    )
