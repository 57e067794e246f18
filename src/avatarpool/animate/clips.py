"""Which files are animated, and where their animations go."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from avatarpool.audio import AUDIO_SUFFIXES


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
        with naming(output, part):
            try:
                with part.open("wb") as file:
                    yield file
                part.replace(output)
            except BaseException:
                part.unlink(missing_ok=True)
                raise


@contextmanager
def naming(file: Path, part: Path | None = None) -> Iterator[None]:
    """Have errors name the file that they are about, and not its part.

    Those of a full disk name none by themselves.
    """
    try:
        yield
    except OSError as error:
        # RequestTimeout is an OSError too, of no file.
        if error.errno is not None and error.filename in (None, str(part)):
            error.filename = str(file)
        raise


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
