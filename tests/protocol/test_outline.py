from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from avatarpool.exceptions import AvatarSDKError
from avatarpool.protocol import outline as module
from avatarpool.protocol.codec import audio_parts, encode
from avatarpool.protocol.messages import AnimationFrame, ConfigureSession, Interrupt
from avatarpool.protocol.outline import outline
from avatarpool.protocol.settings import AudioFormat
from avatarpool.protocol.varints import prefixed, varint
from avatarpool.protocol.wire import message_pb2 as pb

PLENTY = 10**9


def audio_message(audio: bytes, req_id: str = "r-1") -> bytes:
    return b"".join(audio_parts(req_id, audio, end=True))


@pytest.mark.parametrize("size", [0, 1, 200, 70_000])
def test_audio_is_no_overhead_whatever_its_size(size):
    message = audio_message(bytes(size))
    kind, overhead = outline(message, PLENTY)

    assert kind == pb.MESSAGE_CLIENT_AUDIO_INPUT
    assert overhead == len(message) - size


@pytest.mark.parametrize(
    "message",
    [
        ConfigureSession(16000, AudioFormat.PCM_S16LE, extra_params={"a": "b" * 300}),
        Interrupt("r-1"),
        AnimationFrame("r-1", True, b"x" * 500),
    ],
)
def test_everything_else_is(message):
    data = encode(message)
    assert outline(data, PLENTY).overhead == len(data)


def test_no_more_is_looked_at_than_is_needed_to_know_that_it_is_too_much():
    fields = b"\x08\x63" * 1_000_000

    assert outline(fields, 100).overhead == 102  # as many numbers as fit, and one more
    assert outline(b"\x22\x00" * 1_000_000, 100).overhead == 102
    nested = b"\x08\x03\x22" + prefixed(b"\x1a\x00" * 1_000_000)
    assert outline(nested, 100).overhead < 110


@pytest.mark.parametrize("message", [b"\x22\x00" * 2047, b"\x22" + prefixed(b"\x1a\x00" * 2000)])
def test_no_more_fields_are_looked_at_than_any_message_has(monkeypatch, message):
    looked_at = []
    extent = module._extent
    monkeypatch.setattr(module, "_extent", lambda *a: looked_at.append(1) or extent(*a))

    assert outline(b"\x08\x03" + message, 4096).overhead > 4096
    assert len(looked_at) <= 66


def test_the_last_type_counts_as_protobuf_has_it():
    assert (
        outline(b"\x08\x63" + encode(Interrupt("r-1")), PLENTY).kind == pb.MESSAGE_CLIENT_INTERRUPT
    )


@pytest.mark.parametrize(
    "data",
    [
        b"\x22",  # no length
        b"\x22\x05abc",  # less than the length
        b"\x09abc",  # less than eight bytes
        b"\x0dabc",  # less than four
        b"\x08" + b"\xff" * 10 + b"\x01",  # a number without end
        b"\x0b\x0c",  # a group
        b"\x22\x03\x1a\x05a",  # audio beyond its message
    ],
)
def test_what_is_no_message_is_refused(data):
    with pytest.raises(AvatarSDKError, match=f"message of {len(data)} bytes cannot be decoded"):
        outline(data, PLENTY)


pieces = st.one_of(
    st.binary(max_size=40),
    st.builds(
        lambda number, n: varint(number << 3) + varint(n), st.integers(1, 40), st.integers(0)
    ),
    st.builds(
        lambda number, b: varint(number << 3 | 2) + prefixed(b), st.integers(1, 40), st.binary()
    ),
    st.builds(audio_message, st.binary(max_size=300)),
)


@given(st.lists(pieces, max_size=6).map(b"".join))
def test_what_protobuf_takes_is_taken_and_counted_or_refused(data: bytes):
    """It never says less than protobuf would build."""
    try:
        _, overhead = outline(data, PLENTY)
    except AvatarSDKError:
        return
    assert 0 <= overhead <= len(data) or overhead > PLENTY  # that many fields
    try:
        message = pb.Message.FromString(data)
    except DecodeError:
        return
    audio = len(message.client_audio_input.audio)
    assert overhead <= len(data) - audio or overhead > PLENTY
