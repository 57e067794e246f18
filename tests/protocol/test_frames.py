"""A frame is the message that it came as, and what that says."""

from __future__ import annotations

import copy
import io
import pickle
import struct
import time

import pytest
from google.protobuf.proto import parse_length_prefixed
from hypothesis import given
from hypothesis import strategies as st

from avatarpool.exceptions import AvatarSDKError
from avatarpool.protocol import frames as module
from avatarpool.protocol.codec import decode, encode, encode_delimited
from avatarpool.protocol.frames import AnimationFrame, keyframes_of
from avatarpool.protocol.keyframes import Keyframe, encode_keyframes
from avatarpool.protocol.varints import prefixed, varint
from avatarpool.protocol.wire.envelope_pb2 import Envelope, OpaqueAnimation

text = st.one_of(st.text(max_size=40), st.sampled_from([127, 128, 2000]).map("ü".__mul__))
sizes = st.sampled_from([0, 1, 127, 128, 500, 20_000]).map(bytes)
frames = st.builds(AnimationFrame, text, st.booleans(), st.one_of(st.binary(), sizes), text, text)

FIELDS = (b"\x0a\x03c-1", b"\x12\x03r-1", b"\x18\x01", b"\x22\x03c-1", b"\x2a\x01a")
FRAME = AnimationFrame("r-1", end=True, animation=b"c-1", connection_id="c-1", avatar_id="a")
UNKNOWN = b"\x7a\x05hello"  # field 15, which no version has


def message_of(body: bytes) -> bytes:
    return b"\x08\x05\x32" + prefixed(body)


def decoded(data: bytes | memoryview) -> AnimationFrame:
    frame = decode(data)
    assert isinstance(frame, AnimationFrame)
    return frame


# --- the message as it came ---------------------------------------------------------


@given(frames)
def test_a_frame_that_is_made_is_the_message_that_protobuf_writes(frame: AnimationFrame):
    body = OpaqueAnimation(
        req_id=frame.req_id,
        end=frame.end,
        connection_id=frame.connection_id,
        avatar_id=frame.avatar_id,
    )
    if frame.animation:
        body.animation = frame.animation
    envelope = Envelope(type=5, server_response_animation=body)  # type: ignore[arg-type]
    assert bytes(frame) == envelope.SerializeToString()


@given(frames)
def test_a_frame_holds_the_message_that_came_and_no_copy_of_it(frame: AnimationFrame):
    data = bytes(frame)
    received = decoded(data)
    assert bytes(received) is data
    assert encode(received) is data
    assert received == frame


