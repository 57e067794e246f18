"""Frames under other ids are the same frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avatarpool.protocol.codec import decode, encode
from avatarpool.protocol.frames import AnimationFrame
from avatarpool.protocol.readdressing import Readdressing
from avatarpool.protocol.varints import prefixed

IDS = st.text(max_size=200)


@given(st.tuples(IDS, st.booleans(), st.binary(max_size=500), IDS, IDS), IDS, IDS)
def test_ids_are_exchanged_and_nothing_else(theirs, connection_id, req_id):
    readdressing = Readdressing(connection_id, req_id)
    for _ in range(2):
        came = decode(encode(AnimationFrame(*theirs)))
        _, end, animation, _, avatar_id = theirs
        frame = decode(readdressing.message(came))
        assert frame == AnimationFrame(req_id, end, animation, connection_id, avatar_id)


def test_the_animation_is_not_copied_and_the_rest_is_as_it_came():
    animation = bytes(range(256)) * 3
    unknown = b"\xfa\x01\x03new"  # of the body; behind it one of the message
    known = bytes(AnimationFrame("their-request", False, animation, "their-connection", "avatar"))
    body = known[5:] + unknown  # after the type, the tag and a length of two bytes
    came = decode(b"\x08\x05\x32" + prefixed(body) + b"\xa2\x06\x04more")
    head, tail = Readdressing("mine", "my-request").parts(came)
    assert tail.obj is bytes(came)
    assert bytes(tail).endswith(animation + b"\x2a\x06avatar" + unknown + b"\xa2\x06\x04more")
    again = decode(head + bytes(tail))
    assert again == AnimationFrame("my-request", False, animation, "mine", "avatar")


def test_what_is_written_in_another_way_is_written_anew():
    # The ids in the opposite order, as no writer of protobuf's has them.
    body = b"\x12\x03req" + b"\x0a\x04conn" + b"\x22\x02hi"
    came = decode(b"\x08\x05\x32" + prefixed(body))
    message = Readdressing("mine", "my-request").message(came)
    assert decode(message) == AnimationFrame("my-request", False, b"hi", "mine")


def test_frames_of_several_requests_pass_through_one():
    readdressing = Readdressing("mine", "my-request")
    for theirs in ("first", "second", "first"):
        came = decode(bytes(AnimationFrame(theirs, False, b"face", "conn")))
        assert decode(readdressing.message(came)).req_id == "my-request"


@pytest.mark.parametrize(("connection_id", "req_id"), [("conn", ""), ("", "req"), ("", "")])
def test_ids_of_a_frame_do_not_pass_behind_one_that_has_fewer(connection_id, req_id):
    whole = AnimationFrame("req", False, b"face", "conn")
    fewer = AnimationFrame(req_id, False, b"", connection_id)
    fewer = AnimationFrame(req_id, False, bytes(len(whole) - len(fewer) - 2), connection_id)
    assert bytes(fewer)[:4] == bytes(whole)[:4]  # as long as each other
    readdressing = Readdressing("mine", "my-request")
    for came in (fewer, whole, fewer):
        frame = decode(readdressing.message(decode(bytes(came))))
        assert frame == AnimationFrame("my-request", False, came.animation, "mine")
