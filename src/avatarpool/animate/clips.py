"""Which files are animated, and where their animations go."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from avatarpool.animate.origin import mark_of, mark_of_file
from avatarpool.animate.outputs import writing
from avatarpool.audio import AUDIO_SUFFIXES, read_audio
from avatarpool.protocol.settings import DEFAULT_SAMPLE_RATE

SAMPLE_RATE = DEFAULT_SAMPLE_RATE
"""Samples per second of the audio that is sent."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A speech file and the file that its animation becomes.

    Attributes:
        source: The speech file.
        output: Where the animation goes.
        audio: The speech itself where it is no file: from a pipe.
        stream: What the animation is written to where that is no file.
    """

    source: Path
    output: Path
    audio: bytes | None = field(default=None, repr=False, compare=False)
    stream: BinaryIO | None = field(default=None, repr=False, compare=False)

    @contextmanager
    def writing(self) -> Iterator[BinaryIO]:
        """Open what becomes the output when the block ends well; otherwise nothing does.

        Raises:
            OSError: It cannot be written.
        """
        if self.stream is not None:
            yield self.stream
        else:
            with writing(self.output) as file:
                yield file

    def read(self) -> tuple[bytes, str]:
        """Read the speech; blocks.

        Returns:
            Its samples as a session takes them, and the mark of what is made of it.

        Raises:
            AudioError: It is no speech that can be read.
            OSError: The file cannot be read.
        """
        if self.audio is not None:
            return read_audio(self.audio, sample_rate=SAMPLE_RATE), mark_of(self.audio)
        # The mark first: should the file change in between, the output is out of date.
        mark = mark_of_file(self.source)
        return read_audio(self.source, sample_rate=SAMPLE_RATE), mark


def find_clips(folder: Path, outputs: Path, suffix: str) -> list[Clip]:
    """Find the speech files of a folder and of those in it, sorted by path.

    A folder that cannot be searched is among them: reading it fails, and says why.

    Args:
        folder: Where to look.
        outputs: The folder of the outputs; it gets the same folders in it.
        suffix: What ends an output's name in place of its clip's suffix. Where that
            could be another clip's output too, it keeps its clip's before the new one.
    """
    unreadable: list[Path] = []
    tree = os.walk(folder, onerror=lambda error: unreadable.append(Path(error.filename)))
    found = [Path(parent, name) for parent, _, names in tree for name in names]
    speech = [file for file in found if file.suffix.lower() in AUDIO_SUFFIXES and file.is_file()]
    sources = sorted(speech + unreadable)
    # Of a name without its suffix; a file may have it with one, as a.wav beside a.wav.wav.
    uses = Counter([*sources, *(source.with_suffix("") for source in sources)])
    clips = []
    for source in sources:
        stem = source.with_suffix("")
        output = outputs / (source if uses[stem] > 1 else stem).relative_to(folder)
        clips.append(Clip(source, output.with_name(output.name + suffix)))
    return clips


def find_namesakes(clips: Sequence[Clip]) -> list[Clip]:
    """Return the clips whose outputs keep their suffix, since another's has the same name."""
    return [
        clip
        for clip in clips
        if clip.source.suffix and clip.output.name.startswith(f"{clip.source.name}.")
    ]
