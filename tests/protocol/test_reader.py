"""A reader that remembers the frame before must tell the same as one that does not."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from avatarpool.exceptions import AvatarSDKError
from avatarpool.protocol.codec import decode, encode
from avatarpool.protocol.messages import AnimationFrame, Interrupt, Message
from avatarpool.protocol.reader import MessageReader
from avatarpool.protocol.varints import prefixed

names = st.sampled_from(["", "r-1", "r-2", "ü"])
# Few values and sizes, so that frames resemble each other more often than not.
animations = st.lists(st.sampled_from(b"\0\x22\x2a\x01\xff"), max_size=4).map(bytes)
frames = st.builds(AnimationFrame, names, st.booleans(), animations, names, names)
fields = st.permutations([b"\x0a\x01c", b"\x12\x01r", b"\x22\x02ab", b"\x22\x02cd", b"\x2a\x02cd"])


def read(reader: MessageReader | None, data: bytes) -> Message | str:
    try:
        return reader.read(data) if reader else decode(data)
    except AvatarSDKError as error:
        return error.message


@given(st.lists(frames, min_size=3))
def test_what_is_read_does_not_depend_on_what_was_read_before(sent: list[AnimationFrame]):
    reader = MessageReader()
    assert [reader.read(encode(frame)) for frame in sent] == sent


@given(st.lists(st.tuples(fields, animations), min_size=3))
@example([([b"\x22\x01x", b"\x2a\x01x"], b"")] * 3 + [([b"\x22\x01x", b"\x2a\x01y"], b"")])
def test_fields_in_any_order_and_number_are_read_as_they_are(
    sent: list[tuple[list[bytes], bytes]],
):
    reader = MessageReader()
    for parts, more in sent:
        body = b"".join(parts) + more  # often no protobuf any more
        data = b"\x08\x05\x32" + bytes([len(body)]) + body
        assert read(reader, data) == read(None, data)


@given(st.lists(st.tuples(frames, st.integers(0, 60), st.integers(0, 255)), min_size=3))
def test_a_byte_that_differs_makes_a_difference(sent: list[tuple[AnimationFrame, int, int]]):
    reader = MessageReader()
    like = encode(AnimationFrame("r-1", animation=b"abcd", connection_id="c", avatar_id="a"))
    for frame, place, byte in sent:
        for message in (encode(frame), like):
            data = bytearray(message)
            data[place % len(data)] = byte
            assert read(reader, bytes(data)) == read(None, bytes(data))
            assert read(reader, like) == read(None, like)


def test_other_messages_may_come_in_between():
    reader = MessageReader()
    frame = AnimationFrame("r-1", animation=b"a" * 300, connection_id="c")
    like = AnimationFrame("r-1", animation=b"b" * 300, connection_id="c")
    for message in (frame, frame, Interrupt("r-1"), like, frame):
        assert reader.read(encode(message)) == message


@given(frames, st.binary())
def test_a_frame_is_its_message_however_it_was_read(frame: AnimationFrame, unknown: bytes):
    reader = MessageReader()
    for data in (encode(frame), encode(frame) + b"\x7a" + prefixed(unknown)):
        for _ in range(4):
            message = reader.read(data)
            assert isinstance(message, AnimationFrame)
            assert bytes(message) is data


def test_a_frame_like_the_two_before_is_not_decoded(monkeypatch: pytest.MonkeyPatch):
    reader = MessageReader()
    sent = [AnimationFrame("r-1", False, bytes([n]) * 300, "c", "a") for n in range(4)]
    assert [reader.read(encode(frame)) for frame in sent[:2]] == sent[:2]
    monkeypatch.setattr("avatarpool.protocol.reader.decode", None)
    assert [reader.read(encode(frame)) for frame in sent[2:]] == sent[2:]
