"""``avatarpool view``, in a process of its own."""

import json
import signal
import socket
import time
from importlib.resources import files
from urllib.request import Request, urlopen

import pytest

WAV = files("avatarpool").joinpath("assets", "speech.wav").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_the_address_and_ends_well_on_a_signal(command, says_local, number):
    process = command.start("view", "--port", 0)
    address = process.stdout.readline().strip()
    with urlopen(address) as answer:  # noqa: S310 - loopback
        assert b"<avatar-face" in answer.read()
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stdout) == (0, "")
    assert stderr == (
        f"{says_local}Open this address in a browser. Ctrl-C stops the page.\nPage closed.\n"
    )


def test_it_opens_a_browser_if_asked_to(command, tmp_path):
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    browser.chmod(0o755)
    process = command.start("view", "--port", 0, "--open", env={"BROWSER": f"{browser} %s"})
    address = process.stdout.readline()
    for line in process.stderr:
        if line.startswith("Open this address"):
            break
    deadline = time.monotonic() + 20
    while not (opened.exists() and opened.read_text()) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 0
    assert opened.read_text() == address


def test_it_ends_at_once_with_a_clip_under_way(command):
    _, environment = command.start_service()
    process = command.start("view", "--port", 0, env=environment)
    address = process.stdout.readline().strip()
    request = Request(f"{address}animate", data=WAV * 200)  # noqa: S310 - loopback
    with urlopen(request) as answer:  # noqa: S310
        assert "request_id" in json.loads(answer.readline())
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in stderr


def test_it_uses_the_service_that_the_environment_names(command, running_service):
    process = command.start("view", "--port", 0, env=running_service)
    address = process.stdout.readline().strip()
    with urlopen(Request(f"{address}animate", data=WAV)) as answer:  # noqa: S310 - loopback
        assert len(answer.readlines()) == 76
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert "local avatar service" not in stderr


def test_a_service_that_refuses_is_a_sentence_and_exit_1(command, running_service):
    result = command("view", "--port", 0, env={**running_service, "AVATAR_API_KEY": "wrong"})
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1].startswith("avatarpool: ")
    assert "Traceback" not in result.stderr


def test_a_port_that_is_taken_is_one_sentence_and_exit_1(command):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = command("view", "--port", port)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"Port {port} of 127.0.0.1 is taken: choose another with --port; "
        "--port 0 takes any free one.\n"
    )
