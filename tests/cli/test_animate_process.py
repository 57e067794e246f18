"""``avatarpool animate`` as a process: pipes, terminals, signals, and what a kill leaves."""

import json
import os
import pty
import re
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import urljoin
from urllib.request import Request, urlopen

import numpy as np
import pytest


@pytest.fixture(scope="module")
def admin_service(command_factory):
    """The variables of a service that takes faults."""
    return command_factory().start_service("--admin")[1]


@pytest.fixture
def set_faults(admin_service):
    """Set a service's faults for the test alone; gives the variables that name it."""

    def set_them(faults):
        request = Request(  # noqa: S310 - loopback
            urljoin(admin_service["AVATAR_CONSOLE_ENDPOINT"], "/admin/faults"),
            method="PUT",
            data=json.dumps(faults).encode(),
            headers={
                "X-Api-Key": admin_service["AVATAR_API_KEY"],
                "Content-Type": "application/json",
            },
        )
        urlopen(request).close()  # noqa: S310
        return admin_service

    yield set_them
    set_them({})


@pytest.fixture
def long_clip(tmp_path, speech):
    """Speech that takes long to paint: ten seconds of it."""
    file = tmp_path / "long.pcm"
    file.write_bytes((speech * 4)[:320_000])
    return file


def found(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def kinds(folder):
    return sorted(Path(name).suffix for name in found(folder))


def until(condition, process):
    """Wait for what a process does, and return it."""
    while not (met := condition()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    return met


def painters_of(process):
    """The numbers of the processes that paint for one."""
    children = []
    for tasks in Path(f"/proc/{process.pid}/task").glob("*/children"):
        children += [int(child) for child in tasks.read_text().split()]
    return [child for child in children if b"spawn_main" in _command_line(child)]


def _command_line(number):
    try:
        return Path(f"/proc/{number}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def test_speech_from_a_pipe_becomes_json_on_standard_output(command, folder, running_service):
    process = command.start(
        *("animate", "-", "-o", "-", "--format", "json"),
        env=running_service,
        stdin=subprocess.PIPE,
        text=False,
    )
    stdout, stderr = process.communicate((folder / "a.wav").read_bytes(), timeout=50)
    assert process.returncode == 0
    assert len(json.loads(stdout)["keyframes"]) == 10
    assert stderr == b"standard output: 10 frames, 0.40 s of speech\n"


def test_binary_output_goes_to_whatever_is_no_terminal(command, folder, running_service, tmp_path):
    with (tmp_path / "a.npz").open("wb") as file:
        process = command.start(
            *("animate", folder / "a.wav", "-o", "-", "--format", "npz"),
            env=running_service,
            stdout=file,
        )
        assert process.wait(timeout=50) == 0
    assert np.load(tmp_path / "a.npz")["jaw_pose"].shape == (10, 3)


def test_a_terminal_gets_no_binary_output(command, folder):
    ours, theirs = pty.openpty()
    process = command.start(
        "animate", folder / "a.wav", "-o", "-", "--format", "npz", stdout=theirs
    )
    os.close(theirs)
    _, stderr = process.communicate(timeout=50)
    assert process.returncode == 2
    assert stderr == (
        "avatarpool: nothing was animated: standard output is a terminal, which cannot show npz: "
        "redirect it to a file or a pipe\n"
    )
    assert not _read(ours)
    os.close(ours)


def test_a_reader_that_has_seen_enough_ends_it_quietly(command, folder, running_service):
    ours, theirs = os.pipe()
    process = command.start(
        "animate", folder / "a.wav", "-o", "-", env=running_service, stdout=theirs
    )
    os.close(theirs)
    os.close(ours)
    _, stderr = process.communicate(timeout=50)
    assert (process.returncode, stderr) == (0, "")


def test_standard_input_that_is_empty_is_called_empty(command, tmp_path):
    result = command("animate", "-", "-o", tmp_path / "a.pb")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        "avatarpool: standard input is empty: see whether the command before it failed\n"
    )


@pytest.mark.parametrize("suffix", ["jsonl", "gif"])
def test_a_disk_that_is_full_is_one_sentence_with_the_files_name(
    command, folder, running_service, tmp_path, suffix
):
    output = tmp_path / "out" / f"a.{suffix}"
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4999, 4999))\n"
        "from avatarpool.cli.main import main; main()"
    )
    arguments = ("animate", folder / "a.wav", "-o", output)
    process = command.start(*arguments, env=running_service, program=("-c", code))
    stdout, stderr = process.communicate(timeout=50)
    assert (process.returncode, stdout) == (1, "")
    assert stderr == f"{folder}/a.wav: file too large: {output}\n"
    assert found(tmp_path / "out") == []


def test_standard_output_on_a_full_disk_is_one_sentence(command, folder, running_service):
    with Path("/dev/full").open("wb") as full:
        process = command.start(
            "animate", folder / "a.wav", "-o", "-", env=running_service, stdout=full
        )
        _, stderr = process.communicate(timeout=50)
    assert process.returncode == 1
    assert stderr == "avatarpool: [Errno 28] No space left on device\n"


