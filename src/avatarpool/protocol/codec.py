"""Between bytes and messages: the only code that touches protobuf envelopes."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.message import DecodeError

from avatarpool.protocol.frames import AnimationFrame, FrameHeader, frame_of
from avatarpool.protocol.messages import (
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
from avatarpool.protocol.refusals import protocol_violation
from avatarpool.protocol.settings import AgoraEgressConfig, AudioFormat, LiveKitEgressConfig
from avatarpool.protocol.varints import prefixed, varint
from avatarpool.protocol.wire import message_pb2 as pb
from avatarpool.protocol.wire.envelope_pb2 import Envelope, OpaqueAnimation

_AUDIO_FORMATS = {
    AudioFormat.PCM_S16LE: pb.AUDIO_FORMAT_PCM_S16LE,
    AudioFormat.OGG_OPUS: pb.AUDIO_FORMAT_OGG_OPUS,
}
_AUDIO_FORMAT_OF = {number: name for name, number in _AUDIO_FORMATS.items()}

# Where fewer than 2,000 places are left to look at, bytes.find() compares at each as far as it
# fits: a second for 4 MB that a peer made for it, in place of 0.05 s.
_ROOM = bytes(4096)

_PLAYBACK_STATES = ("unspecified", "playing", "paused", "ended", "interrupted")


def decode(data: bytes | memoryview) -> Message:
    """Read one WebSocket message; unknown types give an `UnknownMessage`.

    A frame keeps the message: a view is copied for it, bytes are not.

    Raises:
        AvatarSDKError: The bytes are no protobuf message, or its type and its
            contents disagree (``protocolError``).
    """
    try:
        envelope = Envelope.FromString(data)  # type: ignore[arg-type]  # upb reads any buffer
    except DecodeError as error:
        raise protocol_violation(f"message of {len(data)} bytes cannot be decoded") from error
    kind = envelope.type
    reader = _READERS.get(kind)
    if reader is None:
        return UnknownMessage(kind)
    field, read = reader
    if not envelope.HasField(field):
        raise protocol_violation(f"message of type {kind} does not carry {field}")
    body = getattr(envelope, field)
    if read is _read_animation:
        return read(body, data if isinstance(data, bytes) else bytes(data))
    return read(body)


def is_known(kind: int) -> bool:
    """Whether messages of a type are more than an `UnknownMessage`."""
    return kind in _READERS


def encode(message: Message) -> bytes:
    """Serialise one message; a frame is what it came as."""
    if isinstance(message, AnimationFrame):
        return bytes(message)
    kind, field, write = _WRITERS[type(message)]
    envelope = Envelope(type=kind)
    body = getattr(envelope, field)
    body.SetInParent()
    write(body, message)
    return envelope.SerializeToString()


def encode_delimited(message: Message) -> bytes:
    """Serialise one message behind its length: so messages follow each other in a file."""
    return prefixed(encode(message))


def audio_parts(
    req_id: str,
    audio: bytes | memoryview,
    *,
    end: bool,
    traceparent: str = "",
    tracestate: str = "",
) -> tuple[bytes | memoryview, ...]:
    """Return the serialised `AudioInput` in parts, one of which is the audio itself.

    Building the same message as a protobuf object copies the audio twice; the
    bytes are the same.
    """
    head = b"\x0a" + prefixed(req_id.encode())
    if end:
        head += b"\x10\x01"
    if audio:
        head += b"\x1a" + varint(len(audio))
    tail = b""
    if traceparent or tracestate:
        trace = pb.TraceContext(traceparent=traceparent, tracestate=tracestate)
        tail = b"\x22" + prefixed(trace.SerializeToString())
    size = len(head) + len(audio) + len(tail)
    return b"\x08\x03\x22" + varint(size) + head, audio, tail


# --- reading -----------------------------------------------------------------


def _read_configure(body: pb.ClientConfigureSession) -> ConfigureSession:
    audio_format = _AUDIO_FORMAT_OF.get(body.audio_format)
    if audio_format is None:
        raise protocol_violation(f"audio format {body.audio_format} is unknown")
    livekit = agora = None
    if body.egress_type == pb.EGRESS_TYPE_LIVEKIT:
        livekit = LiveKitEgressConfig(
            url=body.livekit_egress.url,
            api_key=body.livekit_egress.api_key,
            api_secret=body.livekit_egress.api_secret,
            api_token=body.livekit_egress.api_token,
            room_name=body.livekit_egress.room_name,
            publisher_id=body.livekit_egress.publisher_id,
            extra_attributes=dict(body.livekit_egress.extra_attributes),
            idle_timeout=body.livekit_egress.idle_timeout,
        )
    elif body.egress_type == pb.EGRESS_TYPE_AGORA:
        agora = AgoraEgressConfig(
            channel_name=body.agora_egress.channel_name,
            token=body.agora_egress.token,
            uid=body.agora_egress.uid,
            publisher_id=body.agora_egress.publisher_id,
        )
    return ConfigureSession(
        sample_rate=body.sample_rate,
        audio_format=audio_format,
        bitrate=body.bitrate,
        livekit_egress=livekit,
        agora_egress=agora,
        extra_params=dict(body.extra_params),
    )


def _read_confirm(body: pb.ServerConfirmSession) -> ConfirmSession:
    return ConfirmSession(body.connection_id, tuple(body.capabilities))


def _read_audio(body: pb.ClientAudioInput) -> AudioInput:
    trace = body.trace_context
    return AudioInput(body.req_id, body.audio, body.end, trace.traceparent, trace.tracestate)


def _read_error(body: pb.ServerError) -> ServerError:
    return ServerError(body.code, body.message, body.connection_id, body.req_id)


def _read_animation(body: OpaqueAnimation, data: bytes) -> AnimationFrame:
    animation, avatar_id = body.animation, body.avatar_id
    # The last field but the avatar's name, as protobuf writes short ones.
    stop = len(data) - (len(avatar_id) + 2 if avatar_id else 0)
    start = stop - len(animation)
    if data[max(start, 0) : stop] != animation:  # written in another way
        # Its first occurrence may be part of something else; the bytes are the same.
        start = (data + _ROOM).find(animation)
        stop = start + len(animation)
    place = slice(start, stop)
    return frame_of(data, FrameHeader(body.req_id, body.end, body.connection_id, avatar_id, place))


def _read_playback(body: pb.ServerPlaybackState) -> PlaybackState:
    known = 0 <= body.state < len(_PLAYBACK_STATES)
    state = _PLAYBACK_STATES[body.state if known else 0]
    return PlaybackState(body.req_id, state, body.played_ms, body.reason, body.connection_id)


_READERS: dict[int, tuple[str, Callable[..., Message]]] = {
    pb.MESSAGE_CLIENT_CONFIGURE_SESSION: ("client_configure_session", _read_configure),
    pb.MESSAGE_SERVER_CONFIRM_SESSION: ("server_confirm_session", _read_confirm),
    pb.MESSAGE_CLIENT_AUDIO_INPUT: ("client_audio_input", _read_audio),
    pb.MESSAGE_SERVER_ERROR: ("server_error", _read_error),
    pb.MESSAGE_SERVER_RESPONSE_ANIMATION: ("server_response_animation", _read_animation),
    pb.MESSAGE_CLIENT_INTERRUPT: ("client_interrupt", lambda body: Interrupt(body.req_id)),
    pb.MESSAGE_CLIENT_PAUSE: ("client_pause", lambda body: Pause(body.req_id)),
    pb.MESSAGE_CLIENT_RESUME: ("client_resume", lambda body: Resume(body.req_id)),
    pb.MESSAGE_SERVER_PLAYBACK_STATE: ("server_playback_state", _read_playback),
}


# --- writing -----------------------------------------------------------------


def _write_configure(body: pb.ClientConfigureSession, message: ConfigureSession) -> None:
    body.sample_rate = message.sample_rate
    body.bitrate = message.bitrate
    body.audio_format = _AUDIO_FORMATS[AudioFormat(message.audio_format)]
    body.extra_params.update(message.extra_params)
    if message.livekit_egress is not None:
        livekit = message.livekit_egress
        body.egress_type = pb.EGRESS_TYPE_LIVEKIT
        body.livekit_egress.MergeFrom(
            pb.LiveKitEgressConfig(
                url=livekit.url,
                api_key=livekit.api_key,
                api_secret=livekit.api_secret,
                room_name=livekit.room_name,
                publisher_id=livekit.publisher_id,
                extra_attributes=livekit.extra_attributes,
                idle_timeout=livekit.idle_timeout,
                api_token=livekit.api_token,
            )
        )
    elif message.agora_egress is not None:
        agora = message.agora_egress
        body.egress_type = pb.EGRESS_TYPE_AGORA
        body.agora_egress.MergeFrom(
            pb.AgoraEgressConfig(
                channel_name=agora.channel_name,
                token=agora.token,
                uid=agora.uid,
                publisher_id=agora.publisher_id,
            )
        )


def _write_confirm(body: pb.ServerConfirmSession, message: ConfirmSession) -> None:
    body.connection_id = message.connection_id
    body.capabilities.extend(message.capabilities)


def _write_audio(body: pb.ClientAudioInput, message: AudioInput) -> None:
    body.req_id = message.req_id
    body.audio = message.audio
    body.end = message.end
    if message.traceparent or message.tracestate:
        body.trace_context.traceparent = message.traceparent
        body.trace_context.tracestate = message.tracestate


def _write_error(body: pb.ServerError, message: ServerError) -> None:
    body.connection_id = message.connection_id
    body.req_id = message.req_id
    body.code = message.code
    body.message = message.message


def _write_request(
    body: pb.ClientInterrupt | pb.ClientPause | pb.ClientResume,
    message: Interrupt | Pause | Resume,
) -> None:
    body.req_id = message.req_id


def _write_playback(body: pb.ServerPlaybackState, message: PlaybackState) -> None:
    body.connection_id = message.connection_id
    body.req_id = message.req_id
    body.state = _PLAYBACK_STATES.index(message.state)  # type: ignore[assignment]
    body.played_ms = message.played_ms
    body.reason = message.reason


_WRITERS: dict[type, tuple[pb.MessageType, str, Callable[..., None]]] = {
    ConfigureSession: (
        pb.MESSAGE_CLIENT_CONFIGURE_SESSION,
        "client_configure_session",
        _write_configure,
    ),
    ConfirmSession: (pb.MESSAGE_SERVER_CONFIRM_SESSION, "server_confirm_session", _write_confirm),
    AudioInput: (pb.MESSAGE_CLIENT_AUDIO_INPUT, "client_audio_input", _write_audio),
    ServerError: (pb.MESSAGE_SERVER_ERROR, "server_error", _write_error),
    Interrupt: (pb.MESSAGE_CLIENT_INTERRUPT, "client_interrupt", _write_request),
    Pause: (pb.MESSAGE_CLIENT_PAUSE, "client_pause", _write_request),
    Resume: (pb.MESSAGE_CLIENT_RESUME, "client_resume", _write_request),
    PlaybackState: (
        pb.MESSAGE_SERVER_PLAYBACK_STATE,
        "server_playback_state",
        _write_playback,
    ),
}
