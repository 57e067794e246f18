from __future__ import annotations

import copy
from dataclasses import dataclass

import pytest

from avatarpool import (
    AgoraEgressConfig,
    AudioFormat,
    ConfigurationError,
    LiveKitEgressConfig,
    OggOpusEncoderConfig,
    PoolKey,
    SessionConfig,
)

OPUS = PoolKey("a", 24000, AudioFormat.OGG_OPUS, OggOpusEncoderConfig())


def test_equal_settings_are_one_key():
    assert PoolKey("a") == PoolKey("a", 16000, "pcm_s16le")
    assert hash(PoolKey("a", audio_format="ogg_opus")) == hash(
        PoolKey("a", audio_format=AudioFormat.OGG_OPUS)
    )
    assert len({PoolKey("a"), PoolKey("a", 24000), OPUS, PoolKey("b")}) == 4
    assert copy.deepcopy(OPUS) == OPUS


def test_rooms_are_keys_of_their_own():
    rooms = [
        PoolKey(
            "a", livekit_egress=LiveKitEgressConfig(room_name=name, extra_attributes={"x": "y"})
        )
        for name in ("one", "two")
    ]
    agora = PoolKey("a", agora_egress=AgoraEgressConfig(channel_name="one"))
    assert len({*rooms, agora}) == 3
    assert hash(rooms[0]) != hash(rooms[1])


def test_a_key_is_shown_by_what_sets_it_apart_and_without_secrets():
    livekit = LiveKitEgressConfig(
        room_name="lobby", api_key="k-1", api_secret="s-1", api_token="t-1"
    )
    key = PoolKey("a", livekit_egress=livekit)
    assert str(key) == "a/16000/lobby"
    assert str(OPUS) == "a/24000/ogg_opus/voip-20ms"
    for secret in ("k-1", "s-1", "t-1"):
        assert secret not in repr(key)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"avatar_id": ""}, "avatar_id is missing"),
        ({"avatar_id": None}, "avatar_id is missing"),
        ({"avatar_id": "a", "sample_rate": 11025}, "sample_rate 11025 is none of 8000, "),
        ({"avatar_id": "a", "audio_format": "mp3"}, "audio_format 'mp3' is neither"),
        (
            {"avatar_id": "a", "ogg_opus_encoder": OggOpusEncoderConfig()},
            "ogg_opus_encoder needs audio_format 'ogg_opus'",
        ),
        (
            {
                "avatar_id": "a",
                "livekit_egress": LiveKitEgressConfig(),
                "agora_egress": AgoraEgressConfig(),
            },
            "livekit_egress and agora_egress exclude each other",
        ),
    ],
)
def test_what_no_session_can_be_is_no_key(settings, said):
    with pytest.raises(ConfigurationError, match=f"^no session can have this key: {said}"):
        PoolKey(**settings)


@dataclass
class Vendors:
    avatar_id: str = ""
    sample_rate: int = 16000


@pytest.mark.parametrize(
    "given",
    [SessionConfig(api_key="k"), {"api_key": "k"}, {"avatar_id": "a", "sample_rate": 24000}],
)
def test_the_configuration_gets_what_the_key_says(given):
    applied = OPUS.applied_to(given)
    read = applied.get if isinstance(applied, dict) else lambda name: getattr(applied, name)
    for name in ("avatar_id", "sample_rate", "audio_format", "ogg_opus_encoder"):
        assert read(name) == getattr(OPUS, name)


def test_a_mapping_gets_nothing_that_is_as_it_would_be_anyway():
    assert PoolKey("a").applied_to({"api_key": "k"}) == {"api_key": "k", "avatar_id": "a"}


def test_a_vendors_dataclass_gets_it_too():
    assert PoolKey("a", 24000).applied_to(Vendors()) == Vendors("a", 24000)


@pytest.mark.parametrize("given", [SessionConfig(avatar_id="b"), {"avatar_id": "b"}])
def test_a_configuration_that_says_otherwise_is_refused(given):
    with pytest.raises(ConfigurationError, match="gave avatar_id 'b' for a key that says 'a'"):
        PoolKey("a").applied_to(given)


def test_what_is_no_configuration_is_for_the_pool_to_refuse():
    assert PoolKey("a").applied_to(None) is None
