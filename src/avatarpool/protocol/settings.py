"""What a session may be set to: its audio, and where the animation goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

PCM_SAMPLE_RATES = (8000, 16000, 22050, 24000, 32000, 44100, 48000)
OPUS_SAMPLE_RATES = (8000, 12000, 16000, 24000, 48000)

DEFAULT_SAMPLE_RATE = 16000
"""Samples per second of a session that is not told otherwise, and of our own audio."""


class AudioFormat(str, Enum):
    """How the audio of a session is encoded.

    ``PCM_S16LE``: raw mono 16-bit little-endian samples, no header.
    ``OGG_OPUS``: one continuous mono Ogg Opus stream per request.
    """

    PCM_S16LE = "pcm_s16le"
    OGG_OPUS = "ogg_opus"

    # Equal to its text, and hashed as that; Enum's own hash is of another one, and slower.
    __hash__ = str.__hash__


@dataclass(frozen=True, slots=True)
class LiveKitEgressConfig:
    """Send the animation into a LiveKit room instead of back to this client.

    Attributes:
        url: The LiveKit server.
        api_token: Access token for the room; preferred to key and secret.
        api_key: LiveKit key, if no token is given.
        api_secret: LiveKit secret, if no token is given.
        room_name: Room to join.
        publisher_id: Identity that publishes there.
        extra_attributes: Attributes of that participant.
        idle_timeout: Seconds of silence after which the egress ends; 0 is the
            server's default.
    """

    url: str = ""
    api_key: str = field(default="", repr=False)
    api_secret: str = field(default="", repr=False)
    api_token: str = field(default="", repr=False)
    room_name: str = ""
    publisher_id: str = ""
    extra_attributes: Mapping[str, str] = field(default_factory=dict)
    idle_timeout: int = 0


@dataclass(frozen=True, slots=True)
class AgoraEgressConfig:
    """Send the animation into an Agora channel instead of back to this client.

    Attributes:
        channel_name: Channel to join.
        token: Agora token, if the channel asks for one.
        uid: Publisher's number; 0 lets Agora choose.
        publisher_id: Publisher's name.
    """

    channel_name: str = ""
    token: str = field(default="", repr=False)
    uid: int = 0
    publisher_id: str = ""
