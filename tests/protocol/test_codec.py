from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avatarpool.exceptions import AvatarSDKError, AvatarSDKErrorCode
from avatarpool.protocol.codec import audio_parts, decode, encode
from avatarpool.protocol.messages import (
    AnimationFrame,
    AudioInput,
    ConfigureSession,
    ConfirmSession,
    Interrupt,
    Message,
    Pause,
    PlaybackState,
    Resume,
    ServerError,
    UnknownMessage,
)
from avatarpool.protocol.settings import AgoraEgressConfig, AudioFormat, LiveKitEgressConfig

text = st.text(max_size=40)
ids = st.text(min_size=1, max_size=40)
int32 = st.integers(-(2**31), 2**31 - 1)
texts = st.dictionaries(text, text, max_size=4)

livekit = st.builds(
    LiveKitEgressConfig,
    url=text,
    api_key=text,
    api_secret=text,
    api_token=text,
    room_name=text,
    publisher_id=text,
    extra_attributes=texts,
    idle_timeout=int32,
)
agora = st.builds(
    AgoraEgressConfig,
    channel_name=text,
    token=text,
    uid=st.integers(0, 2**32 - 1),
    publisher_id=text,
)
egress = st.one_of(
    st.just({}),
    livekit.map(lambda config: {"livekit_egress": config}),
    agora.map(lambda config: {"agora_egress": config}),
)
messages = st.one_of(
    st.builds(
        lambda egress, **fields: ConfigureSession(**egress, **fields),
        egress=egress,
        sample_rate=int32,
        audio_format=st.sampled_from(AudioFormat),
        bitrate=int32,
        extra_params=texts,
    ),
    st.builds(ConfirmSession, text, st.lists(text, max_size=3).map(tuple)),
    st.builds(AudioInput, text, st.binary(), st.booleans(), text, text),
    st.builds(Interrupt, text),
    st.builds(Pause, text),
    st.builds(Resume, text),
    st.builds(ServerError, int32, text, text, text),
    st.builds(AnimationFrame, text, st.booleans(), st.binary(), text, text),
    st.builds(
        PlaybackState,
        text,
        st.sampled_from(["unspecified", "playing", "paused", "ended", "interrupted"]),
        st.integers(-(2**63), 2**63 - 1),
        text,
        text,
    ),
)


@given(messages)
def test_every_message_survives_the_wire(message: Message):
    data = encode(message)
    assert decode(data) == message
    assert decode(memoryview(data)) == message


# --- the documented field numbers, written by hand ---------------------------


