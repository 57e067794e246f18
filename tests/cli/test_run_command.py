"""``avatarpool run``, in a process of its own."""

import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys

import pytest

QUICK = ("--rounds", 2, "--requests", 5, "--interval", 0)


def test_with_nothing_set_it_runs_on_a_local_service(command, says_local):
    result = command("run", *QUICK)
    assert result.returncode == 0, result.stderr
    assert result.stderr == says_local
    lines = result.stdout.splitlines()
    assert re.fullmatch(r"Loaded audio file: \d{5} bytes", lines[0])
    assert lines[1] == "Initializing connection pool with 3 connections..."
    for index in range(3):
        opened = rf"  Connection {index}: OK \(connection_id=\S{{6,}}\.\.\.\)"
        assert re.fullmatch(opened, lines[2 + index])
    assert lines[5] == "Pool initialized with 3/3 connections"
    assert "[Round 1/2] (elapsed: 0.0s, pool: 3/3 available)" in lines
    assert "  Waiting 0.0s until next round..." in lines
    assert "  Total requests: 10" in lines
    assert "  Successful: 10 (100.0%)" in lines
    assert "  Total requests served: 10" in lines
    assert lines[-2:] == ["Closing connection pool...", "Connection pool closed"]
    percentiles = r"p50 \d+\.\d\dms, p95 \d+\.\d\dms, p99 \d+\.\d\dms"
    assert re.search(
        rf"^Latency and Throughput:\n  Duration: {percentiles}\n  First frame: {percentiles}\n"
        r"  Requests per second: \d+\.\d\n\nClosing connection pool",
        result.stdout,
        flags=re.MULTILINE,
    )
    used = re.findall(r"^  (\S{6,})\.\.\.: (\d) requests \(", result.stdout, flags=re.MULTILINE)
    assert len(used) == 3
    assert sum(int(count) for _, count in used) == 10


def test_it_uses_the_service_that_the_environment_names(command, running_service):
    result = command("run", *QUICK, "--pool-size", 2, env=running_service)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "Pool initialized with 2/2 connections\n" in result.stdout
    assert "  Successful: 10 (100.0%)\n" in result.stdout


def test_query_authentication_works_as_well(command, running_service):
    environment = {**running_service, "AVATAR_USE_QUERY_AUTH": "true"}
    result = command("run", "--rounds", 1, "--requests", 1, env=environment)
    assert result.returncode == 0, result.stderr


def test_some_variables_missing_are_all_named_and_exit_2(command):
    result = command("run", env={"AVATAR_APP_ID": "app", "AVATAR_API_KEY": "hidden-key"})
    assert result.returncode == 2
    assert result.stdout == ""
    (sentence,) = result.stderr.splitlines()
    assert "AVATAR_CONSOLE_ENDPOINT, AVATAR_INGRESS_ENDPOINT, AVATAR_SESSION_AVATAR_ID" in sentence
    assert "hidden-key" not in sentence


def test_the_results_are_written_as_json_too(command, running_service, tmp_path):
    file = tmp_path / "results.json"
    result = command("run", *QUICK, "--json", file, env=running_service)
    assert result.returncode == 0, result.stderr
    written = json.loads(file.read_text(encoding="utf-8"))
    assert written["plan"]["requests_per_round"] == 5
    assert (written["total_requests"], written["ok"], written["failed"]) == (10, 10, 0)
    assert written["was_interrupted"] is False
    assert sum(written["connections"].values()) == 10
    latency = written["pool"]["latency"]["first_frame_ms"]
    assert written["first_frame_ms"] == {
        p: pytest.approx(latency[p]) for p in ("p50", "p95", "p99")
    }
    durations = sorted(r["duration_ms"] for each in written["rounds"] for r in each["requests"])
    assert written["duration_ms"]["p50"] == durations[4]
    assert written["duration_ms"]["p99"] == durations[-1]
    assert written["requests_per_second"] > 0
    assert written["pool"]["total_requests_served"] == 10
    for result_of_round in written["rounds"]:
        for request in result_of_round["requests"]:
            assert request["frames"] > 0
            assert request["error"] is None
            assert 0 <= request["wait_ms"] <= request["duration_ms"]


def test_a_file_for_the_results_that_cannot_be_written_is_found_before_the_run(command, tmp_path):
    not_a_directory = tmp_path / "file"
    not_a_directory.touch()
    result = command("run", *QUICK, "--json", not_a_directory / "results.json")
    assert result.returncode == 2
    assert result.stdout == ""
    assert "'--json': cannot write" in result.stderr
    assert "Not a directory" in result.stderr


