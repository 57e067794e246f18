from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avatarpool.endpoint import refusals
from avatarpool.endpoint.configuration import is_jwt, refuse_configuration
from avatarpool.protocol.messages import ConfigureSession
from avatarpool.protocol.settings import (
    OPUS_SAMPLE_RATES,
    PCM_SAMPLE_RATES,
    AgoraEgressConfig,
    AudioFormat,
    LiveKitEgressConfig,
)

PCM = ConfigureSession(16000, AudioFormat.PCM_S16LE)
OPUS = ConfigureSession(16000, AudioFormat.OGG_OPUS)


def part(value):
    return urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


JWT = f"{part({'alg': 'HS256'})}.{part({'sub': 'me'})}.c2ln"


@pytest.mark.parametrize("takes_opus", [False, True])
@pytest.mark.parametrize("rate", sorted({0, -1, 11025, *PCM_SAMPLE_RATES, *OPUS_SAMPLE_RATES}))
def test_pcm_comes_at_its_own_rates(rate, takes_opus):
    refusal = refuse_configuration(replace(PCM, sample_rate=rate), takes_opus=takes_opus)

    assert refusal == (
        None if rate in PCM_SAMPLE_RATES else refusals.unsupported_rate(rate, PCM_SAMPLE_RATES)
    )


@pytest.mark.parametrize("rate", sorted({0, 11025, *PCM_SAMPLE_RATES, *OPUS_SAMPLE_RATES}))
def test_opus_comes_at_its_own_rates(rate):
    refusal = refuse_configuration(replace(OPUS, sample_rate=rate), takes_opus=True)

    assert refusal == (
        None if rate in OPUS_SAMPLE_RATES else refusals.unsupported_rate(rate, OPUS_SAMPLE_RATES)
    )


@pytest.mark.parametrize("rate", [16000, 11025])
def test_opus_is_refused_where_nobody_decodes_it_whatever_its_rate(rate):
    opus = replace(OPUS, sample_rate=rate)

    assert refuse_configuration(opus, takes_opus=False) is refusals.OPUS_UNAVAILABLE


ROOM = LiveKitEgressConfig(url="wss://rooms.example", room_name="room", api_token=JWT)


@pytest.mark.parametrize(
    ("changed", "refusal"),
    [
        ({}, refusals.EGRESS_UNAVAILABLE),
        ({"api_token": "", "api_key": "k", "api_secret": "s"}, refusals.EGRESS_UNAVAILABLE),
        ({"api_key": "k"}, refusals.EGRESS_UNAVAILABLE),  # beside a token it is of no account
        ({"api_token": "none", "api_key": "k", "api_secret": "s"}, refusals.EGRESS_UNAUTHORIZED),
        ({"url": ""}, refusals.bad_egress("livekit_egress.url is missing")),
        ({"idle_timeout": -1}, refusals.bad_egress("livekit_egress.idle_timeout is negative")),
        (
            {"api_token": "", "api_secret": "s"},
            refusals.bad_egress(
                "missing LiveKit credentials: provide api_token or both api_key and api_secret"
            ),
        ),
    ],
)
def test_a_room_is_refused_for_the_first_thing_that_is_wrong(changed, refusal):
    configured = replace(PCM, livekit_egress=replace(ROOM, **changed))

    assert refuse_configuration(configured, takes_opus=False) == refusal


def test_a_rate_is_refused_before_a_room():
    configured = replace(PCM, sample_rate=1, livekit_egress=replace(ROOM, url=""))

    assert refuse_configuration(configured, takes_opus=False) == refusals.unsupported_rate(1)


@pytest.mark.parametrize("channel", ["", "channel"])
def test_a_channel_needs_a_name(channel):
    configured = replace(PCM, agora_egress=AgoraEgressConfig(channel_name=channel))

    assert refuse_configuration(configured, takes_opus=False) == (
        refusals.EGRESS_UNAVAILABLE
        if channel
        else refusals.bad_egress("agora_egress.channel_name is missing")
    )


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        (JWT, True),
        ("", False),
        ("a.b.c", False),
        (JWT.rsplit(".", 1)[0], False),
        (JWT.rsplit(".", 1)[0] + ".", False),  # unsigned
        (JWT + ".more", False),
        (f"{part([])}.{part({})}.c2ln", False),
        (f"{part({})}.{part('claims')}.c2ln", False),
        (f"{part({})}.{part({})}é.c2ln", False),
        (f"{part({})}.{urlsafe_b64encode(b'[' * 100_000).decode()}.c2ln", False),
    ],
)
def test_a_token_of_a_room_has_a_header_claims_and_a_signature(text, is_one):
    assert is_jwt(text) is is_one


@settings(deadline=None)
@given(st.text() | st.lists(st.text(), min_size=3, max_size=3).map(".".join))
def test_no_text_is_too_strange_to_be_no_token(text):
    assert is_jwt(text) in (False, True)