def varint(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + varint(value >> 7)


def wire(*fields: tuple[int, object]) -> bytes:
    """Write protobuf fields; a tuple of fields is a message inside the message."""
    data = b""
    for number, value in fields:
        if isinstance(value, int):
            data += varint(number << 3) + varint(value)
        else:
            inner = wire(*value) if isinstance(value, tuple) else value
            inner = inner.encode() if isinstance(inner, str) else inner
            data += varint(number << 3 | 2) + varint(len(inner)) + inner
    return data


DOCUMENTED: list[tuple[Message, bytes]] = [
    (
        ConfigureSession(16000, AudioFormat.OGG_OPUS, 32000, extra_params={"k": "v"}),
        wire((1, 1), (2, ((1, 16000), (2, 32000), (3, 1), (8, ((1, "k"), (2, "v")))))),
    ),
    (
        ConfigureSession(
            8000,
            AudioFormat.PCM_S16LE,
            livekit_egress=LiveKitEgressConfig(
                url="u",
                api_key="k",
                api_secret="s",
                room_name="r",
                publisher_id="p",
                extra_attributes={"a": "b"},
                idle_timeout=7,
                api_token="t",
            ),
        ),
        wire(
            (1, 1),
            (
                2,
                (
                    (1, 8000),
                    (5, 1),
                    (
                        6,
                        (
                            (1, "u"),
                            (2, "k"),
                            (3, "s"),
                            (4, "r"),
                            (5, "p"),
                            (6, ((1, "a"), (2, "b"))),
                            (7, 7),
                            (8, "t"),
                        ),
                    ),
                ),
            ),
        ),
    ),
    (
        ConfigureSession(
            8000,
            AudioFormat.PCM_S16LE,
            agora_egress=AgoraEgressConfig("c", "t", 9, "p"),
        ),
        wire((1, 1), (2, ((1, 8000), (5, 2), (7, ((1, "c"), (2, "t"), (3, 9), (4, "p")))))),
    ),
    (
        ConfirmSession("c-1", ("playback_control", "playback_state")),
        wire((1, 2), (3, ((1, "c-1"), (2, "playback_control"), (2, "playback_state")))),
    ),
    (
        AudioInput("r-1", b"\x01\x02", end=True, traceparent="00-1", tracestate="a=b"),
        wire((1, 3), (4, ((1, "r-1"), (2, 1), (3, b"\x01\x02"), (4, ((1, "00-1"), (2, "a=b")))))),
    ),
    (
        ServerError(4001, "credits exhausted", "c-1", "r-1"),
        wire((1, 4), (5, ((1, "c-1"), (2, "r-1"), (3, 4001), (4, "credits exhausted")))),
    ),
    (
        AnimationFrame("r-1", end=True, animation=b"\x0a\x00", connection_id="c-1", avatar_id="a"),
        wire((1, 5), (6, ((1, "c-1"), (2, "r-1"), (3, 1), (4, b"\x0a\x00"), (5, "a")))),
    ),
    (AnimationFrame("r-1"), wire((1, 5), (6, ((2, "r-1"),)))),
    (AudioInput("r-1", b""), wire((1, 3), (4, ((1, "r-1"),)))),
    (Interrupt("r-1"), wire((1, 7), (8, ((1, "r-1"),)))),
    (Pause("r-1"), wire((1, 8), (9, ((1, "r-1"),)))),
    (Resume("r-1"), wire((1, 9), (10, ((1, "r-1"),)))),
    (
        PlaybackState("r-1", "interrupted", 1500, "barge-in", "c-1"),
        wire((1, 10), (11, ((1, "c-1"), (2, "r-1"), (3, 4), (4, 1500), (5, "barge-in")))),
    ),
]


@pytest.mark.parametrize(
    ("message", "data"), DOCUMENTED, ids=[type(message).__name__ for message, _ in DOCUMENTED]
)
def test_messages_have_the_documented_field_numbers(message: Message, data: bytes):
    assert encode(message) == data
    assert decode(data) == message


@pytest.mark.parametrize(
    ("state", "number"), [("unspecified", 0), ("playing", 1), ("paused", 2), ("ended", 3)]
)
def test_playback_states_have_the_documented_numbers(state: str, number: int):
    data = wire((1, 10), (11, ((2, "r-1"), *([(3, number)] if number else []))))
    assert encode(PlaybackState("r-1", state)) == data


# --- audio joined by hand ----------------------------------------------------------


@given(
    req_id=ids,
    audio=st.one_of(st.binary(), st.sampled_from([127, 128, 16383, 16384, 560_000]).map(bytes)),
    end=st.booleans(),
    traceparent=text,
    tracestate=text,
)
def test_audio_joined_by_hand_is_what_protobuf_writes(
    req_id: str, audio: bytes, end, traceparent: str, tracestate: str
):
    written = encode(AudioInput(req_id, audio, end, traceparent, tracestate))
    trace = {"traceparent": traceparent, "tracestate": tracestate}
    for data in (audio, memoryview(audio)):
        assert b"".join(audio_parts(req_id, data, end=end, **trace)) == written


# --- what a peer may send -------------------------------------------------------------


@given(messages, st.integers(20, 1000), st.binary())
def test_unknown_fields_are_ignored(message: Message, number: int, value: bytes):
    assert decode(encode(message) + wire((number, value))) == message


@pytest.mark.parametrize("number", [0, 6, 11, 77])
def test_an_unknown_type_is_an_unknown_message(number: int):
    assert decode(wire((1, number), (6, ((2, "r-1"),)))) == UnknownMessage(number)


def test_an_unknown_playback_state_reads_as_unspecified():
    for number in (5, 2**64 - 1):  # 2**64 - 1 is protobuf's -1
        message = decode(wire((1, 10), (11, ((2, "r-1"), (3, number)))))
        assert message == PlaybackState("r-1", "unspecified")


def test_an_unknown_audio_format_is_a_protocol_error():
    with pytest.raises(AvatarSDKError, match="audio format 9 is unknown") as caught:
        decode(wire((1, 1), (2, ((1, 16000), (3, 9)))))
    assert caught.value.code is AvatarSDKErrorCode.protocolError


@pytest.mark.parametrize(
    ("kind", "field"),
    [(1, "client_configure_session"), (3, "client_audio_input"), (5, "server_response_animation")],
)
def test_a_type_without_its_contents_is_a_protocol_error(kind: int, field: str):
    for data in (wire((1, kind)), wire((1, kind), (3, ((1, "c-1"),)))):
        with pytest.raises(AvatarSDKError, match=f"type {kind} does not carry {field}") as caught:
            decode(data)
        assert caught.value.code is AvatarSDKErrorCode.protocolError
        assert caught.value.phase == "websocket_runtime"


def test_bytes_that_are_no_message_are_a_protocol_error_with_their_size():
    with pytest.raises(AvatarSDKError, match="message of 3 bytes cannot be decoded") as caught:
        decode(b"\x22\x7f\x00")
    assert caught.value.code is AvatarSDKErrorCode.protocolError


def only_protocol_errors(data: bytes) -> None:
    try:
        decode(data)
    except AvatarSDKError as error:
        assert error.code is AvatarSDKErrorCode.protocolError  # noqa: PT017  # or it decodes


@given(st.binary())
def test_arbitrary_bytes_raise_protocol_errors_alone(data: bytes):
    only_protocol_errors(data)


@given(messages, st.data())
def test_damaged_messages_raise_protocol_errors_alone(message: Message, data: st.DataObject):
    damaged = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    only_protocol_errors(bytes(damaged))
    only_protocol_errors(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))
