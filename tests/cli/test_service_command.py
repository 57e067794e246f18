"""``avatarpool service``, in a process of its own."""

import signal
import socket
import subprocess
import sys
from urllib.parse import urljoin
from urllib.request import Request, urlopen

import pytest

from avatarpool.cli.service import is_loopback


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_the_lines_to_paste_and_ends_well_on_a_signal(command, number):
    process, environment = command.start_service()
    assert list(environment) == [
        "AVATAR_API_KEY",
        "AVATAR_APP_ID",
        "AVATAR_CONSOLE_ENDPOINT",
        "AVATAR_INGRESS_ENDPOINT",
        "AVATAR_SESSION_AVATAR_ID",
    ]
    assert all(environment.values())
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == 0
    assert stdout == ""
    assert stderr.splitlines() == [
        "Paste these lines into another shell. Ctrl-C stops the service.",
        "Service stopped.",
    ]


def test_it_closes_with_sessions_open(command):
    service, environment = command.start_service()
    run = command.start("run", "--requests", 1, "--interval", 60, env=environment)
    for line in run.stdout:
        if line.startswith("  Waiting"):
            break
    service.send_signal(signal.SIGINT)
    _, stderr = service.communicate(timeout=20)
    assert service.returncode == 0
    assert "Traceback" not in stderr


def test_a_limit_given_as_an_option_holds(command):
    _, environment = command.start_service("--max-connections", 1)
    result = command("run", "--rounds", 1, "--requests", 2, env=environment)
    assert "Pool initialized with 1/3 connections\n" in result.stdout
    assert "  Connection 1: FAILED (concurrencyLimit: " in result.stdout
    assert "  Successful: 2 (100.0%)\n" in result.stdout
    assert result.returncode == 0


def test_faults_can_be_set_over_http_where_it_is_told_to_take_them(command):
    _, environment = command.start_service("--admin")
    url = urljoin(environment["AVATAR_CONSOLE_ENDPOINT"], "/admin/faults")
    headers = {"X-Api-Key": environment["AVATAR_API_KEY"]}
    request = Request(url, b'{"tokens": {"status": 500}}', headers, method="PUT")  # noqa: S310
    with urlopen(request) as response:  # noqa: S310
        assert response.status == 200
    result = command("doctor", env=environment)
    assert "500" in result.stdout + result.stderr
    assert result.returncode == 1


def test_a_port_that_is_taken_is_one_sentence_and_exit_1(command):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = command("service", "--port", port)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == (
        f"Port {port} of 127.0.0.1 is taken: choose another with --port; "
        "--port 0 takes any free one.\n"
    )


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid", "a..b", "a" * 70])
def test_a_host_that_is_not_this_machine_is_one_sentence_and_exit_1(command, host):
    result = command("service", "--port", 0, "--host", host)
    assert result.returncode == 1
    warning, sentence = result.stderr.splitlines()
    assert warning.startswith(f"Warning: {host} is no loopback address")
    assert sentence == (
        f"{host} is no address of this machine: give --host one that is, "
        "or leave it out for 127.0.0.1."
    )


def test_a_port_that_wants_privileges_is_one_sentence():
    code = """if True:
        import os, socket
        from avatarpool.cli.service import why_not_listening
        if os.geteuid() == 0:
            os.setuid(65534)
        try:
            socket.create_server(("127.0.0.1", 1))
        except OSError as error:
            print(why_not_listening(error, "127.0.0.1", 1))
    """
    result = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    if not result.stdout:
        pytest.skip("every user may listen on port 1 here")
    assert result.stdout == (
        "Port 1 of 127.0.0.1 is not for this user: choose one from 1024 on with --port; "
        "--port 0 takes any free one.\n"
    )


def test_an_empty_host_is_refused(command):
    result = command("service", "--host", "")
    assert result.returncode == 2
    assert "'--host': it is empty" in result.stderr


def test_the_key_is_the_environments_if_it_has_one(command):
    _, environment = command.start_service(env={"AVATAR_API_KEY": "a-key-that-stays"})
    assert environment["AVATAR_API_KEY"] == "a-key-that-stays"
    assert command("doctor", env=environment).returncode == 0


def test_an_output_that_takes_no_lines_is_one_sentence_and_exit_1(command):
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        process = command.start("service", "--port", 0, stdout=full)
        _, stderr = process.communicate(timeout=20)
    assert process.returncode == 1
    assert stderr == "The lines to paste cannot be written: No space left on device.\n"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104
        ("", False),
        ("example.com", False),
    ],
)
def test_only_loopback_addresses_need_no_warning(host, expected):
    assert is_loopback(host) is expected


@pytest.mark.parametrize("driver", ["model", "dsp"])
def test_a_driver_is_chosen_by_name(command, driver):
    _, environment = command.start_service("--driver", driver)
    assert command("doctor", env=environment).returncode == 0


def test_a_timeline_of_visemes_moves_the_lips(command, tmp_path):
    timeline = tmp_path / "speech.json"
    timeline.write_text('[[0, "sil"], [80, "PP"], [160, "aa", 0.8]]')
    _, environment = command.start_service("--driver", "visemes", "--timeline", timeline)
    assert command("doctor", env=environment).returncode == 0


@pytest.mark.parametrize(
    ("options", "content", "sentence"),
    [
        (["--driver", "visemes"], None, "give --driver visemes --timeline FILE"),
        (["--timeline", "{file}"], "[]", "give --driver visemes --timeline FILE"),
        (["--driver", "visemes", "--timeline", "{file}"], '[[0, "QQ"]]', "viseme 1: 'QQ' is none"),
        (["--driver", "visemes", "--timeline", "{file}"], "no json", "is no timeline: Expecting"),
        (["--driver", "visemes", "--timeline", "{file}"], "\xff", "is no timeline: 'utf-8'"),
    ],
)
def test_a_timeline_that_cannot_be_used_is_one_sentence(
    command, tmp_path, options, content, sentence
):
    file = tmp_path / "speech.json"
    file.write_text(content or "", encoding="latin-1")
    result = command("service", *(option.format(file=file) for option in options))
    assert result.returncode == 2
    assert result.stdout == ""
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("key", ["k\udcff0123456789", "k0123456789\nexport X=1"])
def test_a_key_that_no_client_could_send_is_refused_in_a_sentence(key, command):
    result = command("service", "--port", "0", env={"AVATAR_API_KEY": key})
    assert result.returncode == 2
    assert "AVATAR_API_KEY has characters that no key has" in result.stderr
    assert "0123" not in result.stderr
