"""``--env-file``: variables from a file, where the environment has none."""

from __future__ import annotations

import os
from io import StringIO
from pathlib import Path
from typing import Annotated

import typer

_MAX_CHARACTERS = 1_000_000


def load_env_file(context: typer.Context, file: Path | None) -> Path | None:
    """Set the variables of a file that are unset or empty.

    Raises:
        BadParameter: The file cannot be read or understood; its contents are not quoted.
    """
    if file is None or context.resilient_parsing:
        return file
    for name, value in _variables(file).items():
        if value and not os.environ.get(name):
            try:
                os.environ[name] = value
            except ValueError as error:  # a null character
                raise typer.BadParameter(
                    f"{file}: a name or value cannot be a variable's"
                ) from error
    return file


EnvFile = Annotated[
    Path | None,
    typer.Option(
        "--env-file",
        exists=True,
        dir_okay=False,
        callback=load_env_file,
        help="Read variables from this file, NAME=value a line; the environment's own win.",
    ),
]


def _variables(file: Path) -> dict[str, str | None]:
    from dotenv import dotenv_values  # noqa: PLC0415 - for those who have such a file
    from dotenv.parser import parse_stream  # noqa: PLC0415

    try:
        with file.open(encoding="utf-8-sig") as lines:
            text = lines.read(_MAX_CHARACTERS + 1)
    except OSError as error:
        raise typer.BadParameter(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"{file} is no UTF-8 text") from error
    if len(text) > _MAX_CHARACTERS:
        raise typer.BadParameter(f"{file} has over {_MAX_CHARACTERS:,} characters")
    for binding in parse_stream(StringIO(text)):
        if binding.error:
            raise typer.BadParameter(f"line {binding.original.line} of {file} is no NAME=value")
    return dotenv_values(stream=StringIO(text))
