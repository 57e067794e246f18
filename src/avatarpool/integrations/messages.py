"""What a client gets of a face: one message for each piece of it, whatever brings it there."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from math import isfinite
from typing import Literal, get_args

from avatarpool.blendshapes import Basis, arkit, visemes
from avatarpool.exceptions import ConfigurationError
from avatarpool.integrations.turn import Face
from avatarpool.protocol.frames import AnimationFrame, keyframes_of
from avatarpool.protocol.keyframes import FRAMES_PER_SECOND, Keyframe

MESSAGE_TYPE = "avatarpool.frames"
"""What is in ``type`` of each message with frames."""

Output = Literal["message", "flame", "arkit", "visemes"]

_DIGITS = 5  # behind the point: what one sees of a face is in the first three


def message_writer(
    output: Output, basis: Basis | None
) -> Callable[[Face], dict[str, object] | None]:
    """Return what makes messages of faces; of one that has nothing to show it makes none.

    A message is what JSON can have::

        {"type": "avatarpool.frames", "context_id": ..., "req_id": ..., "start_ms": 0,
         "fps": 25, "frames": [...]}

    Args:
        output: What ``frames`` are. ``message``: the service's serialised messages in base64,
            for the vendors' clients; ``flame``: an object for each keyframe, its values by
            their names in `Keyframe`; ``arkit`` and ``visemes``: weights by name, as of
            `avatarpool.blendshapes`.
        basis: Whose expression coefficients they are, for ``arkit`` and ``visemes``.

    Raises:
        ConfigurationError: There is no such output, or the basis is none.
    """
    if output not in get_args(Output):
        problem = f"output {output!r} is none of {', '.join(get_args(Output))}"
        raise ConfigurationError("a bot cannot have a face", [problem])
    if not isinstance(basis, Basis | None):
        problem = f"basis is no Basis but of type {type(basis).__name__}: Basis.load reads a file"
        raise ConfigurationError("a bot cannot have a face", [problem])
    frames_of = _writer(output, basis)

    def message_of(face: Face) -> dict[str, object] | None:
        frames = frames_of(face.frames)
        if not frames:
            return None
        return {
            "type": MESSAGE_TYPE,
            "context_id": face.turn,
            "req_id": face.frames[0].req_id,
            "start_ms": face.start_ms,
            "fps": FRAMES_PER_SECOND,
            "frames": frames,
        }

    return message_of


def _writer(
    output: Output, basis: Basis | None
) -> Callable[[Iterable[AnimationFrame]], list[object]]:
    """Return what makes ``frames`` of a message."""
    if output == "message":
        return lambda frames: [base64.b64encode(bytes(frame)).decode() for frame in frames]
    written: dict[str, Callable[[Keyframe], dict[str, object]]] = {
        "flame": _flame,
        "arkit": lambda keyframe: _rounded(arkit(keyframe, basis)),
        "visemes": lambda keyframe: _rounded(visemes(keyframe, basis)),
    }
    write = written[output]
    return lambda frames: [write(keyframe) for keyframe in keyframes_of(frames)]


def _flame(keyframe: Keyframe) -> dict[str, object]:
    names = ("translation", "rotation", "neck_pose", "jaw_pose", "eye_pose", "eye_lid")
    return {
        name: [_number(value) for value in getattr(keyframe, name)]
        for name in (*names, "expression")
    }


def _rounded(weights: dict[str, float]) -> dict[str, object]:
    return {name: _number(value) for name, value in weights.items()}


def _number(value: float) -> float:
    """Return what JSON can have of a number."""
    return round(value, _DIGITS) if isfinite(value) else 0.0
