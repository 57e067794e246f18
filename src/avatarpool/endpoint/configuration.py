"""Whether a session may be configured like this."""

from __future__ import annotations

import base64
import json

from avatarpool.endpoint import refusals
from avatarpool.endpoint.refusals import Ending
from avatarpool.protocol.messages import ConfigureSession
from avatarpool.protocol.settings import (
    OPUS_SAMPLE_RATES,
    PCM_SAMPLE_RATES,
    AgoraEgressConfig,
    AudioFormat,
    LiveKitEgressConfig,
)


def refuse_configuration(
    configuration: ConfigureSession, *, takes_opus: bool, takes_egress: bool = False
) -> Ending | None:
    """Return why the session ends at once, or None if it may begin."""
    if configuration.audio_format is AudioFormat.OGG_OPUS:
        rates: tuple[int, ...] = OPUS_SAMPLE_RATES
        if not takes_opus:
            return refusals.OPUS_UNAVAILABLE
    else:
        rates = PCM_SAMPLE_RATES
    if configuration.sample_rate not in rates:
        return refusals.unsupported_rate(configuration.sample_rate, rates)
    refusal = None
    if configuration.livekit_egress is not None:
        refusal = _refuse_livekit(configuration.livekit_egress)
    elif configuration.agora_egress is not None:
        refusal = _refuse_agora(configuration.agora_egress)
    else:
        return None
    if refusal is None and not takes_egress:
        return refusals.EGRESS_UNAVAILABLE
    return refusal


def _refuse_livekit(livekit: LiveKitEgressConfig) -> Ending | None:
    missing = [
        f"livekit_egress.{name} is missing"
        for name in ("url", "room_name")
        if not getattr(livekit, name)
    ]
    if missing:
        return refusals.bad_egress("; ".join(missing))
    if livekit.idle_timeout < 0:
        return refusals.bad_egress("livekit_egress.idle_timeout is negative")
    if not livekit.api_token and not (livekit.api_key and livekit.api_secret):
        return refusals.bad_egress(
            "missing LiveKit credentials: provide api_token or both api_key and api_secret"
        )
    if livekit.api_token and not is_jwt(livekit.api_token):
        return refusals.EGRESS_UNAUTHORIZED
    return None


def _refuse_agora(agora: AgoraEgressConfig) -> Ending | None:
    if not agora.channel_name:
        return refusals.bad_egress("agora_egress.channel_name is missing")
    return None


def is_jwt(text: str) -> bool:
    """Whether this has a JSON Web Token's form: header, claims and signature."""
    parts = text.split(".")
    if len(parts) != 3 or not parts[2]:
        return False
    try:
        return all(isinstance(_json_part(part), dict) for part in parts[:2])
    except (ValueError, RecursionError):
        return False


def _json_part(part: str) -> object:
    padded = part + "=" * (-len(part) % 4)
    value: object = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    return value
