"""What every driver that listens to the audio promises."""

from __future__ import annotations

import math
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import animate, jaws, speech

from avatarpool.lipsync import DriverFactory, DspDriver
from avatarpool.lipsync.face import EXPRESSIONS
from avatarpool.lipsync.model import ModelDriver
from avatarpool.protocol.settings import PCM_SAMPLE_RATES

pytestmark = pytest.mark.parametrize("make", [DspDriver, ModelDriver])


@pytest.mark.parametrize("sample_rate", PCM_SAMPLE_RATES)
@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_every_40_ms_begun_give_a_keyframe(make, sample_rate, extra):
    samples = 5 * sample_rate // 25 + extra
    keyframes = animate(make, bytes(2 * samples), sample_rate)

    assert len(keyframes) == math.ceil(samples / (sample_rate / 25))


def test_no_audio_gives_no_keyframe(make):
    assert animate(make, b"") == []


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 24000), max_size=12))
def test_keyframes_do_not_depend_on_how_the_audio_is_cut(make: DriverFactory, cuts: list[int]):
    clip = speech()[:48000]
    driver = make(16000, 0)
    keyframes = []
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), 24000], strict=True):
        keyframes += driver.feed(clip[2 * start : 2 * stop])
    keyframes += driver.finish()

    assert keyframes == animate(make, clip)


def test_the_same_seed_gives_the_same_keyframes_and_another_the_same_mouth(make):
    clip = speech()

    assert animate(make, clip, seed=1) == animate(make, clip, seed=1)
    assert animate(make, clip, seed=1) != animate(make, clip, seed=2)
    assert jaws(animate(make, clip, seed=1)) == jaws(animate(make, clip, seed=2))


def test_the_jaw_is_shut_in_silence(make):
    assert max(jaws(animate(make, bytes(96000)))) == 0.0


def test_the_jaw_shuts_after_speech(make):
    after = jaws(animate(make, speech()[:48000] + bytes(32000)))[-12:]

    assert max(after) < 0.002


def test_quiet_speech_moves_the_mouth_nearly_as_loud_speech_does(make):
    quiet = array("h", [x // 4 for x in array("h", speech())]).tobytes()

    assert sum(jaws(animate(make, quiet))) > 0.6 * sum(jaws(animate(make, speech())))


def test_keyframes_have_flame_s_shapes_and_sane_values(make):
    for keyframe in animate(make, speech() * 4):
        assert len(keyframe.translation) == len(keyframe.rotation) == len(keyframe.neck_pose) == 3
        assert len(keyframe.jaw_pose) == 3
        assert len(keyframe.eye_pose) == 6
        assert len(keyframe.eye_lid) == 2
        assert len(keyframe.expression) == EXPRESSIONS == 100
        assert all(0.0 <= lid <= 1.0 for lid in keyframe.eye_lid)
        assert all(-1.0 <= value <= 1.0 for value in keyframe.expression)
        assert all(abs(angle) < 0.1 for angle in keyframe.rotation + keyframe.neck_pose)


@pytest.mark.parametrize("sample_rate", [0, -50, 11025])
def test_a_rate_that_cannot_be_cut_into_blocks_is_refused(make, sample_rate):
    with pytest.raises(ValueError, match=f"sample rate {sample_rate}"):
        make(sample_rate, 0)
