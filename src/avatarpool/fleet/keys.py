"""What makes one session as good as another: the key of a pool in a group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, cast

from avatarpool.config import OggOpusEncoderConfig, SessionConfig
from avatarpool.exceptions import ConfigurationError
from avatarpool.protocol.settings import (
    DEFAULT_SAMPLE_RATE,
    AgoraEgressConfig,
    AudioFormat,
    LiveKitEgressConfig,
)


@dataclass(frozen=True, slots=True)
class PoolKey:
    """The settings that the sessions of one pool have in common.

    Sessions of one key stand in for each other; each setting means what it does in
    `SessionConfig`.

    Raises:
        ConfigurationError: No session can have these settings.
    """

    avatar_id: str
    sample_rate: int = DEFAULT_SAMPLE_RATE
    audio_format: AudioFormat = AudioFormat.PCM_S16LE
    ogg_opus_encoder: OggOpusEncoderConfig | None = None
    livekit_egress: LiveKitEgressConfig | None = field(default=None, hash=False)
    agora_egress: AgoraEgressConfig | None = field(default=None, hash=False)
    _room: str = field(init=False, repr=False, compare=False, hash=True, default="")

    def __post_init__(self) -> None:
        problems = list(SessionConfig(**self.settings()).wrong_media())
        if not isinstance(self.avatar_id, str) or not self.avatar_id:
            problems.insert(0, "avatar_id is missing")
        if problems:
            raise ConfigurationError("no session can have this key", problems)
        if self.livekit_egress is not None:
            object.__setattr__(self, "_room", self.livekit_egress.room_name)
        elif self.agora_egress is not None:
            object.__setattr__(self, "_room", self.agora_egress.channel_name)
        # 'pcm_s16le' and the enum's member are one key, and are shown as one.
        object.__setattr__(self, "audio_format", AudioFormat(self.audio_format))

    def __str__(self) -> str:
        parts = [self.avatar_id, str(self.sample_rate)]
        if self.audio_format is not AudioFormat.PCM_S16LE:
            parts.append(self.audio_format.value)
        if self.ogg_opus_encoder is not None:
            encoder = self.ogg_opus_encoder
            parts.append(f"{encoder.application}-{encoder.frame_duration_ms}ms")
        if self._room:
            parts.append(self._room)
        return "/".join(parts)

    def settings(self) -> dict[str, Any]:
        """Return the settings by their names in `SessionConfig`."""
        return {name: getattr(self, name) for name in _DEFAULTS}

    def applied_to(self, given: object) -> object:
        """Return a session's configuration with the key's settings filled in.

        Args:
            given: What ``config_factory`` returned: a `SessionConfig`, a mapping, or a
                vendor's dataclass. Anything else is returned as it is.

        Raises:
            ConfigurationError: It has another setting than the key.
        """
        if isinstance(given, Mapping):
            return {**given, **self._missing_in(given)}
        if is_dataclass(given) and not isinstance(given, type):
            have = {each.name: getattr(given, each.name) for each in fields(given)}
            return replace(cast("Any", given), **self._missing_in(have))
        return given

    def _missing_in(self, have: Mapping[str, object]) -> dict[str, object]:
        settings = self.settings()
        strange = [
            f"config_factory gave {name} {have[name]!r} for a key that says {value!r}"
            for name, value in settings.items()
            if name in have and have[name] not in (value, _DEFAULTS[name])
        ]
        if strange:
            raise ConfigurationError(f"pool {self} cannot work", strange)
        return {
            name: value
            for name, value in settings.items()
            if have.get(name, _DEFAULTS[name]) != value
        }


class RoomKey(PoolKey):
    """The key of one room's session: equal to no other, though they may read alike."""

    __slots__ = ()
    __eq__ = object.__eq__
    __hash__ = object.__hash__


_DEFAULTS: dict[str, object] = {
    each.name: getattr(SessionConfig(), each.name) for each in fields(PoolKey) if each.init
}
