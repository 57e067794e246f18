"""What ``avatarpool animate`` has to do: decided before anything is written."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from avatarpool.animate import (
    Clip,
    find_clips,
    find_namesakes,
    is_made_of,
    prepare,
)
from avatarpool.audio import AUDIO_SUFFIXES, MAX_AUDIO_BYTES
from avatarpool.cli.options import AnimationFormat
from avatarpool.cli.streams import note
from avatarpool.exceptions import AudioError, ConfigurationError

PIPE = Path("-")
"""Standard input or output in place of a file."""


@dataclass(frozen=True, slots=True)
class AnimateOptions:
    """What the command was asked for.

    Attributes:
        speech: A speech file, a folder of them, or `PIPE`.
        output: The file to write, the folder of the files, or `PIPE`.
        format: Of a folder's outputs, and of standard output.
        is_forced: Whether to make outputs anew, whatever they were made of.
        keeps: Whether to keep outputs, whatever they were made of.
        pool_size: Sessions to keep open: clips at the same time.
        session_ttl_minutes: How long a session may live.
        patience: Seconds in which each frame must come.
        json_file: Where what became of the clips goes as JSON.
        basis: The service's expression basis: a file, or ``local``.
        model: What a ``.glb`` animates.
    """

    speech: Path
    output: Path
    format: AnimationFormat | None
    is_forced: bool
    keeps: bool
    pool_size: int
    session_ttl_minutes: float
    patience: float
    json_file: Path | None = None
    basis: Path | None = None
    model: Path | None = None

    @property
    def is_folder(self) -> bool:
        """Whether there may be many clips."""
        return self.speech != PIPE and self.speech.is_dir()


@dataclass(frozen=True, slots=True)
class Plan:
    """The clips to animate, and those whose outputs are kept."""

    to_do: Sequence[Clip]
    kept: Sequence[Clip]


def format_of(options: AnimateOptions) -> AnimationFormat:
    """Say what the outputs are written as.

    Raises:
        ConfigurationError: The options do not go together.
    """
    output = options.output
    if options.is_folder:
        if output == PIPE:
            raise misused("a folder's animations do not fit standard output: name a folder")
        if output.is_file():
            raise misused(f"{shown(output)} is a file, and for a folder it must be one, too")
        return options.format or AnimationFormat.JSONL
    if output == PIPE:
        kind = options.format or AnimationFormat.JSONL
        if not kind.is_text and sys.stdout.isatty():
            raise misused(
                f"standard output is a terminal, which cannot show {kind.value}: "
                "redirect it to a file or a pipe"
            )
        return kind
    if output.is_dir():
        raise misused(f"{shown(output)} is a folder: name the file to write")
    named = options.format or _kind_of(output.name)
    if named is None:
        *others, last = (kind.value for kind in AnimationFormat)
        raise misused(f"{shown(output)} must end with .{', .'.join(others)} or .{last}")
    if not _ends(output.name, named.endings):
        raise misused(f"{shown(output)} is no {named.value}: leave --format out")
    if options.format is None:
        _refuse_mixed_name(output, named)
    return named


def _kind_of(name: str) -> AnimationFormat | None:
    """The format that a name ends with; of several the longest, and the whole before a part."""
    for part in (0, 1):
        fitting = [kind for kind in AnimationFormat if _ends(name, kind.endings[part : part + 1])]
        if fitting:
            return max(fitting, key=lambda kind: len(kind.value) if part == 0 else 0)
    return None


def _refuse_mixed_name(output: Path, kind: AnimationFormat) -> None:
    """See that a name does not say another tool than its ending, as ``.rhubarb.csv`` does."""
    if kind.is_picture or kind is AnimationFormat.GLB:
        return  # which nobody takes for anything else
    tool = Path(output.name.lower()).stem.rpartition(".")[2]
    its = [each.value for each in AnimationFormat if each.value.startswith(f"{tool}.")]
    if its and kind.value not in its:
        raise misused(
            f"{shown(output)} names {tool} and would be {kind.value}: end it with "
            f".{' or .'.join(its)}, or say --format {kind.value}"
        )


def _ends(name: str, endings: tuple[str, ...]) -> bool:
    return Path(name).suffix != "" and name.lower().endswith(endings)


def make_plan(options: AnimateOptions, kind: AnimationFormat, means: str = "") -> Plan:
    """Find the clips, and see that their outputs can be written.

    Takes in standard input if that is the speech, and blocks while it does.

    Args:
        options: The command's.
        kind: What is written.
        means: What an output is made by, beside speech.

    Raises:
        ConfigurationError: The options cannot work.
        AudioError: Standard input is empty.
    """
    if options.is_forced and options.keeps:
        raise misused("--force makes outputs anew and --keep keeps them: leave one of them out")
    clips = _folder_clips(options, kind) if options.is_folder else [_one_clip(options)]
    _refuse_overwriting(clips)
    to_do: list[Clip] = []
    kept: list[Clip] = []
    for clip in clips:
        (kept if _is_kept(clip, options, means) else to_do).append(clip)
    if to_do:
        _prepare_folders(clips)
    return Plan(to_do, kept)


def misused(problem: str) -> ConfigurationError:
    """Make the error that ends the command before it has done anything."""
    return ConfigurationError("nothing was animated", [problem])


def shown(file: Path) -> str:
    """The name, unless a terminal would obey it or show nothing."""
    name = str(file)
    return name if name.isprintable() else repr(name)


def _one_clip(options: AnimateOptions) -> Clip:
    stream = None
    if options.output == PIPE:
        # Whole before the first byte goes out; without a name, nothing of it can be left.
        stream = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - closed by what sends it
    audio = None
    if options.speech == PIPE and not (options.keeps and options.output.is_file()):
        audio = _read_standard_input()
    return Clip(options.speech, options.output, audio, stream)


def _read_standard_input() -> bytes:
    if sys.stdin.isatty():
        raise misused("standard input is a terminal: pipe speech into it, or name a file")
    with open(0, "rb", closefd=False) as file:
        # A byte too many is for the reader to complain about.
        audio = file.read(MAX_AUDIO_BYTES + 1)
    if not audio:
        raise AudioError("standard input is empty: see whether the command before it failed")
    return audio


def _folder_clips(options: AnimateOptions, kind: AnimationFormat) -> list[Clip]:
    clips = find_clips(options.speech, options.output, f".{kind.value}")
    if not clips:
        suffixes = ", ".join(sorted(AUDIO_SUFFIXES))
        raise misused(f"there is no speech file in {shown(options.speech)} ({suffixes})")
    if namesakes := find_namesakes(clips):
        first = namesakes[0]
        note(
            f"{len(namesakes)} files differ from others in their suffix alone, and their outputs "
            f"keep it: {shown(first.source)} becomes {shown(first.output)}."
        )
    return clips


def _refuse_overwriting(clips: Sequence[Clip]) -> None:
    speech = {os.path.realpath(clip.source) for clip in clips}
    for clip in clips:
        if clip.output == PIPE or not clip.output.exists():
            continue
        is_itself = clip.source.exists() and clip.output.samefile(clip.source)
        if is_itself or os.path.realpath(clip.output) in speech:
            raise misused(f"{shown(clip.output)} is speech to animate: choose another output")


def _is_kept(clip: Clip, options: AnimateOptions, means: str) -> bool:
    if options.is_forced or clip.output == PIPE:
        return False
    if options.keeps:
        return clip.output.exists()
    return clip.audio is None and is_made_of(clip.output, clip.source, means)


def _prepare_folders(clips: Sequence[Clip]) -> None:
    places = [Path(os.path.realpath(clip.output)) for clip in clips if clip.stream is None]
    for folder in {place.parent for place in places}:
        try:
            prepare(folder)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise misused(f"cannot write to {shown(folder)}: {reason}") from error
