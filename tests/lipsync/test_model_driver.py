from __future__ import annotations

import gc
import statistics
import tracemalloc
from array import array
from itertools import pairwise

import pytest
from sounds import animate, jaws, noise, speech, tone

from avatarpool.lipsync.face import JAW_STEP_RADIANS
from avatarpool.lipsync.model import ModelDriver
from avatarpool.protocol.settings import PCM_SAMPLE_RATES

LOOKAHEAD_MS = 110


@pytest.mark.parametrize("sample_rate", PCM_SAMPLE_RATES)
@pytest.mark.parametrize("piece_ms", [10, 40])
def test_keyframes_do_not_depend_on_how_the_audio_is_cut(sample_rate, piece_ms):
    clip = speech(sample_rate)
    driver = ModelDriver(sample_rate)
    piece = 2 * (sample_rate * piece_ms // 1000)
    keyframes = []
    for start in range(0, len(clip), piece):
        keyframes += driver.feed(clip[start : start + piece])
    keyframes += driver.finish()

    assert keyframes == animate(ModelDriver, clip, sample_rate)


@pytest.mark.parametrize("sample_rate", PCM_SAMPLE_RATES)
def test_a_keyframe_leaves_when_its_lookahead_has_come(sample_rate):
    driver = ModelDriver(sample_rate)
    clip = speech(sample_rate)
    given, fed = 0, 0
    for ms in range(1, 400):
        end = sample_rate * ms // 1000
        given += len(driver.feed(clip[2 * fed : 2 * end]))
        fed = end
        assert given >= (ms - LOOKAHEAD_MS) // 40


@pytest.mark.parametrize(
    "sound",
    [
        pytest.param(noise(-60), id="noise at -60 dB"),
        pytest.param(noise(-45), id="noise at -45 dB"),
        pytest.param(tone(1000, 3276), id="a tone at 1 kHz"),
        pytest.param(tone(200, 8000), id="a tone at 200 Hz"),
        pytest.param(tone(800, 8000), id="a tone at 800 Hz"),
        pytest.param(tone(3000, 8000), id="a tone at 3 kHz"),
        pytest.param(array("h", [12000] * 32000).tobytes(), id="a constant offset"),
    ],
)
def test_what_is_no_speech_leaves_the_mouth_shut(sound):
    assert max(jaws(animate(ModelDriver, sound))) < 0.02


@pytest.mark.parametrize("sample_rate", PCM_SAMPLE_RATES)
def test_all_rates_move_the_mouth_alike(sample_rate):
    opened = jaws(animate(ModelDriver, speech(sample_rate), sample_rate))
    count = min(len(opened), len(jaws(animate(ModelDriver, speech()))))

    assert (
        statistics.correlation(opened[:count], jaws(animate(ModelDriver, speech()))[:count]) > 0.9
    )


def test_the_jaw_never_jumps():
    steps = [abs(b - a) for a, b in pairwise([0.0, *jaws(animate(ModelDriver, speech() * 4))])]

    assert 0.03 < max(steps) <= JAW_STEP_RADIANS + 1e-9


@pytest.mark.parametrize("sample_rate", PCM_SAMPLE_RATES)
def test_a_request_keeps_less_than_64_kb(sample_rate):
    clip = speech(sample_rate)
    piece = 2 * (sample_rate * 160 // 1000)
    animate(ModelDriver, clip[:piece], sample_rate)  # makes what all requests share
    tracemalloc.start()
    driver = ModelDriver(sample_rate, 0)
    for start in range(0, len(clip) // 2, piece):
        driver.feed(clip[start : start + piece])
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert kept < 64_000