def test_a_view_of_a_buffer_that_is_used_again_is_copied():
    buffer = bytearray(bytes(FRAME))
    frame = decoded(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert frame == FRAME
    assert bytes(frame) == bytes(FRAME)


@given(st.permutations([*FIELDS, UNKNOWN]), st.sampled_from([b"", UNKNOWN]))
def test_a_message_in_the_words_of_another_service_stays_as_it_is(fields: list[bytes], more: bytes):
    data = message_of(b"".join(fields)) + more
    frame = decoded(data)
    assert bytes(frame) is data
    assert len(frame) == len(data)
    assert frame == FRAME
    assert hash(frame) == hash(FRAME)


def test_an_animation_that_comes_twice_is_the_last():
    data = message_of(b"\x22\x02ab" + b"".join(FIELDS))
    assert decoded(data) == FRAME
    assert bytes(decoded(data)) == data


def test_a_message_that_is_made_to_be_searched_for_long_is_not():
    start = b"\x22" + varint(4_000_005)
    half = start * 400_000
    animation = half + b"break" + half
    # It seems to begin at each of these, and goes wrong in the middle.
    data = message_of(b"\x7a" + prefixed(start * 390) + start + animation)
    began = time.process_time()
    frame = decoded(data)
    assert time.process_time() - began < 0.4
    assert frame.animation == animation


@given(st.lists(frames, max_size=5))
def test_an_answer_in_a_file_is_read_back(answer: list[AnimationFrame]):
    parts = [part for frame in answer for part in (struct.pack(">I", len(frame)), bytes(frame))]
    file = io.BytesIO(b"".join(parts))
    read = []
    while length := file.read(4):
        read.append(decoded(file.read(*struct.unpack(">I", length))))
    assert read == answer
    assert [bytes(frame) for frame in read] == [bytes(frame) for frame in answer]


def test_an_answer_in_protobufs_own_form_keeps_its_unknown_fields():
    sent = message_of(b"".join(FIELDS) + UNKNOWN)
    file = io.BytesIO(encode_delimited(decoded(sent)) * 2)
    for _ in range(2):
        envelope = parse_length_prefixed(Envelope, file)
        assert envelope is not None
        assert envelope.SerializeToString() == sent


def test_names_of_any_length_are_written_and_long_ones_not_remembered():
    for letter in "abc":
        frame = AnimationFrame(letter * 5000, animation=b"1", avatar_id="ü" * 5000)
        before = module._around.cache_info().currsize
        assert decoded(bytes(frame)) == frame
        assert frame.avatar_id == "ü" * 5000
        assert module._around.cache_info().currsize == before


# --- a value ------------------------------------------------------------------------


def test_a_frame_says_what_it_was_made_of():
    frame = AnimationFrame("r-1", True, b"\x0a\x00", "c-1", "a")
    assert (frame.req_id, frame.end, frame.animation) == ("r-1", True, b"\x0a\x00")
    assert (frame.connection_id, frame.avatar_id) == ("c-1", "a")
    bare = AnimationFrame("r-1")
    assert (bare.end, bare.animation, bare.connection_id, bare.avatar_id) == (False, b"", "", "")
    match frame:
        case AnimationFrame(req_id, True, animation):
            assert (req_id, animation) == ("r-1", b"\x0a\x00")


def test_the_length_of_a_frame_is_its_messages_and_the_shortest_is_still_true():
    assert len(AnimationFrame("r-1", animation=bytes(300))) == 2 + 3 + 5 + 3 + 300
    assert len(AnimationFrame("")) == 4
    assert bool(AnimationFrame(""))


def test_a_frame_is_no_tuple():
    assert not isinstance(FRAME, tuple)
    assert FRAME != ("r-1", True, b"c-1", "c-1", "a")
    with pytest.raises(TypeError):
        iter(FRAME)  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        FRAME[0]  # type: ignore[index]


@pytest.mark.parametrize(
    "name", ["req_id", "end", "animation", "connection_id", "avatar_id", "keyframes", "note"]
)
def test_a_frame_does_not_change(name: str):
    with pytest.raises(AttributeError):
        setattr(FRAME, name, b"")
    with pytest.raises(AttributeError):
        delattr(FRAME, name)


@pytest.mark.parametrize(
    "other",
    [
        AnimationFrame("r-2", True, b"c-1", "c-1", "a"),
        AnimationFrame("r-1", False, b"c-1", "c-1", "a"),
        AnimationFrame("r-1", True, b"c-2", "c-1", "a"),
        AnimationFrame("r-1", True, b"c-1", "c-2", "a"),
        AnimationFrame("r-1", True, b"c-1", "c-1", "b"),
    ],
)
def test_frames_are_equal_whose_five_values_are(other: AnimationFrame):
    assert other != FRAME
    assert len({FRAME, other, AnimationFrame("r-1", True, b"c-1", "c-1", "a")}) == 2


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_frame_travels_between_processes_as_it_is(protocol: int):
    sent = [decoded(message_of(b"".join(FIELDS) + UNKNOWN)), FRAME]
    came = pickle.loads(pickle.dumps(sent, protocol))  # noqa: S301  # our own
    assert came == sent
    assert [bytes(frame) for frame in came] == [bytes(frame) for frame in sent]


@pytest.mark.parametrize("copied", [copy.copy(FRAME), copy.deepcopy(FRAME)])
def test_a_copy_shares_the_message(copied: AnimationFrame):
    assert copied == FRAME
    assert bytes(copied) is bytes(FRAME)


def test_a_frame_shows_how_much_it_brings_and_not_what():
    assert repr(AnimationFrame("r-1", animation=b"\x07" * 1000, connection_id="c-1")) == (
        "AnimationFrame(req_id='r-1', end=False, 1000 bytes, connection_id='c-1')"
    )


# --- keyframes ----------------------------------------------------------------------


def test_a_frame_decodes_its_keyframes_when_asked():
    keyframe = Keyframe(jaw_pose=(0.25, 0.0, 0.0))
    frame = AnimationFrame("r-1", animation=encode_keyframes([keyframe]))
    assert frame.has_animation
    assert frame.keyframes == (keyframe,)


def test_keyframes_have_their_time_in_the_message_or_in_the_request():
    def frame(*jaws):
        keyframes = [Keyframe(jaw_pose=(jaw, 0.0, 0.0)) for jaw in jaws]
        return AnimationFrame("r-1", animation=encode_keyframes(keyframes))

    frames = [frame(0.0, 0.25), AnimationFrame("r-1"), frame(0.5)]
    assert [keyframe.time for keyframe in frames[0].keyframes] == [0.0, 0.04]
    assert [keyframe.time for keyframe in frames[2].keyframes] == [0.0]
    in_request = list(keyframes_of(frames))
    assert [(k.jaw_pose[0], k.time) for k in in_request] == [(0.0, 0.0), (0.25, 0.04), (0.5, 0.08)]
    assert [keyframe.time for keyframe in keyframes_of(frames[2:], first=2)] == [0.08]
    assert in_request[1].time * frames[0].fps == 1


def test_keyframes_of_one_pose_are_equal_at_any_time():
    assert Keyframe(jaw_pose=(0.25,), time=1.0) == Keyframe(jaw_pose=(0.25,))
    assert hash(Keyframe(time=1.0)) == hash(Keyframe())


def test_a_last_frame_may_be_empty():
    frame = AnimationFrame("r-1", end=True)
    assert not frame.has_animation
    assert frame.keyframes == ()


def test_a_frame_with_a_broken_animation_raises_only_when_keyframes_are_asked_for():
    frame = AnimationFrame("r-1", animation=b"\x0a\x7f")
    with pytest.raises(AvatarSDKError):
        _ = frame.keyframes
