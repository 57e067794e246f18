"""An animation in the terms of other faces: ARKit's weights and Oculus' visemes."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

from avatarpool.animate.animation import Animation, Tick
from avatarpool.animate.files import begin_json, compact
from avatarpool.blendshapes import ARKIT, ROTATIONS, Basis, arkit, visemes
from avatarpool.protocol.keyframes import FRAMES_PER_SECOND, Keyframe

_DECIMALS = 6
_NAMES = (*ARKIT, *ROTATIONS)


def write_arkit_json(
    animation: Animation, file: BinaryIO, tick: Tick, basis: Basis | None = None
) -> None:
    """Write what ``.json`` has, with `arkit`'s weights in place of FLAME's parameters."""
    _write(animation, file, tick, lambda keyframe: arkit(keyframe, basis))


def write_visemes_json(
    animation: Animation, file: BinaryIO, tick: Tick, basis: Basis | None = None
) -> None:
    """Write what ``.json`` has, with the weights of `visemes` in place of FLAME's parameters."""
    _write(animation, file, tick, lambda keyframe: visemes(keyframe, basis))


def _write(
    animation: Animation, file: BinaryIO, tick: Tick, of: Callable[[Keyframe], dict[str, float]]
) -> None:
    begin = begin_json(animation)
    for keyframe in animation.keyframes():
        weights = {name: round(weight, _DECIMALS) for name, weight in of(keyframe).items()}
        file.write((begin + compact({"time": keyframe.time} | weights)).encode())
        begin = ",\n"
        tick()
    file.write(b"\n]}\n")


def write_arkit_csv(
    animation: Animation, file: BinaryIO, tick: Tick, basis: Basis | None = None
) -> None:
    """Write a row per keyframe under the columns of Live Link Face's recordings.

    The timecode is hours, minutes, seconds and frames of the speech, at 25 a second. What
    cannot be known is left empty.
    """
    columns = [name[0].upper() + name[1:] for name in _NAMES]
    file.write((",".join(["Timecode", "BlendShapeCount", *columns]) + "\n").encode())
    for number, keyframe in enumerate(animation.keyframes()):
        weights = arkit(keyframe, basis)
        cells = [f"{weights[name]:.{_DECIMALS}f}" if name in weights else "" for name in _NAMES]
        file.write((",".join([_timecode(number), str(len(_NAMES)), *cells]) + "\n").encode())
        tick()


def _timecode(number: int) -> str:
    seconds, frame = divmod(number, FRAMES_PER_SECOND)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}:{frame:02}.000"
