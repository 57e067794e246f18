"""An animation as a file of numbers; docs/reference.md describes the kinds."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from avatarpool.animate.animation import Animation, Tick
from avatarpool.exceptions import AvatarSDKError, AvatarSDKErrorCode
from avatarpool.protocol.codec import encode, encode_delimited
from avatarpool.protocol.keyframes import FRAMES_PER_SECOND
from avatarpool.protocol.varints import prefixed, varint

MARK_FIELD = 10_000
"""Number of the string field with the mark in the last message of a ``.pb``."""

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


def write_json(animation: Animation, file: BinaryIO, tick: Tick) -> None:
    """Write one JSON object: what it was made of, and a list of the keyframes.

    Raises:
        AvatarSDKError: As `write_jsonl`.
    """
    begin = begin_json(animation)
    for keyframe in _keyframes(animation):
        file.write((begin + compact(keyframe)).encode())
        begin = ",\n"
        tick()
    file.write(b"\n]}\n")


def begin_json(animation: Animation) -> str:
    """Return what a JSON object says before its keyframes."""
    head = {
        "source": animation.mark or None,
        "seconds": round(animation.seconds, _DECIMALS),
        "frames_per_second": FRAMES_PER_SECOND,
    }
    return compact(head)[:-1] + ',"keyframes":[\n'


def write_jsonl(animation: Animation, file: BinaryIO, tick: Tick) -> None:
    """Write a JSON object per keyframe and line: its time in seconds and its fields.

    The first says besides what they were made of.

    Raises:
        AvatarSDKError: A value is infinite or no number, which JSON cannot say
            (``protocolError``).
    """
    source = {"source": animation.mark} if animation.mark else {}
    for keyframe in _keyframes(animation):
        file.write(compact(keyframe | source).encode() + b"\n")
        source = {}
        tick()


def _keyframes(animation: Animation) -> Iterator[dict[str, object]]:
    for number, keyframe in enumerate(animation.keyframes()):
        values: dict[str, object] = {"time": keyframe.time}
        for name in _WIDTHS:
            field = getattr(keyframe, name)
            if not all(map(math.isfinite, field)):
                raise AvatarSDKError(
                    AvatarSDKErrorCode.protocolError,
                    f"keyframe {number + 1} has a value that is infinite or no number: write .npz",
                )
            values[name] = [round(value, _DECIMALS) for value in field]
        yield values


def compact(value: object) -> str:
    """Return JSON without spaces; a value that is infinite or no number is a ValueError."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


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
    arrays["time"] = np.arange(count, dtype=np.float32) / np.float32(FRAMES_PER_SECOND)
    # What np.savez_compressed does too, which has no place for the mark.
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = animation.mark.encode()
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def write_pb(animation: Animation, file: BinaryIO, tick: Tick) -> None:
    """Write the messages as they came, each after its length as a varint.

    The last one has one field more, which readers pass over as one they do not know.
    """
    *others, last = animation.frames
    for frame in others:
        file.write(encode_delimited(frame))
        tick()
    # A field that follows a serialised message belongs to it.
    mark = varint(MARK_FIELD << 3 | 2) + prefixed(animation.mark.encode())
    file.write(prefixed(encode(last) + mark))
    tick()
