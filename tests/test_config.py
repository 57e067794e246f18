from __future__ import annotations

import dataclasses
from dataclasses import replace

import pytest

from avatarpool.config import OggOpusEncoderConfig, SessionConfig
from avatarpool.exceptions import ConfigurationError
from avatarpool.protocol.settings import (
    OPUS_SAMPLE_RATES,
    PCM_SAMPLE_RATES,
    AgoraEgressConfig,
    AudioFormat,
    LiveKitEgressConfig,
)

GOOD = SessionConfig(
    avatar_id="avatar",
    api_key="key",
    app_id="app",
    console_endpoint_url="https://console.example/v1/console",
    ingress_endpoint_url="wss://ingress.example/v2/driveningress",
)


def problems(**changes: object) -> tuple[str, ...]:
    try:
        replace(GOOD, **changes).validate()  # type: ignore[arg-type]
    except ConfigurationError as error:
        return error.problems  # none is an answer, too
    return ()


def test_a_good_configuration_passes():
    assert problems() == ()


def test_every_missing_field_is_named_at_once():
    with pytest.raises(ConfigurationError) as caught:
        SessionConfig().validate()
    assert str(caught.value) == (
        "session configuration cannot work: avatar_id is missing; api_key is missing; "
        "app_id is missing; console_endpoint_url is missing; ingress_endpoint_url is missing"
    )


def test_problems_of_every_kind_are_named_at_once():
    found = problems(
        avatar_id="",
        app_id="app\n",
        ingress_endpoint_url="ftp://ingress.example",
        audio_format="mp3",
        bitrate=-1,
        ogg_opus_encoder=OggOpusEncoderConfig(frame_duration_ms=5, application="music"),
        livekit_egress=LiveKitEgressConfig(idle_timeout=-1),
        agora_egress=AgoraEgressConfig(uid=2**32),
        extra_params={"k": 1},
        connect_timeout=0.0,
        ping_interval=5.0,
        ping_timeout=6.0,
    )
    assert found == (
        "avatar_id is missing",
        "app_id has a space at an end or a character that no HTTP header carries",
        "ingress_endpoint_url must begin with http://, https://, ws:// or wss://",
        "audio_format 'mp3' is neither 'pcm_s16le' nor 'ogg_opus'",
        "bitrate -1 is no number of bits per second",
        "frame_duration_ms 5 is none of 10, 20, 40, 60",
        "application 'music' is none of audio, voip, restricted_lowdelay",
        "livekit_egress and agora_egress exclude each other",
        "livekit_egress.idle_timeout -1 is no number of seconds",
        "agora_egress.uid 4294967296 is no 32-bit number",
        "extra_params has a key or value that is no string",
        "connect_timeout 0.0 is not positive",
        "ping_timeout 6.0 is longer than ping_interval 5.0",
    )


@pytest.mark.parametrize("scheme", ["http", "https", "ws", "wss", "HTTPS"])
def test_the_ingress_takes_four_schemes(scheme: str):
    assert problems(ingress_endpoint_url=f"{scheme}://ingress.example:8080/base") == ()


@pytest.mark.parametrize(
    "url",
    ["ws://console.example", "console.example", "localhost:8080", "//console.example", "https:/c"],
)
def test_a_console_url_must_begin_with_its_scheme(url: str):
    assert problems(console_endpoint_url=url) == (
        "console_endpoint_url must begin with http:// or https://",
    )


@pytest.mark.parametrize("url", ["https://console.example\n", " https://console.example"])
def test_a_console_url_has_no_spaces(url: str):
    assert problems(console_endpoint_url=url) == (
        "console_endpoint_url has a space or a line break in it",
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://",
        "https://:443",
        "https://console.example:0",
        "https://console.example:99999",
        "https://console.example:port",
        "https://[::1",
        "https://console..example",
        f"https://{'a' * 64}.example",
    ],
)
def test_a_console_url_must_have_a_host_and_port_that_can_be_reached(url: str):
    assert problems(console_endpoint_url=url) == ("console_endpoint_url has no valid host or port",)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8765", "http://[::1]:80/v1", "https://bücher.example", "http://a_b"]
)
def test_addresses_and_names_of_all_kinds_are_urls(url: str):
    assert problems(console_endpoint_url=url) == ()


@pytest.mark.parametrize("key", ["key\n", " key", "k\x00y", "schlüssel"])
def test_a_key_that_no_header_carries_is_found_and_not_shown(key: str):
    (problem,) = problems(api_key=key)
    assert problem.startswith("api_key has")
    assert key not in problem


@pytest.mark.parametrize("rate", PCM_SAMPLE_RATES)
def test_pcm_has_seven_rates(rate: int):
    assert problems(sample_rate=rate) == ()


@pytest.mark.parametrize("rate", OPUS_SAMPLE_RATES)
def test_opus_has_five_rates(rate: int):
    assert problems(sample_rate=rate, audio_format=AudioFormat.OGG_OPUS) == ()


