"""A service that gives no session: one line says so, and then the outcome."""

import asyncio
import re
import signal
import socket

import pytest

from avatarpool import AvatarConnectionPool, PoolError
from avatarpool.cli import opening

NOTICE = re.compile(
    r"0 of \d sessions are open \((.+)\): trying until \d\d:\d\d:\d\d, \d\d? s from now\. "
    r"`avatarpool doctor` says what is wrong\.\n"
)


@pytest.fixture
def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def silent_port():
    """A port that takes connections and answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def account(host, port):
    return {
        "AVATAR_API_KEY": "hush-key",
        "AVATAR_APP_ID": "app",
        "AVATAR_CONSOLE_ENDPOINT": f"http://{host}:{port}",
        "AVATAR_INGRESS_ENDPOINT": f"ws://{host}:{port}",
        "AVATAR_SESSION_AVATAR_ID": "avatar",
    }


def why_it_waits(process, number=signal.SIGINT):
    """Read the notice, interrupt the command, and return the reason and its exit code."""
    notice = NOTICE.fullmatch(process.stderr.readline())
    process.send_signal(number)
    _, stderr = process.communicate(timeout=30)
    assert notice
    assert "hush" not in notice[0]
    assert "sessions are open" not in stderr
    assert "Traceback" not in stderr
    return notice[1], process.returncode


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("run",), 130),
        (("view", "--port", 0), 0),
        (("animate", "{clip}", "-o", "{clip}.pb"), 130),
    ],
)
def test_a_port_where_nobody_listens_is_said_to_be_tried_again(
    command, closed_port, tmp_path, arguments, code
):
    clip = tmp_path / "tone.pcm"
    clip.write_bytes(bytes(3200))
    arguments = [str(argument).format(clip=clip) for argument in arguments]
    process = command.start(*arguments, env=account("127.0.0.1", closed_port))
    why, exit_code = why_it_waits(process)
    assert why.startswith("connectionFailed: ")
    assert exit_code == code


def test_a_host_without_an_address_is_said_to_be_tried_again(command):
    why, _ = why_it_waits(command.start("run", env=account("nowhere.invalid", 80)))
    assert why.startswith(("connectionFailed: ", "no answer yet"))  # resolvers may be slow


def test_a_service_that_answers_nothing_is_said_to_be_waited_for(command, silent_port):
    why, _ = why_it_waits(command.start("run", env=account("127.0.0.1", silent_port)))
    assert why == "no answer yet"


async def test_it_is_said_once_however_often_it_is_tried(monkeypatch, capfd, service, closed_port):
    monkeypatch.setattr(opening, "_TIMEOUT", 1.5)
    monkeypatch.setattr(opening, "_NOTICE_AFTER", 0.1)
    elsewhere = service.config_factory(console_endpoint_url=f"http://127.0.0.1:{closed_port}")
    pool = AvatarConnectionPool(2, lambda: elsewhere)
    with pytest.raises(PoolError):
        await opening.open_pool(pool)
    assert pool.get_stats()["connections_num"] > 2  # it was tried again
    assert NOTICE.fullmatch(capfd.readouterr().err)  # and nothing else


async def test_nothing_is_said_once_the_pool_is_open(monkeypatch, capfd, service):
    monkeypatch.setattr(opening, "_NOTICE_AFTER", 0.01)
    pool = AvatarConnectionPool(min_size=0, max_size=1, config_factory=service.config_factory)
    async with opening.opened(pool):  # open at once: it wants no session
        await asyncio.sleep(0.1)
    assert capfd.readouterr().err == ""
