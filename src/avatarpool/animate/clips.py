"""Which files are animated, and where their animations go."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

AUDIO_SUFFIXES = frozenset({".wav", ".ogg", ".opus", ".pcm", ".raw"})
"""Of the files in a folder that are taken for speech, in lower case."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A speech file and the file that its animation becomes."""

    source: Path
    output: Path

    @contextmanager
    def writing(self) -> Iterator[BinaryIO]:
        """Open a file beside the output, which takes its place when the block ends well.

        Otherwise nothing is left of it: an output that exists is whole.

        Raises:
            OSError: It cannot be written.
        """
        output = self.output
        output.parent.mkdir(parents=True, exist_ok=True)
        # With the process's number: another one may be at the same clip.
        part = output.with_name(f".{output.name}.{os.getpid()}.part")
        try:
            with naming(output):
                with part.open("wb") as file:
                    yield file
                part.replace(output)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Have errors name the file that they are about; that of a full disk names none."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(file)
        raise


def find_clips(folder: Path, outputs: Path, suffix: str) -> list[Clip]:
    """Find the speech files of a folder and of those in it, sorted by path.

    Args:
        folder: Where to look.
        outputs: The folder of the outputs; it gets the same folders in it.
        suffix: What ends an output's name in place of its clip's suffix. Where that
            could be another clip's output too, it keeps its clip's before the new one.
    """
    sources = sorted(
        source
        for source in folder.rglob("*")
        if source.suffix.lower() in AUDIO_SUFFIXES and source.is_file()
    )
    # Of a name without its suffix; a file may have it with one, as a.wav beside a.wav.wav.
    uses = Counter([*sources, *(source.with_suffix("") for source in sources)])
    clips = []
    for source in sources:
        stem = source.with_suffix("")
        output = outputs / (source if uses[stem] > 1 else stem).relative_to(folder)
        clips.append(Clip(source, output.with_name(output.name + suffix)))
    return clips
