"""Options whose values a range alone does not check, and those that have names for them."""

from __future__ import annotations

import math
from enum import Enum
from pathlib import Path

import typer

_DAY = 86400.0


class AnimationFormat(str, Enum):
    """What an animation is written as; an output's suffix."""

    JSON = "json"
    JSONL = "jsonl"
    NPZ = "npz"
    PB = "pb"
    MP4 = "mp4"
    GIF = "gif"
    PNG = "png"

    @property
    def is_text(self) -> bool:
        """Whether a terminal can show it."""
        return self in (AnimationFormat.JSON, AnimationFormat.JSONL)

    @property
    def is_picture(self) -> bool:
        """Whether it is painted."""
        return self in (AnimationFormat.MP4, AnimationFormat.GIF, AnimationFormat.PNG)


class DriverName(str, Enum):
    """What may move the lips: `avatarpool.lipsync` has the drivers."""

    MODEL = "model"
    DSP = "dsp"
    VISEMES = "visemes"


def number(help: str, *, min: float, max: float | None = None) -> object:  # noqa: A002 - typer's
    """Describe an option that takes a finite number."""
    return typer.Option(min=min, max=max, callback=_finite, help=help)


def seconds(help: str, *, min: float = 0.001) -> object:  # noqa: A002 - typer's names
    """Describe an option that takes seconds, a day's at most."""
    return number(help, min=min, max=_DAY)


def not_empty(value: str) -> str:
    """Refuse an empty value."""
    if not value.strip():
        raise typer.BadParameter("it is empty")
    return value


def there_or_piped(file: Path) -> Path:
    """Refuse a file or folder that is not there; ``-`` stands for standard input."""
    if str(file) != "-" and not file.exists():
        raise typer.BadParameter(f"{file} does not exist")
    return file


def writable(file: Path | None) -> Path | None:
    """Refuse a file that cannot be written, before there is anything to write."""
    if file is not None and not file.is_fifo():  # its reader would take a close for the end
        is_new = not file.exists()
        try:
            file.open("a").close()
            if is_new:
                file.unlink()
        except OSError as error:
            raise typer.BadParameter(f"cannot write {file}: {error.strerror}") from error
    return file


def _finite(value: float | None) -> float | None:
    # A range lets NaN through, which is neither below nor above anything.
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no finite number")
    return value
