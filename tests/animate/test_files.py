"""Animations as files of numbers."""

import io
import json
import math
from dataclasses import fields

import numpy as np
import pytest
from google.protobuf.proto import parse_length_prefixed
from google.protobuf.unknown_fields import UnknownFieldSet

from avatarpool import AvatarSDKError, Keyframe
from avatarpool.animate import Animation
from avatarpool.animate.files import MARK_FIELD, write_json, write_jsonl, write_npz, write_pb
from avatarpool.animate.origin import mark_of, read_mark
from avatarpool.protocol.keyframes import encode_keyframes
from avatarpool.protocol.messages import AnimationFrame
from avatarpool.protocol.wire.message_pb2 import Message

POSES = [
    Keyframe((1.0, 2.0, 3.0), (0.1,) * 3, (), (0.25, 0.0, 0.0), (0.0,) * 6, (1.0, 0.5), (0.75,)),
    Keyframe(jaw_pose=(0.125, 0.0, 0.0), expression=tuple(index / 64 for index in range(60))),
    Keyframe(),
]
# Two keyframes in the first message, one in the second, none in the last.
FRAMES = [
    AnimationFrame("r1", animation=encode_keyframes(POSES[:2]), connection_id="c1", avatar_id="a"),
    AnimationFrame("r1", animation=encode_keyframes(POSES[2:]), connection_id="c1", avatar_id="a"),
    AnimationFrame("r1", end=True, connection_id="c1"),
]


@pytest.fixture
def written():
    """Write the animation with one of the functions; gives the file and the ticks."""

    def write(function):
        file, ticks = io.BytesIO(), []
        function(Animation(b"", FRAMES), file, lambda: ticks.append(1))
        file.seek(0)
        return file, len(ticks)

    return write


def test_json_is_one_object_with_the_keyframes(written):
    file, ticks = written(write_json)
    animation = json.load(file)
    assert list(animation) == ["source", "seconds", "frames_per_second", "keyframes"]
    assert (animation["seconds"], animation["frames_per_second"], ticks) == (0.0, 25, 3)
    lines = [json.loads(line) for line in written(write_jsonl)[0]]
    assert animation["keyframes"] == lines


@pytest.mark.parametrize("write", [write_json, write_jsonl, write_npz, write_pb])
def test_every_format_carries_the_mark_of_its_speech(tmp_path, write):
    output = tmp_path / "output"
    with output.open("w+b") as file:
        write(Animation(b"", FRAMES * 300, mark_of(b"speech")), file, lambda: None)
    assert read_mark(output) == mark_of(b"speech")


def test_a_reader_of_pb_passes_over_the_mark():
    file = io.BytesIO()
    write_pb(Animation(b"", FRAMES, "a mark"), file, lambda: None)
    file.seek(0)
    messages = []
    while (message := parse_length_prefixed(Message, file)) is not None:
        messages.append(message)
    assert [list(UnknownFieldSet(message)) for message in messages[:2]] == [[], []]
    (unknown,) = UnknownFieldSet(messages[2])
    assert (unknown.field_number, unknown.data) == (MARK_FIELD, b"a mark")
    assert messages[2].server_response_animation.end


def test_jsonl_has_a_line_per_keyframe_with_its_time_and_all_fields(written):
    file, ticks = written(write_jsonl)
    lines = [json.loads(line) for line in file]
    assert ticks == len(lines) == 3
    assert [line["time"] for line in lines] == [0.0, 0.04, 0.08]
    names = [field.name for field in fields(Keyframe) if field.name != "time"]
    assert all(list(line) == ["time", *names] for line in lines)
    assert lines[0]["rotation"] == [0.1, 0.1, 0.1]  # and not what a float32 makes of it
    assert lines[0]["neck_pose"] == []
    assert lines[1]["expression"] == [round(index / 64, 6) for index in range(60)]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_jsonl_has_no_word_for_what_is_no_number(value):
    keyframes = [Keyframe(), Keyframe(jaw_pose=(value, 0.0, 0.0))]
    frame = AnimationFrame("r1", animation=encode_keyframes(keyframes))
    with pytest.raises(AvatarSDKError, match="keyframe 2 has a value that is infinite or no num"):
        write_jsonl(Animation(b"", [frame]), io.BytesIO(), lambda: None)


def test_npz_has_a_float32_row_per_keyframe_filled_up_with_zeros(written):
    file, ticks = written(write_npz)
    arrays = np.load(file)
    assert ticks == 3
    assert {name: array.shape for name, array in arrays.items()} == {
        "time": (3,),
        "translation": (3, 3),
        "rotation": (3, 3),
        "neck_pose": (3, 3),
        "jaw_pose": (3, 3),
        "eye_pose": (3, 6),
        "eye_lid": (3, 2),
        "expression": (3, 60),
    }
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(arrays["time"], [0.0, 0.04, 0.08])
    assert arrays["jaw_pose"][:, 0].tolist() == [0.25, 0.125, 0.0]
    assert arrays["expression"][0, :2].tolist() == [0.75, 0.0]
    assert arrays["expression"][1, 59] == 59 / 64


def test_npz_of_a_short_expression_has_the_least_that_the_service_documents(written):
    file = io.BytesIO()
    frame = AnimationFrame("r1", animation=encode_keyframes(POSES[:1]))
    write_npz(Animation(b"", [frame]), file, lambda: None)
    file.seek(0)
    assert np.load(file)["expression"].shape == (1, 50)


def test_pb_has_the_messages_as_they_came_for_any_protobuf_library(written):
    file, ticks = written(write_pb)
    messages = []
    while (message := parse_length_prefixed(Message, file)) is not None:
        messages.append(message.server_response_animation)
    assert ticks == len(messages) == 3
    assert [message.end for message in messages] == [False, False, True]
    assert [len(message.animation.keyframes) for message in messages] == [2, 1, 0]
    assert {(message.req_id, message.connection_id) for message in messages} == {("r1", "c1")}
    assert messages[0].animation.keyframes[0].eye_lid == [1.0, 0.5]
    assert not messages[2].HasField("animation")
