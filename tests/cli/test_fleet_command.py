"""``avatarpool fleet``: it shows an account's leases, and changes their number."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import time

import pytest
from redis_server import free_port, redis_server

from avatarpool.cli.exit_codes import MISUSED
from avatarpool.fleet.leases import Call
from avatarpool.fleet.valkey import Store

HANG = 40.0


@pytest.fixture(scope="module")
def redis():
    with redis_server() as server:
        yield server


@pytest.fixture
def rent(redis):
    """Lease so many as somebody, who needs so many."""

    def rent(name, holder, number, need):
        async def call():
            store = Store(redis.url, name, 60.0)
            ids = tuple(f"{holder}/{i}" for i in range(number))
            await store.call(holder, Call(used=number, need=need, rented=ids), 6)
            await store.disconnect()

        asyncio.run(call())

    return rent


def test_a_first_start_waits_for_nobody_and_shows_what_is_leased(command, redis, rent):
    result = command("fleet", "--redis", redis.url, "--name", "first", "--init", "--sessions", 6)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "first: 0 of 6 sessions leased\n"
    rent("first", "host-b:2:bb", 1, 1)
    for _ in range(5):  # a wish lasts for 3 s, in which a busy machine may not start a command
        rent("first", "host-a:1:aa", 5, 7)
        result = command("fleet", "--name", "first", env={"AVATAR_REDIS_URL": redis.url})
        if "waits" in result.stdout:
            break
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines == [
        ["first:", "6", "of", "6", "sessions", "leased"],
        ["holder", "leases", "sessions", "needs"],
        ["host-a:1:aa", "5", "5", "7", "waits"],
        ["host-b:2:bb", "1", "1", "1"],
    ]


def test_json_has_the_same(command, redis, rent):
    command("fleet", "--redis", redis.url, "--name", "json", "--init")
    rent("json", "a", 2, 2)
    result = command("fleet", "--redis", redis.url, "--name", "json", "--json")
    said = json.loads(result.stdout)
    assert 0 < said["holders"][0].pop("expires_in") <= 60
    assert said == {
        "sessions": 6,
        "leases": 2,
        "ceiling": None,
        "closed_for": 0.0,
        "holders": [{"name": "a", "leases": 2, "used": 2, "needs": 2, "waits": False}],
    }


def test_sessions_changes_their_number_for_all(command, redis, rent):
    rent("more", "a", 0, 0)  # it is the first
    result = command("fleet", "--redis", redis.url, "--name", "more", "--sessions", 12)
    assert "more: 0 of 12 sessions leased; no new leases for" in result.stdout


def test_an_account_that_nobody_has_used_is_told(command, redis):
    result = command("fleet", "--redis", redis.url, "--name", "nobody")
    assert result.stdout == "nobody: nobody has said yet how many sessions the account allows\n"


def test_what_cannot_work_is_told_in_a_sentence(command, redis):
    result = command("fleet", "--redis", "ftp://u:secret@host", "--name", "x")
    assert result.returncode == MISUSED
    assert result.stderr == (
        "avatarpool: redis cannot be used: its URL begins with none of redis://, rediss:// and "
        "unix://\n"
    )
    port = free_port()
    result = command("fleet", "--redis", f"redis://:secret@127.0.0.1:{port}/1", "--name", "x")
    assert result.returncode == 1
    assert result.stderr == (
        f"avatarpool: redis at 127.0.0.1:{port}/1: it cannot be reached: connection refused\n"
    )
    assert command("fleet", "--redis", redis.url).returncode == MISUSED
    assert command("fleet", "--name", "x", "--sessions", 0).returncode == MISUSED


def test_on_a_terminal_it_is_live_until_ctrl_c(command, redis, rent):
    ours, theirs = pty.openpty()
    process = command.start(
        *("fleet", "--redis", redis.url, "--name", "live"),
        env={"TERM": "xterm", "COLUMNS": "100"},
        stdout=theirs,
    )
    os.close(theirs)
    shown = b""

    def until(text):
        nonlocal shown
        end = time.monotonic() + HANG
        while text not in shown:
            assert time.monotonic() < end, shown
            shown += os.read(ours, 65536)

    until(b"nobody has said yet")
    rent("live", "host-c:3:cc", 0, 1)
    until(b"host-c:3:cc")
    redis.kill()
    until(b"it cannot be reached")
    redis.start()
    rent("live", "host-d:4:dd", 0, 1)
    until(b"host-d:4:dd")
    process.send_signal(signal.SIGINT)
    try:
        while os.read(ours, 65536):
            pass
    except OSError:  # its end is closed
        pass
    os.close(ours)
    assert process.wait(HANG) == 0
