"""What every command has in common."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from avatarpool.cli import main as command_line


def test_the_version_is_the_distributions(command):
    result = command("--version")
    assert (result.returncode, result.stdout) == (0, f"avatarpool {version('avatarpool')}\n")


@pytest.mark.parametrize(
    "arguments",
    [[], ["run"], ["service"], ["view"], ["animate"], ["doctor"], ["plan"], ["gateway"]],
)
def test_every_help_page_has_examples(arguments):
    result = CliRunner().invoke(command_line.app, [*arguments, "--help"])
    assert result.exit_code == 0
    assert f"Examples:\n    avatarpool {arguments[0] if arguments else 'run'}" in result.stdout


def test_the_entry_point_is_the_same_command():
    script = Path(sys.executable).with_name("avatarpool")
    result = subprocess.run(  # noqa: S603 - our own command
        [script, "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("avatarpool ")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "--rounds", "0"], "--rounds"),
        (["run", "--interval", "-1"], "--interval"),
        (["run", "--interval", "inf"], "--interval"),
        (["run", "--interval", "nan"], "--interval"),
        (["run", "--ttl", "inf"], "--ttl"),
        (["run", "--ttl", "1441"], "--ttl"),
        (["run", "--timeout", "inf"], "--timeout"),
        (["doctor", "--timeout", "nan"], "--timeout"),
        (["service", "--credits", "inf"], "inf is no finite number"),
        (["run", "--audio", "no-such-file.wav"], "no-such-file.wav"),
        (["run", "--json", "no-such-directory/out.json"], "no-such-directory"),
        (["service", "--port", "70000"], "--port"),
        (["view", "--timeout", "nan"], "--timeout"),
        (["animate", "no-such-file.wav", "-o", "out.pb"], "no-such-file.wav"),
        (["animate", "."], "--output"),
        (["plan", "--arrivals", "4/day"], "say 4/s, 240/min, 14400/h or 4"),
        (["plan", "--arrivals", "0/s"], "must be above 0"),
        (["plan", "--arrivals", "nan"], "'nan' is no rate"),
        (["plan", "--duration", "0"], "--duration"),
        (["plan", "--wait-p99", "nan"], "--wait-p99"),
        (["plan", "--budget", "0"], "--budget"),
        (["plan", "--from", "no-such-file.json"], "no-such-file.json is no file"),
        (["plan", "--from", "/"], "/ is no file"),
        (["gateway", "--port", "70000"], "--port"),
        (["gateway", "--host", " "], "it is empty"),
        (["gateway", "--config", "no-such-file.toml"], "no-such-file.toml"),
        (["gateway", "hash-key", "a-key"], "give the key on standard input"),
        (["dance"], "dance"),
    ],
)
def test_an_option_that_cannot_work_is_named_and_exits_2(arguments, expected):
    result = CliRunner().invoke(command_line.app, arguments)
    assert result.exit_code == 2
    assert expected in result.stderr


def test_help_leaves_the_commands_own_imports_for_later():
    code = "import sys, avatarpool.cli.main; print(*sys.modules)"
    result = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(result.stdout.split())
    assert loaded.isdisjoint({"pydantic_settings", "rich.progress", "avatarpool.cli.run", "uvloop"})
    assert loaded.isdisjoint(
        {"asyncio", "google.protobuf", "avatarpool.pool", "avatarpool.service"}
    )


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (OSError(28, "No space left on device"), 1, "No space left on device"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_is_expected_to_fail_gives_a_sentence_and_no_traceback(
    monkeypatch, capsys, error, code, sentence
):
    def fail():
        raise error

    monkeypatch.setattr(command_line, "app", fail)
    with pytest.raises(SystemExit) as exit_:
        command_line.main()
    assert exit_.value.code == code
    assert sentence in capsys.readouterr().err
