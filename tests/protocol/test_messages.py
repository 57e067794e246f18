from __future__ import annotations

import pytest

from avatarpool.protocol.messages import AudioInput, ConfigureSession
from avatarpool.protocol.settings import AgoraEgressConfig, AudioFormat, LiveKitEgressConfig


def test_messages_do_not_change():
    with pytest.raises(AttributeError):
        AudioInput("r-1", b"").end = True  # type: ignore[misc]


def test_bulk_stays_out_of_a_repr():
    assert repr(AudioInput("r-1", b"\x07" * 1000)) == (
        "AudioInput(req_id='r-1', end=False, traceparent='', tracestate='')"
    )


def test_secrets_stay_out_of_a_configuration_message():
    livekit = LiveKitEgressConfig(api_key="hush1", api_secret="hush2", api_token="hush3")
    agora = AgoraEgressConfig(token="hush4")
    message = ConfigureSession(
        16000, AudioFormat.PCM_S16LE, livekit_egress=livekit, agora_egress=agora
    )
    assert "hush" not in repr(message)
