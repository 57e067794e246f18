"""The resampler keeps a tone's pitch and level, and folds nothing back."""

import math
import tracemalloc

import numpy as np
import pytest

from avatarpool.audio.resample import resample
from avatarpool.protocol.settings import OPUS_SAMPLE_RATES, PCM_SAMPLE_RATES

LEVEL = 16000


def tone(frequency: float, rate: int, seconds: float = 0.2):
    turns = np.arange(int(rate * seconds)) * frequency / rate
    return np.rint(LEVEL * np.sin(2 * math.pi * turns)).astype(np.int16)


def inner(samples) -> list[int]:
    """The part that the ends' fade does not touch."""
    return samples.tolist()[len(samples) // 5 : -len(samples) // 5]


@pytest.mark.parametrize("from_rate", [8000, 11025, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("to_rate", sorted({*PCM_SAMPLE_RATES, *OPUS_SAMPLE_RATES}))
def test_a_tone_stays_the_same_tone(from_rate, to_rate):
    resampled = resample(tone(440, from_rate), from_rate, to_rate)
    expected = tone(440, to_rate)
    assert abs(len(resampled) - len(expected)) <= 1
    pairs = zip(inner(resampled), inner(expected), strict=False)
    assert max(abs(a - b) for a, b in pairs) < LEVEL / 500


@pytest.mark.parametrize(
    ("from_rate", "to_rate"), [(44101, 16000), (15999, 16000), (4001, 47999), (383_999, 8000)]
)
def test_odd_rates_keep_the_tone_and_the_duration(from_rate, to_rate):
    resampled = resample(tone(440, from_rate, 2.0), from_rate, to_rate)
    expected = tone(440, to_rate, 2.0)
    assert abs(len(resampled) - len(expected)) <= 1
    pairs = zip(inner(resampled), inner(expected), strict=False)
    assert max(abs(a - b) for a, b in pairs) < LEVEL / 500


def test_what_the_new_rate_cannot_hold_is_gone_and_not_folded_back():
    resampled = resample(tone(9000, 48000), 48000, 16000)
    assert max(map(abs, inner(resampled))) < LEVEL / 1000


def test_a_constant_stays_constant():
    assert set(inner(resample(np.full(4410, 1000, np.int16), 44100, 16000))) == {1000}


def test_full_scale_does_not_wrap_round():
    square = np.array(([32767] * 50 + [-32768] * 50) * 20, np.int16)
    resampled = resample(square, 16000, 24000)
    assert max(resampled) == 32767
    assert min(resampled) == -32768


def test_the_same_rate_and_silence_of_no_length_pass():
    samples = np.array([1, 2], np.int16)
    assert resample(samples, 16000, 16000) is samples
    assert len(resample(np.empty(0, np.int16), 16000, 8000)) == 0


@pytest.mark.parametrize(
    ("from_rate", "to_rate"), [(48000, 16000), (44101, 16000), (384_000, 8000)]
)
def test_memory_is_what_goes_in_and_comes_out_and_a_block(from_rate, to_rate):
    samples = np.zeros(500_000, np.int16)
    tracemalloc.start()
    try:
        resampled = resample(samples, from_rate, to_rate)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(samples) + 2 * 2 * len(resampled) + 2e6


def test_blocks_leave_no_trace():
    samples = tone(440, 48000, 2.0)
    resampled = resample(samples, 48000, 16000)
    pairs = zip(inner(resampled), inner(tone(440, 16000, 2.0)), strict=False)
    assert max(abs(a - b) for a, b in pairs) < LEVEL / 500