def test_a_run_that_never_begins_leaves_no_file_and_no_change(command, tmp_path):
    new, old = tmp_path / "new.json", tmp_path / "old.json"
    old.write_text("{}")
    for file in (new, old):
        assert command("run", "--json", file, env={"AVATAR_APP_ID": "app"}).returncode == 2
    assert not new.exists()
    assert old.read_text() == "{}"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_change_nothing_else(running_service, closed):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("AVATAR_")}
    result = subprocess.run(  # noqa: S603 - our own command
        [
            "/bin/sh",
            "-c",
            f'exec "$0" -W error -m avatarpool run --rounds 1 {closed}',
            sys.executable,
        ],
        env={**inherited, **running_service},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("Connection pool closed\n") is (">&-" not in closed.split())
    assert result.stderr == ""


def test_any_failed_request_exits_1_with_the_reason_in_the_report(command, running_service):
    result = command("run", *QUICK, "--timeout", 0.001, env=running_service)
    assert result.returncode == 1, result.stderr
    assert "[Round 2/2]" in result.stdout  # failures stop nothing
    assert re.search(r"^  \d+ x (RequestTimeout|PoolTimeout): ", result.stdout, flags=re.MULTILINE)
    assert result.stdout.endswith("Connection pool closed\n")
    assert "Traceback" not in result.stderr


def test_a_key_that_the_console_refuses_fails_every_connection_with_the_reason(
    command, running_service
):
    result = command("run", env={**running_service, "AVATAR_API_KEY": "wrong-key"})
    assert result.returncode == 1
    assert "  Connection 2: FAILED (sessionTokenExpired: " in result.stdout
    assert "Pool initialized with 0/3 connections\n" in result.stdout
    assert result.stdout.endswith("Connection pool closed\n")
    assert "could open none of its 3 connections" in result.stderr
    assert "Traceback" not in result.stderr
    assert "wrong-key" not in result.stdout + result.stderr


def test_another_clip_is_sent_instead(command, running_service, tmp_path):
    clip = tmp_path / "tone.pcm"
    clip.write_bytes(struct.pack("<1600h", *(8000 * (i % 2) for i in range(1600))))
    result = command("run", "--rounds", 1, "--requests", 1, "--audio", clip, env=running_service)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("Loaded audio file: 3200 bytes\n")


def test_audio_of_an_unknown_kind_is_refused_in_one_sentence(command, tmp_path):
    clip = tmp_path / "notes.txt"
    clip.write_bytes(b"no audio at all")
    result = command("run", "--audio", clip)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith(f"avatarpool: {clip}: ")
    assert "neither WAV, Wave64, AIFF, Ogg, MP3" in result.stderr


def test_a_time_to_live_that_holds_no_request_exits_2(command):
    result = command("run", "--ttl", 1, "--timeout", 90)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "raise session_ttl_minutes" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_between_rounds_closes_the_pool_and_prints_the_summary(
    command, running_service, tmp_path, number
):
    file = tmp_path / "results.json"
    process = command.start(
        "run", "--rounds", 3, "--requests", 4, "--interval", 60, "--json", file, env=running_service
    )
    for line in process.stdout:
        if line.startswith("  Waiting 60.0s"):
            break
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stderr == ""
    assert "MULTI-ROUND TEST INTERRUPTED\n" in stdout
    assert "  Total rounds: 1\n  Total requests: 4\n  Successful: 4 (100.0%)\n" in stdout
    assert stdout.endswith("\nClosing connection pool...\nConnection pool closed\n")
    written = json.loads(file.read_text(encoding="utf-8"))
    assert written["was_interrupted"] is True
    assert written["total_requests"] == 4


def test_a_signal_amid_a_round_keeps_the_requests_that_were_finished(command, running_service):
    process = command.start("run", "--rounds", 2, "--requests", 3000, env=running_service)
    for line in process.stdout:
        if line.startswith("[Round 1/2]"):
            break
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stderr == ""
    done = re.search(r"^  Completed: (\d+) OK, 0 FAILED", stdout, flags=re.MULTILINE)
    assert done
    assert int(done[1]) < 3000
    assert f"  Total requests: {done[1]}\n" in stdout
    assert stdout.endswith("Connection pool closed\n")


def test_a_signal_while_the_pool_opens_ends_it_as_well(command, running_service):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = command.start("run", env={**running_service, "AVATAR_CONSOLE_ENDPOINT": endpoint})
        peer, _ = silent.accept()
        with peer:  # it is asking for its first token now
            process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stderr == ""
    assert "  Total requests: 0\n" in stdout
    assert stdout.endswith("Connection pool closed\n")


def test_a_service_that_goes_away_fails_the_requests_and_not_the_run(command):
    service, environment = command.start_service()
    run = command.start("run", "--rounds", 2, "--interval", 0, "--timeout", 0.5, env=environment)
    for line in run.stdout:
        if line.startswith("Pool initialized"):
            break
    service.kill()
    service.wait()
    stdout, stderr = run.communicate(timeout=30)
    assert run.returncode == 1
    assert "\nFailures:\n" in stdout
    assert stdout.endswith("Connection pool closed\n")
    assert "Traceback" not in stderr


def test_a_reader_that_goes_away_ends_the_run_without_a_traceback(command, running_service):
    process = command.start("run", *QUICK, env=running_service)
    process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "Traceback" not in stderr


def test_on_a_terminal_a_bar_runs_below_the_same_lines(command, running_service):
    ours, theirs = pty.openpty()
    process = command.start(
        "run", *QUICK, env={**running_service, "TERM": "xterm", "COLUMNS": "80"}, stdout=theirs
    )
    os.close(theirs)
    shown = b""
    while chunk := _read(ours):
        shown += chunk
    os.close(ours)
    assert process.wait(timeout=30) == 0, process.stderr.read()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert "10/10" in text
    lines = [line.rpartition("\r")[2].rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    for line in (
        "[Round 1/2] (elapsed: 0.0s, pool: 3/3 available)",
        "  Waiting 0.0s until next round...",
        "MULTI-ROUND SUMMARY",
        "  Successful: 10 (100.0%)",
        "Connection pool closed",
    ):
        assert line in lines


def _read(descriptor):
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says so when the other side is gone
        return b""
