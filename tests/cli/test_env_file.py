"""``--env-file``: what the environment lacks comes from a file."""

import signal

import pytest
import typer
from typer.testing import CliRunner

from avatarpool.cli.main import app


@pytest.fixture
def env_file(running_service, tmp_path):
    """A file that names the running service."""
    file = tmp_path / "service.env"
    lines = (f"{name}='{value}'\n" for name, value in running_service.items())
    file.write_text("".join(lines), encoding="utf-8")
    return file


def test_every_command_that_reads_the_environment_takes_one():
    commands = typer.main.get_command(app).commands
    takers = {
        name
        for name, command in commands.items()
        if any("--env-file" in parameter.opts for parameter in command.params)
    }
    assert takers == set(commands) - {"soak", "plan"}  # which ask no service of yours


def test_a_file_names_the_service(command, env_file, tmp_path):
    result = command("run", "--rounds", 1, "--requests", 1, "--env-file", env_file)
    assert (result.returncode, result.stderr) == (0, "")
    clip = tmp_path / "tone.pcm"
    clip.write_bytes(bytes(3200))
    result = command("animate", clip, "-o", tmp_path / "tone.pb", "--env-file", env_file)
    assert (result.returncode, result.stderr) == (0, "")
    process = command.start("view", "--port", 0, "--env-file", env_file)
    assert process.stdout.readline().startswith("http://127.0.0.1:")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert "local avatar service" not in stderr


def test_what_the_service_prints_is_such_a_file(command, tmp_path):
    file = tmp_path / "service.env"
    with file.open("w") as output:
        service = command.start("service", "--port", 0, stdout=output)
        for line in service.stderr:
            if line.startswith("Paste these lines"):
                break
    result = command("doctor", "--env-file", file)
    assert (result.returncode, result.stderr) == (0, "")
    _, environment = command.start_service("--env-file", file)
    assert f"AVATAR_API_KEY={environment['AVATAR_API_KEY']}\n" in file.read_text()


def test_the_environment_wins_unless_it_is_empty(command, env_file):
    arguments = ("doctor", "--env-file", env_file)
    result = command(*arguments, env={"AVATAR_API_KEY": "wrong-key"})
    assert result.returncode == 1
    assert result.stderr == "Check AVATAR_API_KEY: the console does not accept it.\n"
    assert command(*arguments, env={"AVATAR_API_KEY": ""}).returncode == 0


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"AVATAR_APP_ID=app\nAVATAR_API_KEY='hush\n", "line 2 of {file} is no NAME=value"),
        (b"AVATAR_API_KEY=hush\0\n", "{file}: a name or value cannot be a variable's"),
        (b"AVATAR_API_KEY=hush\xff\n", "{file} is no UTF-8 text"),
        (b"#hush" * 200_001, "{file} has over 1,000,000 characters"),
    ],
)
def test_a_file_that_cannot_be_understood_is_a_sentence_without_its_contents(
    monkeypatch, tmp_path, content, sentence
):
    for name in ("AVATAR_API_KEY", "AVATAR_APP_ID"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "env"
    file.write_bytes(content)
    result = CliRunner().invoke(app, ["doctor", "--env-file", str(file)])
    assert result.exit_code == 2
    assert f"Error: Invalid value for '--env-file': {sentence.format(file=file)}\n" in result.stderr
    assert "hush" not in result.output


@pytest.mark.parametrize(
    ("name", "sentence"), [("missing", "does not exist"), (".", "is a directory")]
)
def test_a_file_that_is_none_is_a_sentence(tmp_path, name, sentence):
    result = CliRunner().invoke(app, ["run", "--env-file", str(tmp_path / name)])
    assert result.exit_code == 2
    (error,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert error.startswith("Error: Invalid value for '--env-file': ")
    assert error.endswith(f"{sentence}.")
