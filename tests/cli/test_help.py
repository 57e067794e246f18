"""Help: short, long, and whole at any width."""

import re

import pytest
import typer
from typer.testing import CliRunner

from avatarpool.cli.main import app

GROUP = typer.main.get_command(app)
COMMANDS = ["", *GROUP.commands]


def shown(*arguments, columns=80):
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": str(columns)})
    assert result.exit_code == 0, result.stderr
    return result.stdout


def packed(text):
    """The text without the spaces and line ends that depend on a width."""
    return re.sub(r"\s|\x08", "", text)


@pytest.mark.parametrize("columns", [60, 80, 100])
@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_is_cut_at_any_width(name, columns):
    command = GROUP.commands.get(name, GROUP)
    text = shown(*name.split(), "--help", columns=columns)
    assert "…" not in text
    assert packed(command.help) in packed(text)
    assert command.params
    for parameter in command.params:
        if parameter.param_type_name == "option":
            assert set(parameter.opts) <= set(re.split(r"[\s,]+", text))
        assert packed(parameter.help) in packed(text)


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_the_list_of_commands_has_whole_sentences(columns):
    text = packed(shown("--help", columns=columns))
    for name, command in GROUP.commands.items():
        sentence, _, _ = command.help.partition("\n\n")
        assert packed(name + sentence) in text


@pytest.mark.parametrize("name", COMMANDS)
def test_h_is_short_for_help(name):
    assert shown(*name.split(), "-h") == shown(*name.split(), "--help")
