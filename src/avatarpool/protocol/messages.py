"""The messages of the wire as frozen values, the same for both ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from avatarpool.protocol.frames import AnimationFrame
from avatarpool.protocol.settings import AgoraEgressConfig, AudioFormat, LiveKitEgressConfig

__all__ = [
    "AnimationFrame",
    "AudioInput",
    "ConfigureSession",
    "ConfirmSession",
    "Interrupt",
    "Message",
    "Pause",
    "PlaybackState",
    "Resume",
    "ServerError",
    "UnknownMessage",
]


@dataclass(frozen=True, slots=True)
class ConfigureSession:
    """Client to server, first of all: how this session's audio will look."""

    sample_rate: int
    audio_format: AudioFormat
    bitrate: int = 0
    livekit_egress: LiveKitEgressConfig | None = None
    agora_egress: AgoraEgressConfig | None = None
    extra_params: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConfirmSession:
    """Server to client: the session is open under this connection id."""

    connection_id: str
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AudioInput:
    """Client to server: a piece of one request's audio, the last one with ``end``."""

    req_id: str
    audio: bytes = field(repr=False)
    end: bool = False
    traceparent: str = ""
    tracestate: str = ""


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Client to server: stop generating for this request."""

    req_id: str


@dataclass(frozen=True, slots=True)
class Pause:
    """Client to server: hold the egress playback of this request."""

    req_id: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Client to server: go on with the egress playback of this request."""

    req_id: str


@dataclass(frozen=True, slots=True)
class ServerError:
    """Server to client: a request (or, without ``req_id``, the session) failed."""

    code: int
    message: str
    connection_id: str = ""
    req_id: str = ""


@dataclass(frozen=True, slots=True)
class PlaybackState:
    """Server to client: where an egress playback stands.

    Attributes:
        req_id: The request that plays.
        state: ``unspecified``, ``playing``, ``paused``, ``ended`` or ``interrupted``.
        played_ms: Milliseconds of content played, pauses left out.
        reason: Why it was interrupted.
        connection_id: The connection it came over.
    """

    req_id: str
    state: str
    played_ms: int = 0
    reason: str = ""
    connection_id: str = ""


@dataclass(frozen=True, slots=True)
class UnknownMessage:
    """A message of a type that this version does not know; both ends ignore it."""

    type: int


Message = (
    ConfigureSession
    | ConfirmSession
    | AudioInput
    | Interrupt
    | Pause
    | Resume
    | ServerError
    | AnimationFrame
    | PlaybackState
    | UnknownMessage
)
