"""``avatarpool soak``, in a process of its own."""

import json
import os
import pty
import re
import signal

import pytest

from avatarpool.soak.plan import FaultMix


def test_a_short_soak_with_every_fault_finds_nothing(command, tmp_path):
    file = tmp_path / "report.json"
    result = command("soak", "--minutes", 0.15, "--json", file)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    assert "SOAK PASSED\n" in result.stdout
    assert re.search(r"^[5-9] of 9 s: \d+ requests, ", result.stdout, flags=re.MULTILINE)
    report = json.loads(file.read_text(encoding="utf-8"))
    assert report["violations"] == []
    assert report["answered"] > 100
    assert report["faults"]
    assert report["plan"]["faults"] == "mixed"
    assert f"seed: {report['plan']['seed']})" in result.stdout


def test_load_alone_fails_nothing(command):
    result = command(
        "soak", "--minutes", 0.03, "--faults", "none", "--connections", 2, "--borrowers", 4,
        "--seed", 3,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Soaking a pool of 2 with 4 borrowers for 0.03 minutes" in result.stdout
    assert re.search(r"^Seed: +3$", result.stdout, flags=re.MULTILINE)
    assert re.search(r"^Failed: +0$", result.stdout, flags=re.MULTILINE)


def test_a_short_soak_through_a_gateway_finds_nothing(command, tmp_path):
    file = tmp_path / "report.json"
    result = command("soak", "--through", "gateway", "--minutes", 0.1, "--json", file)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Soaking a gateway of 5 sessions for 3 clients' pools with 20" in result.stdout
    report = json.loads(file.read_text(encoding="utf-8"))
    assert report["violations"] == []
    assert report["answered"] > 10
    assert report["plan"]["through"] == "gateway"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_the_report_of_what_ran(command, number):
    process = command.start("soak", "--faults", "restarts")
    for line in process.stdout:
        if line.startswith("0 of 300 s"):
            break
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=40)
    assert process.returncode == 130
    assert stderr == ""
    assert "SOAK PASSED (INTERRUPTED)\n" in stdout
    assert re.search(r"^Leaked tasks: +0$", stdout, flags=re.MULTILINE)


def test_unknown_faults_are_refused_with_those_there_are(command):
    result = command("soak", "--faults", "locusts")
    assert result.returncode == 2
    for mix in FaultMix:
        assert f"'{mix.value}'" in result.stderr


def test_a_file_that_cannot_be_written_is_found_before_the_soak(command, tmp_path):
    result = command("soak", "--json", tmp_path)
    assert result.returncode == 2
    assert result.stdout == ""


def test_a_reader_that_goes_away_ends_it_without_a_traceback(command):
    process = command.start("soak", "--faults", "none")
    process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "Traceback" not in stderr


def test_on_a_terminal_one_line_tells_how_far_it_is(command):
    ours, theirs = pty.openpty()
    process = command.start(
        "soak", "--minutes", 0.05, "--faults", "none", env={"TERM": "xterm"}, stdout=theirs
    )
    os.close(theirs)
    shown = b""
    while chunk := _read(ours):
        shown += chunk
    os.close(ours)
    assert process.wait(timeout=30) == 0, process.stderr.read()
    assert re.search(rb"[0-3] of 3 s: \d+ requests, 0 failed, 0 violations", shown)
    assert b"SOAK PASSED" in shown


def _read(descriptor):
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says so when the other side is gone
        return b""
