"""``avatarpool animate``, in a process of its own."""

import json
import os
import pty
import re
import shutil
import signal
import time
from importlib.resources import as_file, files
from urllib.parse import urljoin
from urllib.request import Request, urlopen

import av
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from avatarpool import ConfigurationError
from avatarpool.cli.main import app


@pytest.fixture
def folder(tmp_path):
    """A folder of three clips, one of them in a folder of its own."""
    made = tmp_path / "clips"
    (made / "more").mkdir(parents=True)
    with as_file(files("avatarpool") / "assets" / "speech.wav") as speech:
        for name in ("a.wav", "b.wav", "more/c.wav"):
            shutil.copy(speech, made / name)
    return made


def found(folder):
    """The files in a folder and those in it."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_file_becomes_its_keyframes_on_a_local_service(command, folder, says_local, tmp_path):
    output = tmp_path / "a.jsonl"
    result = command("animate", folder / "a.wav", "-o", output)
    assert (result.returncode, result.stdout) == (0, "1 of 1 clip animated.\n")
    assert result.stderr == says_local
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(lines) == 75
    assert lines[-1]["time"] == 2.96


def test_it_uses_the_service_that_the_environment_names(command, folder, running_service, tmp_path):
    output = tmp_path / "a.NPZ"
    result = command("animate", folder / "a.wav", "-o", output, env=running_service)
    assert (result.returncode, result.stderr) == (0, "")
    assert np.load(output)["jaw_pose"].shape == (75, 3)


def test_a_folder_becomes_a_folder_and_what_is_there_is_skipped(
    command, folder, running_service, tmp_path
):
    outputs = tmp_path / "new" / "outputs"
    arguments = ("animate", folder, "-o", outputs, "--format", "pb")
    result = command(*arguments, env=running_service)
    assert (result.returncode, result.stdout, result.stderr) == (0, "3 of 3 clips animated.\n", "")
    assert found(outputs) == ["a.pb", "b.pb", "more/c.pb"]

    (outputs / "b.pb").unlink()
    (outputs / "a.pb").write_bytes(b"mine")
    result = command(*arguments, env=running_service)
    assert (result.returncode, result.stdout) == (0, "1 of 1 clip animated.\n")
    assert result.stderr == "2 clips skipped: the output is there (--force makes it anew).\n"
    assert (outputs / "a.pb").read_bytes() == b"mine"

    result = command(*arguments, "--force", env=running_service)
    assert (result.returncode, result.stdout, result.stderr) == (0, "3 of 3 clips animated.\n", "")
    assert (outputs / "a.pb").read_bytes() != b"mine"


def test_where_everything_is_there_no_service_is_asked(command, folder, tmp_path):
    (tmp_path / "a.jsonl").touch()
    result = command("animate", folder / "a.wav", "-o", tmp_path / "a.jsonl")
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == "1 clip skipped: the output is there (--force makes it anew).\n"


def test_a_bad_file_stops_no_other_one_and_is_named_at_the_end(
    command, folder, running_service, tmp_path
):
    bad = folder / "bad.wav"
    bad.write_bytes(b"no audio")
    result = command("animate", folder, "-o", tmp_path / "out", env=running_service)
    assert (result.returncode, result.stdout) == (1, "3 of 4 clips animated.\n")
    assert result.stderr.startswith(f"{bad}: the audio is neither WAV, Wave64, AIFF, Ogg, MP3")
    assert len(result.stderr.splitlines()) == 1
    assert found(tmp_path / "out") == ["a.jsonl", "b.jsonl", "more/c.jsonl"]


def test_a_name_that_a_terminal_would_obey_is_quoted(command, running_service, tmp_path):
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("red\x1b[31m.wav", "two\nlines.wav"):
        (clips / name).write_bytes(b"no audio")
    result = command("animate", clips, "-o", tmp_path / "out", env=running_service)
    first, second = result.stderr.splitlines()
    assert first.startswith(f"'{clips}/red\\x1b[31m.wav': the audio is neither")
    assert second.startswith(f"'{clips}/two\\nlines.wav': the audio is neither")


@pytest.mark.parametrize("suffix", ["jsonl", "gif"])
def test_a_disk_that_is_full_is_one_sentence_with_the_files_name(
    command, folder, running_service, tmp_path, suffix
):
    output = tmp_path / "out" / f"a.{suffix}"
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (9999, 9999))\n"
        "from avatarpool.cli.main import main; main()"
    )
    arguments = ("animate", folder / "a.wav", "-o", output)
    process = command.start(*arguments, env=running_service, program=("-c", code))
    stdout, stderr = process.communicate(timeout=50)
    assert (process.returncode, stdout) == (1, "0 of 1 clip animated.\n")
    assert re.fullmatch(rf"{folder}/a\.wav: \[Errno 27\] File too large: '{output}'\n", stderr)
    assert found(tmp_path / "out") == []


def test_a_contact_sheet_is_a_picture_of_the_clip(command, folder, running_service, tmp_path):
    sheet = tmp_path / "contact-sheet.png"
    result = command("animate", folder / "a.wav", "-o", sheet, env=running_service)
    assert (result.returncode, result.stderr) == (0, "")
    with Image.open(sheet) as picture:
        assert picture.size == (1312, 1100)


@pytest.mark.parametrize("suffix", ["mp4", "gif"])
def test_a_film_shows_every_keyframe(command, folder, running_service, tmp_path, suffix):
    clip = folder / "short.pcm"
    with as_file(files("avatarpool") / "assets" / "speech.wav") as speech:
        clip.write_bytes(speech.read_bytes()[44 + 16000 : 44 + 16000 + 2 * 640 * 5])
    output = tmp_path / f"film.{suffix}"
    result = command("animate", clip, "-o", output, env=running_service)
    assert (result.returncode, result.stderr) == (0, "")
    with av.open(str(output)) as film:
        assert len(list(film.decode(video=0))) == 5


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


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("a.wav", "-o", "a.txt"), "a.txt must end with .jsonl, .npz, .pb, .mp4, .gif or .png"),
        (("a.wav", "-o", "a"), "a must end with"),
        (("a.wav", "-o", "more"), "more is a folder: name the file to write"),
        (("a.wav", "-o", "a.npz", "--format", "pb"), "a.npz is no pb: leave --format out"),
        ((".", "-o", "a.wav"), "a.wav is a file, and for a folder it must be one, too"),
        (("more/none", "-o", "out"), "there is no audio file in more/none"),
    ],
)
def test_what_cannot_work_is_one_sentence(folder, monkeypatch, arguments, sentence):
    (folder / "more" / "none").mkdir()
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(app, ["animate", *arguments])
    assert isinstance(result.exception, ConfigurationError)
    assert str(result.exception).startswith(f"nothing was animated: {sentence}")


def test_a_service_that_refuses_is_a_sentence_and_exit_1(
    command, folder, running_service, tmp_path
):
    environment = {**running_service, "AVATAR_API_KEY": "wrong-key"}
    result = command("animate", folder, "-o", tmp_path / "out", env=environment)
    assert (result.returncode, result.stdout) == (1, "")
    assert "could open none of its 3 connections" in result.stderr
    assert "Traceback" not in result.stderr
    assert "wrong-key" not in result.stderr


def set_faults(environment, faults):
    request = Request(  # noqa: S310 - loopback
        urljoin(environment["AVATAR_CONSOLE_ENDPOINT"], "/admin/faults"),
        method="PUT",
        data=json.dumps(faults).encode(),
        headers={"X-Api-Key": environment["AVATAR_API_KEY"], "Content-Type": "application/json"},
    )
    urlopen(request).close()  # noqa: S310


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_half_file_and_the_same_command_goes_on(
    command, folder, tmp_path, number
):
    _, environment = command.start_service("--admin")
    # The first session answers, and the second one never to the end.
    set_faults(environment, {"sessions": {"stalls_at": "last_frame"}, "next_sessions": [{}]})
    outputs = tmp_path / "out"
    arguments = ("animate", folder, "-o", outputs, "--pool-size", 2, "--timeout", 600)
    process = command.start(*arguments, env=environment)
    while sorted(name.rpartition(".")[2] for name in found(outputs)) != ["jsonl", "jsonl", "part"]:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (130, "2 of 3 clips animated.\n")
    assert stderr == "Ended early: the same command does the rest.\n"
    assert len(found(outputs)) == 2

    set_faults(environment, {})
    result = command(*arguments, env=environment)
    assert (result.returncode, result.stdout) == (0, "1 of 1 clip animated.\n")
    assert found(outputs) == ["a.jsonl", "b.jsonl", "more/c.jsonl"]


def test_a_signal_amid_the_reading_of_a_file_does_not_wait_for_it(
    command, running_service, tmp_path
):
    endless = tmp_path / "endless.pcm"
    os.mkfifo(endless)  # opening it waits for a writer, who never comes
    outputs = tmp_path / "out"
    process = command.start("animate", endless, "-o", outputs / "a.pb", env=running_service)
    while not (outputs.exists() and found(outputs)):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (130, "0 of 1 clip animated.\n")
    assert found(outputs) == []


def test_on_a_terminal_a_bar_shows_the_progress(command, folder, running_service, tmp_path):
    ours, theirs = pty.openpty()
    process = command.start(
        *("animate", folder, "-o", tmp_path / "out"),
        env={**running_service, "TERM": "xterm", "COLUMNS": "80"},
        stdout=theirs,
    )
    os.close(theirs)
    shown = b""
    while chunk := _read(ours):
        shown += chunk
    os.close(ours)
    assert process.wait(timeout=30) == 0, process.stderr.read()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert re.search(r"clips .* \d/3 ", text)
    assert text.rstrip().endswith("3 of 3 clips animated.")


def _read(descriptor):
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says so when the other side is gone
        return b""
