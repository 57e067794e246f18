from __future__ import annotations

import gc
import math
import random
import statistics
import tracemalloc
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
from avatarpool.service.lipsync.face import JAW_STEP_RADIANS
from avatarpool.service.lipsync.model import ModelDriver

LOOKAHEAD_MS = 110


def animate(pcm: bytes, sample_rate: int = 16000, seed: int = 0) -> list[Keyframe]:
    driver = ModelDriver(sample_rate, seed)
    return driver.feed(pcm) + driver.finish()


def jaws(keyframes: list[Keyframe]) -> list[float]:
    return [keyframe.jaw_pose[0] for keyframe in keyframes]


@cache
def speech(sample_rate: int = 16000) -> bytes:
    return read_audio(str(files("avatarpool") / "assets" / "speech.wav"), sample_rate=sample_rate)


def tone(hertz: float, amplitude: float, seconds: float = 2.0, sample_rate: int = 16000) -> bytes:
    step = math.tau * hertz / sample_rate
    count = int(seconds * sample_rate)
    return array("h", [round(amplitude * math.sin(step * i)) for i in range(count)]).tobytes()


def noise(decibels: float, seconds: float = 2.0, sample_rate: int = 16000) -> bytes:
    source = random.Random(1)
    amplitude = 32768 * 10 ** (decibels / 20)
    count = int(seconds * sample_rate)
    return array("h", [round(source.gauss(0, amplitude)) for _ in range(count)]).tobytes()


@pytest.mark.parametrize("sample_rate", PCM_SAMPLE_RATES)
@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_every_40_ms_begun_give_a_keyframe(sample_rate, extra):
    samples = 5 * sample_rate // 25 + extra

    assert len(animate(bytes(2 * samples), sample_rate)) == math.ceil(samples / (sample_rate / 25))


def test_no_audio_gives_no_keyframe():
    assert animate(b"") == []


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

    assert keyframes == animate(clip, sample_rate)


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 24000), max_size=12))
def test_nor_do_they_with_any_other_cuts(cuts):
    clip = speech()[:48000]
    driver = ModelDriver(16000)
    keyframes = []
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), 24000], strict=True):
        keyframes += driver.feed(clip[2 * start : 2 * stop])
    keyframes += driver.finish()

    assert keyframes == animate(clip)


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


def test_the_same_seed_gives_the_same_keyframes_and_another_the_same_mouth():
    clip = speech()

    assert animate(clip, seed=1) == animate(clip, seed=1)
    assert animate(clip, seed=1) != animate(clip, seed=2)
    assert jaws(animate(clip, seed=1)) == jaws(animate(clip, seed=2))


def test_the_jaw_is_shut_in_silence():
    assert max(jaws(animate(bytes(64000)))) == 0.0


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
    assert max(jaws(animate(sound))) < 0.02


def test_the_jaw_shuts_after_speech():
    after = jaws(animate(speech()[:48000] + bytes(32000)))[-12:]

    assert max(after) < 0.002


@pytest.mark.parametrize("sample_rate", PCM_SAMPLE_RATES)
def test_all_rates_move_the_mouth_alike(sample_rate):
    opened = jaws(animate(speech(sample_rate), sample_rate))
    count = min(len(opened), len(jaws(animate(speech()))))

    assert statistics.correlation(opened[:count], jaws(animate(speech()))[:count]) > 0.9


def test_quiet_speech_moves_the_mouth_nearly_as_loud_speech_does():
    quiet = array("h", [x // 4 for x in array("h", speech())]).tobytes()

    assert statistics.fmean(jaws(animate(quiet))) > 0.6 * statistics.fmean(jaws(animate(speech())))


def test_the_jaw_never_jumps():
    steps = [abs(b - a) for a, b in pairwise([0.0, *jaws(animate(speech() * 4))])]

    assert 0.03 < max(steps) <= JAW_STEP_RADIANS + 1e-9


def test_keyframes_have_flame_s_shapes_and_sane_values():
    for keyframe in animate(speech() * 4):
        assert len(keyframe.translation) == len(keyframe.rotation) == len(keyframe.neck_pose) == 3
        assert len(keyframe.jaw_pose) == 3
        assert len(keyframe.eye_pose) == 6
        assert len(keyframe.eye_lid) == 2
        assert len(keyframe.expression) == 100
        assert all(0.0 <= lid <= 1.0 for lid in keyframe.eye_lid)
        assert all(-1.0 <= value <= 1.0 for value in keyframe.expression)
        assert all(abs(angle) < 0.1 for angle in keyframe.rotation + keyframe.neck_pose)


@pytest.mark.parametrize("sample_rate", [0, -50, 11025])
def test_a_rate_that_cannot_be_cut_into_blocks_is_refused(sample_rate):
    with pytest.raises(ValueError, match=f"sample rate {sample_rate}"):
        ModelDriver(sample_rate)


@pytest.mark.parametrize("sample_rate", PCM_SAMPLE_RATES)
def test_a_request_keeps_less_than_64_kb(sample_rate):
    clip = speech(sample_rate)
    piece = 2 * (sample_rate * 160 // 1000)
    animate(clip[:piece], sample_rate)  # makes what all requests share
    tracemalloc.start()
    driver = ModelDriver(sample_rate, 0)
    for start in range(0, len(clip) // 2, piece):
        driver.feed(clip[start : start + piece])
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert kept < 64_000
