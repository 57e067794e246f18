from __future__ import annotations

import pytest

from avatarpool.exceptions import AvatarSDKError
from avatarpool.protocol.keyframes import Keyframe, encode_keyframes
from avatarpool.protocol.messages import AnimationFrame, AudioInput, ConfigureSession
from avatarpool.protocol.settings import AgoraEgressConfig, AudioFormat, LiveKitEgressConfig


def test_a_frame_decodes_its_keyframes_when_asked():
    keyframe = Keyframe(jaw_pose=(0.25, 0.0, 0.0))
    frame = AnimationFrame("r-1", animation=encode_keyframes([keyframe]))
    assert frame.has_animation
    assert frame.keyframes == (keyframe,)


def test_a_last_frame_may_be_empty():
    frame = AnimationFrame("r-1", end=True)
    assert not frame.has_animation
    assert frame.keyframes == ()


def test_a_frame_with_a_broken_animation_raises_only_when_keyframes_are_asked_for():
    frame = AnimationFrame("r-1", animation=b"\x0a\x7f")
    with pytest.raises(AvatarSDKError):
        _ = frame.keyframes


def test_messages_do_not_change():
    with pytest.raises(AttributeError):
        AnimationFrame("r-1").end = True  # type: ignore[misc]


def test_bulk_stays_out_of_a_repr():
    assert repr(AudioInput("r-1", b"\x07" * 1000)) == (
        "AudioInput(req_id='r-1', end=False, traceparent='', tracestate='')"
    )
    assert "animation" not in repr(AnimationFrame("r-1", animation=b"\x07" * 1000))


def test_secrets_stay_out_of_a_configuration_message():
    livekit = LiveKitEgressConfig(api_key="hush1", api_secret="hush2", api_token="hush3")
    agora = AgoraEgressConfig(token="hush4")
    message = ConfigureSession(
        16000, AudioFormat.PCM_S16LE, livekit_egress=livekit, agora_egress=agora
    )
    assert "hush" not in repr(message)
