"""An animation as pictures of the face of ``avatarpool view``."""

from __future__ import annotations

from typing import BinaryIO

from avatarpool.animate import SAMPLE_RATE, Animation, Tick, Write
from avatarpool.cli.options import AnimationFormat
from avatarpool.view.contact_sheet import write_contact_sheet
from avatarpool.view.film import write_gif, write_mp4


def _mp4(animation: Animation, file: BinaryIO, tick: Tick) -> None:
    write_mp4(file, animation.keyframes(), animation.pcm, SAMPLE_RATE, tick)


def _gif(animation: Animation, file: BinaryIO, tick: Tick) -> None:
    write_gif(file, animation.keyframes(), tick)


def _sheet(animation: Animation, file: BinaryIO, tick: Tick) -> None:
    count = sum(1 for _ in animation.keyframes())
    write_contact_sheet(file, animation.keyframes(), count, tick)


WRITERS: dict[AnimationFormat, Write] = {
    AnimationFormat.MP4: _mp4,
    AnimationFormat.GIF: _gif,
    AnimationFormat.PNG: _sheet,
}
"""What makes each kind of picture."""
