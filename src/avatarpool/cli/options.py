"""Options whose values a range alone does not check, and those that have names for them."""

from __future__ import annotations

import math
import re
from enum import Enum
from pathlib import Path

import typer

_DAY = 86400.0
_RATE = re.compile(r"([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)(?:\s*/\s*(s|min|h))?", re.ASCII)
_UNIT_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}


class AnimationFormat(str, Enum):
    """What an animation is written as; an output's suffix."""

    JSON = "json"
    JSONL = "jsonl"
    NPZ = "npz"
    PB = "pb"
    ARKIT_JSON = "arkit.json"
    ARKIT_CSV = "arkit.csv"
    VISEMES_JSON = "visemes.json"
    RHUBARB_JSON = "rhubarb.json"
    RHUBARB_TSV = "rhubarb.tsv"
    PAPAGAYO_DAT = "papagayo.dat"
    GLB = "glb"
    MP4 = "mp4"
    GIF = "gif"
    PNG = "png"

    @property
    def is_text(self) -> bool:
        """Whether a terminal can show it."""
        return self in (AnimationFormat.JSON, AnimationFormat.JSONL) or (
            self.is_face and self is not AnimationFormat.GLB
        )

    @property
    def is_face(self) -> bool:
        """Whether it is in the terms of other faces than the service's."""
        return "." in self.value or self is AnimationFormat.GLB

    @property
    def endings(self) -> tuple[str, ...]:
        """What its files' names may end with: all of it, or what is behind its last dot."""
        return f".{self.value}", f".{self.value.rpartition('.')[2]}"

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


def per_second(text: str) -> float:
    """Read a rate: ``4``, ``4/s``, ``240/min`` or ``14400/h``."""
    match = _RATE.fullmatch(text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is no rate: say 4/s, 240/min, 14400/h or 4")
    value = float(match[1]) / _UNIT_SECONDS[match[2] or "s"]
    if not 0 < value <= 1e9:
        raise typer.BadParameter(f"{text} must be above 0 and at most 1e9 a second")
    return value


def not_empty(value: str) -> str:
    """Refuse an empty value."""
    if not value.strip():
        raise typer.BadParameter("it is empty")
    return value


def file_or_dash(file: Path | None) -> Path | None:
    """Refuse what is neither a file nor ``-``, for standard input."""
    if file is not None and str(file) != "-" and (not file.exists() or file.is_dir()):
        raise typer.BadParameter(f"{file} is no file")
    return file


def basis_or_local(file: Path | None) -> Path | None:
    """Refuse what is neither a file nor ``local``, for the local service's basis."""
    if file is not None and str(file) != "local" and not file.is_file():
        raise typer.BadParameter(f"{file} is no file: name one, or say local")
    return file


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
