"""Raw samples, as a content type names them."""

from array import array

import pytest
from speech import SPEECH_PCM, SPEECH_WAV

from avatarpool.audio import read_audio
from avatarpool.exceptions import AudioError


@pytest.mark.parametrize("content_type", ["audio/pcm", 'Audio/PCM; Rate="16000"; channels=1'])
def test_raw_pcm_at_the_sessions_rate_is_as_it_is(content_type):
    assert read_audio(SPEECH_PCM, content_type=content_type) == SPEECH_PCM


@pytest.mark.parametrize("rate", [8000, 11025, 24000, 48000])
def test_raw_pcm_at_another_rate_is_resampled_as_a_wav_file_is(rate):
    wav = SPEECH_WAV.read_bytes()
    told = wav[:24] + rate.to_bytes(4, "little") + wav[28:]
    assert read_audio(SPEECH_PCM, content_type=f"audio/pcm;rate={rate}") == read_audio(told)


def test_l16_is_big_endian():
    samples = array("h", SPEECH_PCM)
    samples.byteswap()
    assert read_audio(samples.tobytes(), content_type="audio/L16;rate=16000") == SPEECH_PCM


def test_channels_are_averaged():
    both = b"\x00\x01\x00\x03" * 1600
    assert read_audio(both, content_type="audio/pcm;channels=2") == b"\x00\x02" * 1600


@pytest.mark.parametrize("content_type", ["audio/pcm;rate=8000", "audio/wav", "nonsense", ""])
def test_what_the_bytes_tell_goes_before_what_the_type_says(content_type):
    assert read_audio(SPEECH_WAV.read_bytes(), content_type=content_type) == SPEECH_PCM


@pytest.mark.parametrize("content_type", ["application/octet-stream", "audio/wav", ""])
def test_a_type_that_says_nothing_of_raw_samples_makes_none(content_type):
    with pytest.raises(AudioError, match=r"send Content-Type: audio/pcm;rate=24000 if it is raw"):
        read_audio(SPEECH_PCM, sample_rate=24000, content_type=content_type)


@pytest.mark.parametrize(
    "parameters",
    [
        *(f"rate={rate}" for rate in ("11", "1e9", "-16000", "", "9" * 5000, "\u0661" * 5)),
        "rate*=utf-8''16000",
        "channels=0",
        "channels=65",
    ],
)
def test_rates_and_channels_that_cannot_be_are_told_in_a_sentence(parameters):
    with pytest.raises(AudioError, match=r"name its rate, as in audio/pcm;rate=16000") as caught:
        read_audio(SPEECH_PCM, content_type=f"audio/pcm;{parameters}")
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("content_type", "sentence"),
    [
        ("audio/pcm", "3 bytes are no whole number of 16-bit samples: "),
        ("audio/L16;channels=2", "3 bytes are no whole number of 16-bit samples of 2 channels: "),
    ],
)
def test_half_a_sample_is_refused(content_type, sentence):
    with pytest.raises(AudioError, match=sentence):
        read_audio(b"odd", content_type=content_type)


def test_what_would_grow_beyond_the_limit_is_refused():
    with pytest.raises(AudioError, match=r"the raw PCM is longer than 67108864 bytes at 16000 Hz"):
        read_audio(bytes(20 << 20), content_type="audio/pcm;rate=4000")
