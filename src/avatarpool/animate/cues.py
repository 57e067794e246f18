"""An animation as mouth cues, one drawn mouth after another: Rhubarb's and Papagayo's files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from typing import BinaryIO, NamedTuple

from avatarpool.animate.animation import Animation, Tick
from avatarpool.blendshapes import Basis, visemes

PAPAGAYO_FPS = 24
"""Frames a second of ``papagayo.dat``, which does not say so: Papagayo's and Moho's own."""

# The mouth of Rhubarb's that each viseme looks most like. H, a tongue behind the
# teeth, is none that lips tell.
_RHUBARB = {
    "sil": "X",
    "PP": "A",
    "FF": "G",
    "TH": "B",
    "DD": "B",
    "kk": "B",
    "CH": "B",
    "SS": "B",
    "nn": "B",
    "RR": "E",
    "aa": "D",
    "E": "C",
    "ih": "B",
    "oh": "E",
    "ou": "F",
}

# Rhubarb's mouths under the names of Preston Blair's, as it maps them itself.
_PAPAGAYO = {
    "A": "MBP",
    "B": "etc",
    "C": "E",
    "D": "AI",
    "E": "O",
    "F": "U",
    "G": "FV",
    "X": "rest",
}


class Cue(NamedTuple):
    """A mouth, named as Rhubarb does, from its time (seconds) until the next one's."""

    start: float
    mouth: str


def write_rhubarb_json(
    animation: Animation, file: BinaryIO, tick: Tick, basis: Basis | None = None
) -> None:
    """Write what ``rhubarb -f json`` does, and in its ``metadata`` the ``source``."""
    cues = list(_cues(animation, tick, basis))
    seconds = _seconds(animation)
    ends = [*(cue.start for cue in cues[1:]), seconds]
    document = {
        "metadata": {
            "soundFile": animation.name,
            "duration": seconds,
            "source": animation.mark or None,
        },
        "mouthCues": [
            {"start": round(cue.start, 2), "end": round(end, 2), "value": cue.mouth}
            for cue, end in zip(cues, ends, strict=True)
        ],
    }
    file.write(json.dumps(document, indent=2).encode() + b"\n")


def write_rhubarb_tsv(
    animation: Animation, file: BinaryIO, tick: Tick, basis: Basis | None = None
) -> None:
    """Write what ``rhubarb -f tsv`` does: times and mouths, at last the end and a shut one."""
    cues = [*_cues(animation, tick, basis), Cue(_seconds(animation), "X")]
    file.writelines(f"{cue.start:.2f}\t{cue.mouth}\n".encode() for cue in cues)


def write_papagayo(
    animation: Animation, file: BinaryIO, tick: Tick, basis: Basis | None = None
) -> None:
    """Write Papagayo's switch data for Moho, frames counted from 1; at last a rest."""
    cues = [*_cues(animation, tick, basis), Cue(_seconds(animation), "X")]
    # Two that begin in one frame are one: the later.
    mouths = {1 + int(cue.start * PAPAGAYO_FPS + 1e-6): _PAPAGAYO[cue.mouth] for cue in cues}
    file.write(b"MohoSwitch1\n")
    file.writelines(f"{frame} {mouth}\n".encode() for frame, mouth in mouths.items())


def _cues(animation: Animation, tick: Tick, basis: Basis | None) -> Iterator[Cue]:
    """Yield the mouths: of each keyframe that of its foremost viseme, joined where they repeat."""
    end = _seconds(animation)
    seen = _seen(animation, tick, basis)
    for mouth, together in groupby(seen, key=lambda cue: cue.mouth):
        start = next(together).start
        if start < end or not start:  # a service may send more than there is speech
            yield Cue(start, mouth)


def _seen(animation: Animation, tick: Tick, basis: Basis | None) -> Iterator[Cue]:
    for keyframe in animation.keyframes():
        weights = visemes(keyframe, basis)
        yield Cue(keyframe.time, _RHUBARB[max(weights, key=weights.__getitem__)])
        tick()


def _seconds(animation: Animation) -> float:
    """The speech's length, cut to hundredths as Rhubarb does."""
    return int(animation.seconds * 100 + 1e-6) / 100