@pytest.mark.parametrize(
    ("rate", "audio_format", "rates"),
    [
        (11025, "pcm_s16le", "8000, 16000, 22050, 24000, 32000, 44100, 48000"),
        (12000, "pcm_s16le", "8000, 16000, 22050, 24000, 32000, 44100, 48000"),
        (44100, "ogg_opus", "8000, 12000, 16000, 24000, 48000"),
    ],
)
def test_a_wrong_rate_is_told_with_the_right_ones(rate: int, audio_format: str, rates: str):
    found = problems(sample_rate=rate, audio_format=audio_format)
    assert found == (f"sample_rate {rate} is none of {rates}",)


def test_audio_formats_may_be_plain_strings():
    assert problems(audio_format="ogg_opus", sample_rate=48000) == ()


def test_an_encoder_belongs_to_an_opus_session():
    encoder = OggOpusEncoderConfig()
    assert problems(ogg_opus_encoder=encoder, audio_format="ogg_opus") == ()
    assert problems(ogg_opus_encoder=encoder) == ("ogg_opus_encoder needs audio_format 'ogg_opus'",)


def test_attributes_of_a_room_are_strings():
    egress = LiveKitEgressConfig(extra_attributes={"k": None})  # type: ignore[dict-item]
    assert problems(livekit_egress=egress) == (
        "livekit_egress.extra_attributes has a key or value that is no string",
    )


@pytest.mark.parametrize("proxy", [True, False, "http://p:3128", "socks5h://me:word@p"])
def test_a_proxy_is_a_url_or_the_environments_or_none(proxy: object):
    assert problems(proxy=proxy) == ()


@pytest.mark.parametrize("proxy", ["", "ftp://p", "http://me:12#34@p"])
def test_a_proxy_that_cannot_work_is_told(proxy: object):
    (problem,) = problems(proxy=proxy)
    assert problem.startswith("proxy ")
    assert "34" not in problem


def test_what_is_no_proxy_and_no_context_is_told():
    assert problems(proxy=None, ssl_context=True) == (
        "proxy is neither a URL nor True nor False",
        "ssl_context is no ssl.SSLContext",
    )


def test_pings_may_be_left_out():
    assert problems(ping_interval=None, ping_timeout=60.0) == ()


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan")])
@pytest.mark.parametrize(
    "name",
    ["token_request_timeout", "connect_timeout", "handshake_timeout", "send_timeout"],
)
def test_a_timeout_is_positive(name: str, seconds: float):
    assert problems(**{name: seconds}) == (f"{name} {seconds} is not positive",)


def test_egress_means_that_no_frames_come_back():
    assert not GOOD.has_egress
    assert replace(GOOD, livekit_egress=LiveKitEgressConfig()).has_egress
    assert replace(GOOD, agora_egress=AgoraEgressConfig()).has_egress


def test_secrets_are_never_shown():
    config = replace(
        GOOD,
        api_key="hush-key",
        livekit_egress=LiveKitEgressConfig(
            api_key="hush-livekit", api_secret="hush-secret", api_token="hush-token"
        ),
        agora_egress=AgoraEgressConfig(token="hush-agora"),
        proxy="http://hush:hush-word@proxy.example:port",
    )
    assert "hush" not in repr(config) + str(config)
    with pytest.raises(ConfigurationError) as caught:
        replace(config, avatar_id="", sample_rate=1).validate()
    assert "hush" not in repr(caught.value) + str(caught.value)


def test_a_configuration_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        GOOD.avatar_id = "other"  # type: ignore[misc]


# --- regions -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("region", "console", "ingress"),
    [
        (
            "us-west",
            "https://console.us-west.spatius.ai/v1/console",
            "wss://api.us-west.spatius.ai/v2/driveningress",
        ),
        (
            " cn-beijing ",
            "https://console.cn-beijing.spatialwalk.top/v1/console",
            "wss://api.cn-beijing.spatialwalk.top/v2/driveningress",
        ),
    ],
)
def test_a_region_stands_for_the_endpoints_that_are_left_out(region, console, ingress):
    config = SessionConfig(avatar_id="a", api_key="k", app_id="app", region=region)
    config.validate()
    assert (config.console_endpoint_url, config.ingress_endpoint_url) == (console, ingress)
    mine = SessionConfig(region=region, console_endpoint_url="https://mine.example")
    assert mine.console_endpoint_url == "https://mine.example"
    assert mine.ingress_endpoint_url == ingress


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"region": "auto"}, "region 'auto' is not resolved here: name a region, or both"),
        ({"region": "evil.example/#"}, "region 'evil.example/#' is no name such as 'us-west'"),
        ({"region": "us--west"}, "region 'us--west' is no name such as"),
        ({"environment": "us-west"}, "environment 'us-west' is not looked up here: name both"),
    ],
)
def test_what_names_no_endpoints_says_so_where_they_are_missing(options, problem):
    without = problems(console_endpoint_url="", ingress_endpoint_url="", **options)
    assert without[:2] == ("console_endpoint_url is missing", "ingress_endpoint_url is missing")
    assert len(without) == 3
    assert without[2].startswith(problem)
    assert problems(**options) == ()
