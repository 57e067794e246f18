"""Reads the files and variables that settings are in; all of bounded size."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from avatarpool.gateway.showing import quoted

_MOST_FILE_BYTES = 1024 * 1024
_MOST_VALUE_BYTES = 64 * 1024


class DanglingError(Exception):
    """What is named cannot be had; the message is a phrase without its contents."""


def read_toml(file: Path) -> dict[str, Any]:
    """Return the tables of a file.

    Raises:
        DanglingError: It cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(_content(file, _MOST_FILE_BYTES))
    except RecursionError:
        raise DanglingError("has lists too deep in each other") from None
    except ValueError as error:
        # Its words are about names and places, and not about values.
        raise DanglingError(f"is no TOML: {quoted(str(error))}") from None


def referred_to(stated: str, folder: Path) -> str:
    """Return a value, or that of the variable or file that it names.

    Args:
        stated: ``env:NAME``, ``file:PATH``, or the value itself.
        folder: Where paths are from.

    Raises:
        DanglingError: There is no such thing; the message begins with the reference.
    """
    kind, _, name = stated.partition(":")
    if kind == "env":
        value = os.environ.get(name, "")
        if not value:
            raise DanglingError(f"{quoted(stated)} names no variable that is set")
        return value
    if kind == "file":
        try:
            value = _content(folder / name, _MOST_VALUE_BYTES)
        except DanglingError as error:
            raise DanglingError(f"{quoted(stated)} {error}") from None
        return value.removesuffix("\n").removesuffix("\r")
    return stated


def _content(file: Path, most_bytes: int) -> str:
    try:
        if not file.is_file():  # one that is a pipe might never end
            raise DanglingError("is no file")
        with file.open("rb") as opened:
            content = opened.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise DanglingError(f"has over {most_bytes} bytes")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise DanglingError(f"cannot be read: {(error.strerror or 'it fails').lower()}") from None
    except UnicodeDecodeError:
        raise DanglingError("is no UTF-8 text") from None
