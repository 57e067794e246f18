"""The messages of the wire as frozen values, the same for both ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from avatarpool.protocol.keyframes import Keyframe, decode_keyframes
from avatarpool.protocol.settings import AgoraEgressConfig, AudioFormat, LiveKitEgressConfig


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


class AnimationFrame(NamedTuple):
    """Server to client: one animation message of a request, the last with ``end``.

    The animation stays serialised until `keyframes` is read. A tuple and no
    dataclass: it is made for every frame, in a third of the time.

    Attributes:
        req_id: The request it belongs to.
        end: Whether it is the request's last frame.
        animation: A serialised ``FlameAnimation``; may be empty.
        connection_id: The connection it came over.
        avatar_id: The avatar it animates.
    """

    req_id: str
    end: bool = False
    animation: bytes = b""
    connection_id: str = ""
    avatar_id: str = ""

    def __repr__(self) -> str:
        return (
            f"AnimationFrame(req_id={self.req_id!r}, end={self.end}, "
            f"{len(self.animation)} bytes, connection_id={self.connection_id!r})"
        )

    @property
    def has_animation(self) -> bool:
        """Whether the message carries any animation at all."""
        return bool(self.animation)

    @property
    def keyframes(self) -> tuple[Keyframe, ...]:
        """The animation's keyframes, decoded anew at each call.

        Raises:
            AvatarSDKError: The bytes are no ``FlameAnimation`` (``protocolError``).
        """
        return decode_keyframes(self.animation)


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
