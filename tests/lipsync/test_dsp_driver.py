from __future__ import annotations

import math
import statistics
from array import array
from itertools import pairwise

import pytest
from sounds import animate, jaws, noise, speech, tone

from avatarpool.lipsync import DspDriver
from avatarpool.protocol.settings import PCM_SAMPLE_RATES


def test_the_newest_keyframe_waits_for_the_end():
    driver = DspDriver(16000)

    assert len(driver.feed(bytes(2 * 1280))) == 1
    assert len(driver.finish()) == 1


def test_the_jaw_follows_the_loudness_of_real_speech():
    samples = array("h", speech())
    loudness = [
        math.sqrt(statistics.fmean(x * x for x in samples[i : i + 640]))
        for i in range(0, len(samples), 640)
    ]
    opened = jaws(animate(DspDriver, speech()))

    assert statistics.correlation(opened, loudness) > 0.8
    assert 0.03 < statistics.fmean(opened) < 0.10
    assert 0.12 < max(opened) <= 0.25
    assert min(opened) >= 0.0


def test_the_jaw_is_shut_in_a_silent_room():
    assert max(jaws(animate(DspDriver, noise(-67, 1.0)))) < 0.001


def test_a_constant_offset_is_silence():
    assert max(jaws(animate(DspDriver, array("h", [12000] * 16000).tobytes()))) == 0.0


def test_an_open_vowel_opens_more_than_a_hum_and_a_hiss():
    vowel, hum, hiss = (
        statistics.fmean(jaws(animate(DspDriver, sound)))
        for sound in (tone(800, 8000, 1.0), tone(200, 8000, 1.0), noise(-15, 1.0))
    )

    assert vowel > 2 * hum
    assert vowel > 2 * hiss


@pytest.mark.parametrize("sample_rate", PCM_SAMPLE_RATES)
def test_all_rates_move_the_mouth_alike(sample_rate):
    # A vowel's worth of harmonics, on and off.
    step = math.tau / sample_rate
    samples = [
        round(3000 * sum(math.sin(step * i * hertz) for hertz in (150, 300, 750, 1200)))
        if (i * 4 // sample_rate) % 2
        else 0
        for i in range(2 * sample_rate)
    ]
    opened = jaws(animate(DspDriver, array("h", samples).tobytes(), sample_rate))

    assert 0.05 < max(opened) < 0.2
    assert min(opened[20:]) < 0.02


def test_eyes_blink_now_and_then():
    lids = [keyframe.eye_lid[0] for keyframe in animate(DspDriver, bytes(2 * 16000 * 60))]
    blinks = sum(1 for before, now in pairwise(lids) if now > before == 0.0)

    assert 8 <= blinks <= 30
    assert lids.count(0.0) > 0.7 * len(lids)


def test_the_face_starts_from_rest():
    first = animate(DspDriver, speech())[0]

    assert all(abs(angle) < 0.01 for angle in first.rotation)
    assert first.eye_lid == (0.0, 0.0)
