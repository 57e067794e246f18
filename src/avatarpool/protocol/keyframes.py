"""Keyframes: FLAME parameters as plain tuples of floats, without numpy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from avatarpool.exceptions import AvatarSDKError, AvatarSDKErrorCode
from avatarpool.protocol.wire.message_pb2 import Flame, FlameAnimation

FRAMES_PER_SECOND = 25
"""Keyframes per second of audio, a fact of the service."""

FRAME_MS = 1000 // FRAMES_PER_SECOND


@dataclass(frozen=True, slots=True)
class Keyframe:
    """One pose of the face: 40 ms of the animation.

    Shapes and units are the wire protocol's; rotations are axis-angle in
    radians.

    Attributes:
        translation: 3 values, the head's place.
        rotation: 3 values, the head's rotation.
        neck_pose: 3 values.
        jaw_pose: 3 values; the first opens the jaw.
        eye_pose: 6 values, left eye then right eye.
        eye_lid: 2 values, left and right: 0 open, 1 closed.
        expression: 50 to 100 coefficients of the expression basis.
        time: When it begins, in seconds from the beginning of what it was read
            from: a message, or a request (`keyframes_of`). Poses are equal at any time.
    """

    translation: tuple[float, ...] = ()
    rotation: tuple[float, ...] = ()
    neck_pose: tuple[float, ...] = ()
    jaw_pose: tuple[float, ...] = ()
    eye_pose: tuple[float, ...] = ()
    eye_lid: tuple[float, ...] = ()
    expression: tuple[float, ...] = ()
    time: float = field(default=0.0, compare=False)


def encode_keyframes(keyframes: Iterable[Keyframe]) -> bytes:
    """Serialise keyframes as a ``FlameAnimation``."""
    return FlameAnimation(
        keyframes=[
            Flame(
                translation=k.translation,
                rotation=k.rotation,
                neck_pose=k.neck_pose,
                jaw_pose=k.jaw_pose,
                eye_pose=k.eye_pose,
                eye_lid=k.eye_lid,
                expression=k.expression,
            )
            for k in keyframes
        ]
    ).SerializeToString()


def count_keyframes(animation: bytes) -> int:
    """Return how many keyframes a serialised ``FlameAnimation`` has.

    Raises:
        AvatarSDKError: The bytes are no ``FlameAnimation`` (``protocolError``).
    """
    return len(_parsed(animation).keyframes)


def decode_keyframes(animation: bytes, first: int = 0) -> tuple[Keyframe, ...]:
    """Read the keyframes of a serialised ``FlameAnimation``.

    Args:
        animation: The message.
        first: Number of its first keyframe, which tells their time.

    Raises:
        AvatarSDKError: The bytes are no ``FlameAnimation`` (``protocolError``).
    """
    flames = _parsed(animation).keyframes
    return tuple(
        Keyframe(
            tuple(f.translation),
            tuple(f.rotation),
            tuple(f.neck_pose),
            tuple(f.jaw_pose),
            tuple(f.eye_pose),
            tuple(f.eye_lid),
            tuple(f.expression),
            number / FRAMES_PER_SECOND,
        )
        for number, f in enumerate(flames, start=first)
    )


def _parsed(animation: bytes) -> FlameAnimation:
    try:
        return FlameAnimation.FromString(animation)
    except DecodeError as error:
        raise AvatarSDKError(
            AvatarSDKErrorCode.protocolError,
            f"animation of {len(animation)} bytes cannot be decoded",
            phase="websocket_runtime",
        ) from error
