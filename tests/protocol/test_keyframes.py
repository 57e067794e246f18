from __future__ import annotations

import struct
from math import isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avatarpool.exceptions import AvatarSDKError, AvatarSDKErrorCode
from avatarpool.protocol.keyframes import (
    FRAME_MS,
    FRAMES_PER_SECOND,
    Keyframe,
    decode_keyframes,
    encode_keyframes,
)


def floats(count: int) -> st.SearchStrategy[tuple[float, ...]]:
    # Of any bits, drawn at once: one by one they take seconds. What is no number equals nothing.
    return st.binary(min_size=4 * count, max_size=4 * count).map(
        lambda raw: tuple(0.0 if isnan(x) else x for x in struct.unpack(f"<{count}f", raw))
    )


keyframes = st.builds(
    Keyframe,
    translation=floats(3),
    rotation=floats(3),
    neck_pose=floats(3),
    jaw_pose=floats(3),
    eye_pose=floats(6),
    eye_lid=floats(2),
    expression=st.integers(50, 100).flatmap(floats),
)


@given(st.lists(keyframes, max_size=3).map(tuple))
def test_keyframes_survive_the_wire(some: tuple[Keyframe, ...]):
    assert decode_keyframes(encode_keyframes(some)) == some


def test_an_empty_animation_has_no_keyframes():
    assert decode_keyframes(b"") == ()


def test_each_parameter_has_its_documented_field_number():
    names = (
        "translation",
        "rotation",
        "neck_pose",
        "jaw_pose",
        "eye_pose",
        "eye_lid",
        "expression",
    )
    for number, name in enumerate(names, start=1):
        flame = bytes([number << 3 | 2, 4]) + struct.pack("<f", 0.5)  # packed floats
        animation = bytes([1 << 3 | 2, len(flame)]) + flame
        assert encode_keyframes([Keyframe(**{name: (0.5,)})]) == animation
        assert decode_keyframes(animation) == (Keyframe(**{name: (0.5,)}),)


def test_a_keyframe_lasts_40_ms():
    assert FRAMES_PER_SECOND * FRAME_MS == 1000


@given(st.binary())
def test_arbitrary_bytes_raise_protocol_errors_alone(data: bytes):
    try:
        decode_keyframes(data)
    except AvatarSDKError as error:
        assert error.code is AvatarSDKErrorCode.protocolError  # noqa: PT017  # or it decodes


def test_bytes_that_are_no_animation_are_a_protocol_error_with_their_size():
    with pytest.raises(AvatarSDKError, match="animation of 2 bytes cannot be decoded") as caught:
        decode_keyframes(b"\x0a\x7f")
    assert caught.value.code is AvatarSDKErrorCode.protocolError
