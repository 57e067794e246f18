"""``avatarpool animate`` on a service in a process of its own."""

import json
import os
import shutil
import sys

import av
import numpy as np
import pytest
from heads import head, track_of
from PIL import Image
from typer.testing import CliRunner

from avatarpool import ConfigurationError
from avatarpool.animate import find_clips, find_namesakes
from avatarpool.blendshapes import Basis, Shape
from avatarpool.cli.main import app, main


class Result:
    """How a command ended, and what it said."""

    def __init__(self, returncode, said):
        self.returncode = returncode
        self.stdout = said.out
        self.stderr = said.err


@pytest.fixture
def animate(monkeypatch, capsys, running_service):
    """Run the command in this process: most of its time is to start."""

    def run(*arguments, env=running_service):
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["avatarpool", "animate", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return Result(ended.value.code, capsys.readouterr())

    return run


def found(folder):
    """The files in a folder and those in it."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_file_becomes_its_keyframes_on_a_local_service(command, folder, says_local, tmp_path):
    output = tmp_path / "a.jsonl"
    result = command("animate", folder / "a.wav", "-o", output)
    assert (result.returncode, result.stdout) == (0, f"{output}: 10 frames, 0.40 s of speech\n")
    assert result.stderr == says_local
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(lines) == 10
    assert lines[-1]["time"] == 0.36


def test_it_uses_the_service_that_the_environment_names(animate, folder, tmp_path):
    output = tmp_path / "a.NPZ"
    result = animate(folder / "a.wav", "-o", output)
    assert (result.returncode, result.stderr) == (0, "")
    assert np.load(output)["jaw_pose"].shape == (10, 3)


def test_an_output_is_made_anew_for_other_speech_and_kept_for_the_same(animate, folder, tmp_path):
    output = tmp_path / "speech.json"
    made, kept = (
        f"{output}: 10 frames, 0.40 s of speech\n",
        f"{output}: kept, made of this speech already (--force makes it anew)\n",
    )
    assert animate(folder / "a.wav", "-o", output).stdout == made
    assert animate(folder / "a.wav", "-o", output).stdout == kept
    first = json.loads(output.read_text())

    os.utime(folder / "b.wav", ns=(0, 0))  # it need not be newer
    assert animate(folder / "b.wav", "-o", output).stdout == made
    assert json.loads(output.read_text())["source"] != first["source"]

    assert animate(folder / "b.wav", "-o", output, "--force").stdout == made
    later = output.stat().st_mtime_ns + 10**9
    os.utime(folder / "b.wav", ns=(later, later))
    assert animate(folder / "b.wav", "-o", output).stdout == made


@pytest.fixture
def nowhere(running_service):
    """The variables of a service that nobody runs."""
    return {**running_service, "AVATAR_CONSOLE_ENDPOINT": "http://127.0.0.1:9"}


def test_keep_keeps_what_is_there_whatever_it_was_made_of(animate, folder, nowhere, tmp_path):
    output = tmp_path / "a.jsonl"
    output.write_bytes(b"mine")
    result = animate(folder / "a.wav", "-o", output, "--keep", env=nowhere)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{output}: kept, as --keep asks (--force makes it anew)\n"
    assert output.read_bytes() == b"mine"


def test_a_folder_becomes_a_folder_by_the_same_rule(animate, folder, tmp_path):
    outputs = tmp_path / "new" / "outputs"
    arguments = (folder, "-o", outputs, "--format", "pb")
    result = animate(*arguments)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"3 files animated: outputs in {outputs}/\n"
    assert found(outputs) == ["a.pb", "b.pb", "more/c.pb"]

    (outputs / "b.pb").unlink()
    (outputs / "a.pb").write_bytes(b"of something else")
    (folder / "bad.wav").write_bytes(b"no audio")
    result = animate(*arguments, "--json", tmp_path / "report.json")
    assert result.returncode == 1
    assert result.stdout == f"2 files animated, 1 kept, 1 failed: outputs in {outputs}/\n"
    assert (outputs / "a.pb").read_bytes() != b"of something else"
    report = json.loads((tmp_path / "report.json").read_text())
    assert [(file["output"], file["frames"], file["seconds"]) for file in report["animated"]] == [
        (f"{outputs}/{name}.pb", 10, 0.4) for name in ("a", "b")
    ]
    assert report["kept"] == [{"input": f"{folder}/more/c.wav", "output": f"{outputs}/more/c.pb"}]
    ((failed),) = report["failed"]
    assert failed["input"] == f"{folder}/bad.wav"
    assert failed["error"].startswith("the audio is neither")
    assert (report["total"], report["was_interrupted"]) == (4, False)


def test_where_everything_is_there_no_service_is_asked(animate, folder, nowhere, tmp_path):
    outputs = tmp_path / "out"
    assert animate(folder, "-o", outputs).returncode == 0
    result = animate(folder, "-o", outputs, env=nowhere)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"0 files animated, 3 kept: outputs in {outputs}/\n"


def test_a_bad_file_stops_no_other_one_and_is_named_at_the_end(animate, folder, tmp_path):
    bad = folder / "bad.wav"
    bad.write_bytes(b"no audio")
    result = animate(folder, "-o", tmp_path / "out")
    assert result.returncode == 1
    assert result.stdout == f"3 files animated, 1 failed: outputs in {tmp_path}/out/\n"
    assert result.stderr.startswith(f"{bad}: the audio is neither WAV, Wave64, AIFF, Ogg, MP3")
    assert len(result.stderr.splitlines()) == 1
    assert found(tmp_path / "out") == ["a.jsonl", "b.jsonl", "more/c.jsonl"]


def test_a_single_file_that_fails_leaves_standard_output_empty(animate, folder, tmp_path):
    (folder / "a.wav").write_bytes(b"no audio")
    result = animate(folder / "a.wav", "-o", tmp_path / "a.pb")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"{folder}/a.wav: the audio is neither")


def test_a_name_that_a_terminal_would_obey_is_quoted(animate, tmp_path):
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("red\x1b[31m.wav", "two\nlines.wav"):
        (clips / name).write_bytes(b"no audio")
    result = animate(clips, "-o", tmp_path / "out")
    first, second = result.stderr.splitlines()
    assert first.startswith(f"'{clips}/red\\x1b[31m.wav': the audio is neither")
    assert second.startswith(f"'{clips}/two\\nlines.wav': the audio is neither")


def test_inputs_that_would_have_one_output_are_told_and_get_two(animate, folder, tmp_path):
    shutil.copy(folder / "a.wav", folder / "a.raw")
    outputs = tmp_path / "out"
    result = animate(folder, "-o", outputs)
    assert result.returncode == 0
    assert result.stderr == (
        "2 files differ from others in their suffix alone, and their outputs keep it: "
        f"{folder}/a.raw becomes {outputs}/a.raw.jsonl.\n"
    )
    assert found(outputs) == ["a.raw.jsonl", "a.wav.jsonl", "b.jsonl", "more/c.jsonl"]


def test_what_a_killed_run_left_is_removed(animate, folder, tmp_path):
    outputs = tmp_path / "out"
    (outputs / "more").mkdir(parents=True)
    for place in (outputs, outputs / "more"):
        (place / ".avatarpool-0123456789abcdef.part").write_bytes(b"half")
    assert animate(folder, "-o", outputs).returncode == 0
    assert found(outputs) == ["a.jsonl", "b.jsonl", "more/c.jsonl"]


def test_a_contact_sheet_is_a_picture_of_the_clip(animate, folder, tmp_path):
    sheet = tmp_path / "contact-sheet.png"
    result = animate(folder / "a.wav", "-o", sheet)
    assert (result.returncode, result.stderr) == (0, "")
    with Image.open(sheet) as picture:
        assert picture.size == (1312, 558)
    assert "kept" in animate(folder / "a.wav", "-o", sheet).stdout


@pytest.mark.parametrize("suffix", ["mp4", "gif"])
def test_a_film_shows_every_keyframe(animate, folder, tmp_path, suffix):
    output = tmp_path / f"film.{suffix}"
    result = animate(folder / "a.wav", "-o", output)
    assert (result.returncode, result.stderr) == (0, "")
    with av.open(str(output)) as film:
        assert len(list(film.decode(video=0))) == 10
    assert "kept" in animate(folder / "a.wav", "-o", output).stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("a.wav", "-o", "a.txt"),
            "a.txt must end with .json, .jsonl, .npz, .pb, .arkit.json, .arkit.csv, ",
        ),
        (("a.wav", "-o", "a"), "a must end with"),
        (("a.wav", "-o", ".json"), ".json must end with"),
        (
            ("a.wav", "-o", "a.rhubarb.csv"),
            "a.rhubarb.csv names rhubarb and would be arkit.csv: end it with .rhubarb.json or ",
        ),
        (
            ("a.wav", "-o", "a.Papagayo.json"),
            "a.Papagayo.json names papagayo and would be json: end it with .papagayo.dat, or say",
        ),
        (("a.wav", "-o", "a.arkit.tsv"), "a.arkit.tsv names arkit and would be rhubarb.tsv: "),
        (("a.wav", "-o", "visemes.jsonl"), "visemes.jsonl names visemes and would be jsonl: "),
        (("a.wav", "-o", "a.glb"), "glb needs a model to animate: name one with --model face"),
        (
            ("a.wav", "-o", "a.pb", "--model", "a.wav"),
            "--model is for glb, and pb has none: leave it out",
        ),
        (
            ("a.wav", "-o", "a.json", "--basis", "local"),
            "--basis is for other faces, and json is none: leave it out",
        ),
        (("a.wav", "-o", "more"), "more is a folder: name the file to write"),
        (("a.wav", "-o", "a.npz", "--format", "pb"), "a.npz is no pb: leave --format out"),
        ((".", "-o", "a.wav"), "a.wav is a file, and for a folder it must be one, too"),
        (("more/none", "-o", "out"), "there is no speech file in more/none (.aac, .aif, "),
        ((".", "-o", "-"), "a folder's animations do not fit standard output: name a folder"),
        (("a.wav", "-o", "a.pb", "--keep", "--force"), "--force makes outputs anew and --keep"),
        (("a.json", "-o", "a.json"), "a.json is speech to animate: choose another output"),
        (("a.json", "-o", "same.json"), "same.json is speech to animate: choose another output"),
        (("a.wav", "-o", "b.wav/out/a.pb"), "cannot write to "),
        ((".", "-o", "b.wav/out"), "cannot write to "),
    ],
)
def test_what_cannot_work_is_one_sentence(folder, monkeypatch, arguments, sentence):
    (folder / "more" / "none").mkdir()
    shutil.copy(folder / "a.wav", folder / "a.json")
    (folder / "same.json").hardlink_to(folder / "a.json")
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(app, ["animate", *arguments])
    assert isinstance(result.exception, ConfigurationError)
    assert str(result.exception).startswith(f"nothing was animated: {sentence}")
    assert len(str(result.exception).splitlines()) == 1


def test_a_service_that_refuses_is_a_sentence_and_exit_1(
    animate, folder, running_service, tmp_path
):
    environment = {**running_service, "AVATAR_API_KEY": "wrong-key"}
    result = animate(folder, "-o", tmp_path / "out", env=environment)
    assert (result.returncode, result.stdout) == (1, "")
    assert "could open none of its 3 connections" in result.stderr
    assert "Traceback" not in result.stderr
    assert "wrong-key" not in result.stderr


# --- other faces --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "begins"),
    [
        (("a.arkit.json",), '{"source":"avatarpool:sha256:'),
        (("a.visemes.json",), '{"source":"avatarpool:sha256:'),
        (("a.rhubarb.json",), '{\n  "metadata": {\n    "soundFile": "a.wav'),
        (("a.json", "--format", "rhubarb.json"), '{\n  "metadata": {\n    "soundFile": "a.wav'),
        (("A.CSV",), "Timecode,BlendShapeCount,EyeBlinkLeft,"),
        (("a.tsv",), "0.00\t"),
        (("a.dat",), "MohoSwitch1\n1 "),
        (("a.papagayo.dat",), "MohoSwitch1\n1 "),
        (("a.rhubarb.csv", "--format", "arkit.csv"), "Timecode,BlendShapeCount,EyeBlinkLeft,"),
    ],
)
def test_the_ending_says_for_which_face_it_is(animate, folder, monkeypatch, arguments, begins):
    monkeypatch.chdir(folder)
    result = animate("a.wav", "-o", *arguments, "--basis", "local")
    assert (result.returncode, result.stderr) == (0, "")
    assert (folder / arguments[0]).read_text().startswith(begins)


def test_without_a_basis_it_says_what_is_missing_and_leaves_it_out(animate, folder, tmp_path):
    output = tmp_path / "a.arkit.json"
    result = animate(folder / "a.wav", "-o", output)
    assert result.returncode == 0
    assert result.stderr.startswith("Jaw, lids, eyes and head alone: ")
    assert "mouthClose" not in json.loads(output.read_text())["keyframes"][0]


def test_a_local_service_of_its_own_is_known(command, folder, says_local, tmp_path):
    output = tmp_path / "a.arkit.json"
    result = command("animate", folder / "a.wav", "-o", output)
    assert (result.returncode, result.stderr) == (0, says_local)
    assert "mouthClose" in json.loads(output.read_text())["keyframes"][0]


def test_an_output_is_made_anew_by_another_basis(animate, folder, tmp_path):
    output, basis = tmp_path / "a.arkit.json", tmp_path / "face.json"
    arguments = (folder / "a.wav", "-o", output)
    Basis({"cheekPuff": Shape(rest=0.25)}).save(basis)
    assert "10 frames" in animate(*arguments, "--basis", "local").stdout
    assert "kept" in animate(*arguments, "--basis", "local").stdout
    assert "10 frames" in animate(*arguments, "--basis", basis).stdout
    assert json.loads(output.read_text())["keyframes"][0]["cheekPuff"] == 0.25


def test_an_output_is_made_anew_in_another_format(animate, folder, tmp_path):
    arguments = (folder / "a.wav", "-o", tmp_path / "a.json", "--basis", "local", "--format")
    assert "10 frames" in animate(*arguments, "arkit.json").stdout
    assert "kept" in animate(*arguments, "arkit.json").stdout
    assert "10 frames" in animate(*arguments, "visemes.json").stdout
    assert "sil" in json.loads((tmp_path / "a.json").read_text())["keyframes"][0]


def test_a_folder_becomes_models_that_speak(animate, folder, tmp_path):
    model, outputs = tmp_path / "head.glb", tmp_path / "out"
    model.write_bytes(head(["jawOpen", "eyeBlinkLeft"]))
    arguments = (folder, "-o", outputs, "--format", "glb", "--model", model, "--basis", "local")
    result = animate(*arguments)
    assert (result.returncode, result.stderr) == (0, "")
    assert found(outputs) == ["a.glb", "b.glb", "more/c.glb"]
    times, weights = track_of((outputs / "a.glb").read_bytes())
    assert (times.shape, weights.shape) == ((10,), (10, 2))
    assert "3 kept" in animate(*arguments).stdout
    model.write_bytes(head(["jawOpen"]))
    assert "3 files animated" in animate(*arguments).stdout


def test_a_model_of_other_names_is_told_before_anything_is_asked_for(
    animate, folder, nowhere, tmp_path
):
    model = tmp_path / "head.glb"
    model.write_bytes(head(["Smile", "Frown"]))
    result = animate(folder / "a.wav", "-o", tmp_path / "a.glb", "--model", model, env=nowhere)
    assert result.returncode == 2
    assert result.stderr == (
        f"avatarpool: model '{model}' cannot be animated: its morph targets are 'Smile', 'Frown': "
        "name them as ARKit does (jawOpen, eyeBlinkLeft...), or as visemes (viseme_aa, "
        "viseme_PP...)\n"
    )


def test_files_that_differ_in_their_suffix_alone_keep_it_in_long_endings_too(folder, tmp_path):
    shutil.copy(folder / "a.wav", folder / "a.wave")
    clips = find_clips(folder, tmp_path, ".arkit.json")
    assert [clip.output.name for clip in find_namesakes(clips)] == [
        "a.wav.arkit.json",
        "a.wave.arkit.json",
    ]