def test_pictures_without_their_extra_are_one_sentence(command, folder, tmp_path):
    code = (
        "import sys; sys.modules['resvg_py'] = None  # as if it were not there\n"
        "from avatarpool.cli.main import main; main()"
    )
    process = command.start(
        "animate", folder, "-o", tmp_path / "out", "--format", "gif", program=("-c", code)
    )
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (2, "")
    assert stderr == (
        "avatarpool: nothing was animated: pictures need resvg_py: "
        "install avatarpool's extra 'render'\n"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_half_file_and_the_same_command_goes_on(
    command, folder, tmp_path, set_faults, number
):
    # The first session answers, and the second one never to the end.
    environment = set_faults({"sessions": {"stalls_at": "last_frame"}, "next_sessions": [{}]})
    outputs = tmp_path / "out"
    arguments = ("animate", folder, "-o", outputs, "--pool-size", 2, "--timeout", 600)
    process = command.start(*arguments, env=environment)
    until(lambda: kinds(outputs) == [".jsonl", ".jsonl", ".part"], process)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stdout == f"2 files animated: outputs in {outputs}/\n"
    assert stderr == "Ended early: the same command does the rest.\n"
    assert len(found(outputs)) == 2

    set_faults({})
    result = command(*arguments, env=environment)
    assert result.returncode == 0
    assert result.stdout == f"1 file animated, 2 kept: outputs in {outputs}/\n"
    assert found(outputs) == ["a.jsonl", "b.jsonl", "more/c.jsonl"]


@pytest.fixture
def endless(tmp_path):
    """Speech that a run waits for without end; `is_read` tells once it does."""
    pipe = tmp_path / "endless.pcm"
    os.mkfifo(pipe)
    opened = []

    def is_read():
        try:
            opened.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:  # nobody reads it yet
            return False
        return True

    yield pipe, is_read
    for writer in opened:
        os.close(writer)


def test_a_signal_amid_the_reading_of_a_file_does_not_wait_for_it(
    command, endless, running_service, tmp_path
):
    pipe, is_read = endless
    outputs = tmp_path / "out"
    process = command.start("animate", pipe, "-o", outputs / "a.pb", env=running_service)
    until(is_read, process)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (130, "")
    assert stderr == "Ended early: the same command does the rest.\n"
    assert found(outputs) == []


def test_a_killed_run_leaves_a_part_that_the_next_one_removes_and_no_live_ones(
    command, endless, folder, running_service, tmp_path
):
    pipe, is_read = endless
    outputs = tmp_path / "out"
    waiting = command.start("animate", pipe, "-o", outputs / "a.pb", env=running_service)
    until(is_read, waiting)
    (part,) = outputs.iterdir()
    result = command("animate", folder / "b.wav", "-o", outputs / "b.pb", env=running_service)
    assert result.returncode == 0
    assert part.exists()  # somebody still writes it

    waiting.kill()
    waiting.wait()
    assert part.exists()
    result = command("animate", folder / "a.wav", "-o", outputs / "a.pb", env=running_service)
    assert result.returncode == 0
    assert found(outputs) == ["a.pb", "b.pb"]


def test_ctrl_c_amid_the_painting_ends_all_processes_without_a_word_of_theirs(
    command, long_clip, running_service, tmp_path
):
    outputs = tmp_path / "out"
    process = command.start(
        *("animate", long_clip, "-o", outputs / "long.mp4"),
        env=running_service,
        start_new_session=True,
    )
    painters = until(lambda: painters_of(process), process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (130, "")
    assert stderr == "Ended early: the same command does the rest.\n"
    assert found(outputs) == []
    assert not any(map(_command_line, painters))


def test_a_painter_that_is_killed_is_one_sentence_and_exit_1(
    command, long_clip, running_service, tmp_path
):
    outputs = tmp_path / "out"
    process = command.start("animate", long_clip, "-o", outputs / "long.gif", env=running_service)
    painters = until(lambda: painters_of(process), process)
    os.kill(painters[0], signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=50)
    assert (process.returncode, stdout) == (1, "")
    assert stderr == (
        f"{long_clip}: a process that paints was killed by signal 9: "
        "see whether memory is short, and try again\n"
    )
    assert found(outputs) == []


def test_painters_end_with_the_run_that_is_killed(command, long_clip, running_service, tmp_path):
    process = command.start("animate", long_clip, "-o", tmp_path / "long.gif", env=running_service)
    painters = until(lambda: painters_of(process), process)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 40
    while any(map(_command_line, painters)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_on_a_terminal_a_bar_counts_files_and_says_when_it_is_over(
    command, folder, running_service, tmp_path
):
    ours, theirs = pty.openpty()
    process = command.start(
        *("animate", folder, "-o", tmp_path / "out"),
        env={**running_service, "TERM": "xterm", "COLUMNS": "80"},
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while chunk := _read(ours):
        shown += chunk
    os.close(ours)
    stdout, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert stdout == f"3 files animated: outputs in {tmp_path}/out/\n"
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert re.search(r"\d/3 files .* \d+% \d:\d\d:\d\d ETA [-0-9]", text)


def _read(descriptor):
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says so when the other side is gone
        return b""
