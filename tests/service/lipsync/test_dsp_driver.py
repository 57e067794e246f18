from __future__ import annotations

import math
import random
import statistics
from array import array
from functools import cache
from importlib.resources import files
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avatarpool.audio import read_audio
from avatarpool.config import PCM_SAMPLE_RATES
from avatarpool.protocol.keyframes import Keyframe
from avatarpool.service.lipsync import DspDriver
from avatarpool.service.lipsync.face import EXPRESSIONS


def animate(pcm: bytes, sample_rate: int = 16000, seed: int = 0) -> list[Keyframe]:
    driver = DspDriver(sample_rate, seed)
    return driver.feed(pcm) + driver.finish()


def jaws(keyframes: list[Keyframe]) -> list[float]:
    return [keyframe.jaw_pose[0] for keyframe in keyframes]


@cache
def speech() -> bytes:
    return read_audio(str(files("avatarpool") / "assets" / "speech.wav"))


def tone(hertz: float, amplitude: float, seconds: float, sample_rate: int = 16000) -> bytes:
    step = math.tau * hertz / sample_rate
    count = int(seconds * sample_rate)
    return array("h", [round(amplitude * math.sin(step * i)) for i in range(count)]).tobytes()


def noise(amplitude: float, seconds: float, sample_rate: int = 16000) -> bytes:
    source = random.Random(1)
    count = int(seconds * sample_rate)
    samples = (max(-32768, min(32767, round(source.gauss(0, amplitude)))) for _ in range(count))
    return array("h", samples).tobytes()


@pytest.mark.parametrize("sample_rate", PCM_SAMPLE_RATES)
@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_every_40_ms_begun_give_a_keyframe(sample_rate, extra):
    samples = 5 * sample_rate // 25 + extra

    assert len(animate(bytes(2 * samples), sample_rate)) == math.ceil(samples / (sample_rate / 25))


def test_no_audio_gives_no_keyframe():
    assert animate(b"") == []


def test_the_newest_keyframe_waits_for_the_end():
    driver = DspDriver(16000)

    assert len(driver.feed(bytes(2 * 1280))) == 1
    assert len(driver.finish()) == 1


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 24000), max_size=12))
def test_keyframes_do_not_depend_on_how_the_audio_is_cut(cuts):
    clip = speech()[:48000]
    driver = DspDriver(16000)
    keyframes = []
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), 24000], strict=True):
        keyframes += driver.feed(clip[2 * start : 2 * stop])
    keyframes += driver.finish()

    assert keyframes == animate(clip)


def test_the_same_seed_gives_the_same_keyframes_and_another_the_same_mouth():
    clip = speech()

    assert animate(clip, seed=1) == animate(clip, seed=1)
    assert animate(clip, seed=1) != animate(clip, seed=2)
    assert jaws(animate(clip, seed=1)) == jaws(animate(clip, seed=2))


def test_the_jaw_follows_the_loudness_of_real_speech():
    samples = array("h", speech())
    loudness = [
        math.sqrt(statistics.fmean(x * x for x in samples[i : i + 640]))
        for i in range(0, len(samples), 640)
    ]
    opened = jaws(animate(speech()))

    assert statistics.correlation(opened, loudness) > 0.8
    assert 0.03 < statistics.fmean(opened) < 0.10
    assert 0.12 < max(opened) <= 0.25
    assert min(opened) >= 0.0


def test_the_jaw_is_shut_in_silence():
    assert max(jaws(animate(bytes(96000)))) == 0.0


def test_the_jaw_is_shut_in_a_silent_room():
    assert max(jaws(animate(noise(15, 1.0)))) < 0.001


def test_a_constant_offset_is_silence():
    assert max(jaws(animate(array("h", [12000] * 16000).tobytes()))) == 0.0


def test_the_jaw_shuts_after_speech():
    after = jaws(animate(speech()[:48000] + bytes(32000)))[-12:]

    assert max(after) < 0.002


def test_quiet_speech_moves_the_mouth_nearly_as_loud_speech_does():
    quiet = array("h", [x // 4 for x in array("h", speech())]).tobytes()

    assert max(jaws(animate(quiet))) > 0.6 * max(jaws(animate(speech())))


def test_an_open_vowel_opens_more_than_a_hum_and_a_hiss():
    vowel, hum, hiss = (
        statistics.fmean(jaws(animate(sound)))
        for sound in (tone(800, 8000, 1.0), tone(200, 8000, 1.0), noise(6000, 1.0))
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
    opened = jaws(animate(array("h", samples).tobytes(), sample_rate))

    assert 0.05 < max(opened) < 0.2
    assert min(opened[20:]) < 0.02


def test_keyframes_have_flame_s_shapes_and_sane_values():
    for keyframe in animate(speech() * 4):
        assert len(keyframe.translation) == len(keyframe.rotation) == len(keyframe.neck_pose) == 3
        assert len(keyframe.jaw_pose) == 3
        assert len(keyframe.eye_pose) == 6
        assert len(keyframe.eye_lid) == 2
        assert len(keyframe.expression) == EXPRESSIONS == 100
        assert all(0.0 <= lid <= 1.0 for lid in keyframe.eye_lid)
        assert all(-1.0 <= value <= 1.0 for value in keyframe.expression)
        assert all(abs(angle) < 0.1 for angle in keyframe.rotation + keyframe.neck_pose)


def test_eyes_blink_now_and_then():
    lids = [keyframe.eye_lid[0] for keyframe in animate(bytes(2 * 16000 * 60))]
    blinks = sum(1 for before, now in pairwise(lids) if now > before == 0.0)

    assert 8 <= blinks <= 30
    assert lids.count(0.0) > 0.7 * len(lids)


def test_the_face_starts_from_rest():
    first = animate(speech())[0]

    assert all(abs(angle) < 0.01 for angle in first.rotation)
    assert first.eye_lid == (0.0, 0.0)


@pytest.mark.parametrize("sample_rate", [0, -50, 11025])
def test_a_rate_that_cannot_be_cut_into_blocks_is_refused(sample_rate):
    with pytest.raises(ValueError, match=f"sample rate {sample_rate}"):
        DspDriver(sample_rate)
