"""An animation as a file of numbers; docs/reference.md describes the three kinds."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import BinaryIO

import numpy as np

from avatarpool.animate.animation import Animation, Tick
from avatarpool.exceptions import AvatarSDKError, AvatarSDKErrorCode
from avatarpool.protocol.codec import encode_delimited
from avatarpool.protocol.keyframes import FRAMES_PER_SECOND, Keyframe

_DECIMALS = 6  # a millionth of a radian; a float32 near 1 has hardly more

# The values that each field has at least; the expression basis is the service's own.
_WIDTHS = {
    "translation": 3,
    "rotation": 3,
    "neck_pose": 3,
    "jaw_pose": 3,
    "eye_pose": 6,
    "eye_lid": 2,
    "expression": 50,
}
_FIELDS = [field.name for field in fields(Keyframe)]


def write_jsonl(animation: Animation, file: BinaryIO, tick: Tick) -> None:
    """Write a JSON object per keyframe and line: its time in seconds and its fields.

    Raises:
        AvatarSDKError: A value is infinite or no number, which JSON cannot say
            (``protocolError``).
    """
    for number, keyframe in enumerate(animation.keyframes()):
        line: dict[str, object] = {"time": number / FRAMES_PER_SECOND}
        for name in _FIELDS:
            line[name] = [round(value, _DECIMALS) for value in getattr(keyframe, name)]
        try:
            text = json.dumps(line, separators=(",", ":"), allow_nan=False)
        except ValueError as error:
            raise AvatarSDKError(
                AvatarSDKErrorCode.protocolError,
                f"keyframe {number + 1} has a value that is infinite or no number: write .npz",
            ) from error
        file.write(text.encode() + b"\n")
        tick()


def write_npz(animation: Animation, file: BinaryIO, tick: Tick) -> None:
    """Write a float32 array per field, a row per keyframe, and ``time`` in seconds.

    Values that a keyframe lacks are 0.
    """
    count, widths = 0, dict(_WIDTHS)
    for keyframe in animation.keyframes():
        count += 1
        for name, width in widths.items():
            widths[name] = max(width, len(getattr(keyframe, name)))
    arrays = {name: np.zeros((count, width), np.float32) for name, width in widths.items()}
    for row, keyframe in enumerate(animation.keyframes()):
        for name, array in arrays.items():
            values = getattr(keyframe, name)
            array[row, : len(values)] = values
        tick()
    time = np.arange(count, dtype=np.float32) / np.float32(FRAMES_PER_SECOND)
    np.savez_compressed(file, time=time, **arrays)  # type: ignore[arg-type]  # none is allow_pickle


def write_pb(animation: Animation, file: BinaryIO, tick: Tick) -> None:
    """Write the messages as they came, each after its length as a varint."""
    for frame in animation.frames:
        file.write(encode_delimited(frame))
        tick()
