"""Idle motion, and what joins it to speech."""

from dataclasses import fields
from itertools import pairwise
from math import isfinite

import pytest
from faces import LOCAL, held, keyframe
from hypothesis import given
from hypothesis import strategies as st

from avatarpool import Keyframe
from avatarpool.blendshapes import Crossfade, arkit, idle
from avatarpool.blendshapes.idle import noise
from avatarpool.exceptions import ConfigurationError

SHOWN = [field.name for field in fields(Keyframe) if field.name != "time"]
times = st.floats(0, 1e5)


def distance(one, other):
    """The farthest that any value goes."""
    gaps = [0.0]
    for name in SHOWN:
        a, b = getattr(one, name), getattr(other, name)
        width = max(len(a), len(b))
        a, b = (values + (0.0,) * (width - len(values)) for values in (a, b))
        gaps += [abs(x - y) for x, y in zip(a, b, strict=True)]
    return max(gaps)


@given(st.integers(), times)
def test_idling_is_continuous_and_decided_by_its_seed(seed, now):
    assert idle(seed, now) == idle(seed, now)
    assert distance(idle(seed, now), idle(seed, now + 0.001)) < 0.03
    assert idle(seed, now).time == now


@pytest.mark.parametrize("seed", [0, 1, 99, -5])
def test_a_minute_has_15_blinks_of_both_eyes_and_small_motion(seed):
    minute = [idle(seed, number / 50) for number in range(3000)]
    lids = [face.eye_lid[0] for face in minute]
    assert sum(a < 0.5 <= b for a, b in pairwise(lids)) == 15
    assert all(face.eye_lid[0] == face.eye_lid[1] for face in minute)
    assert sum(lid > 0 for lid in lids) < 300
    assert 0.005 < max(abs(angle) for face in minute for angle in face.rotation) < 0.05
    assert {face.jaw_pose for face in minute} == {(0.0, 0.0, 0.0)}


def test_faces_of_other_seeds_do_not_move_in_step():
    lids = [[idle(seed, number / 25).eye_lid for number in range(500)] for seed in (1, 2)]
    assert lids[0] != lids[1]


def test_an_idle_mouth_is_at_rest_in_any_basis():
    weights = arkit(idle(1, 2.0), LOCAL)
    assert not any(value for name, value in weights.items() if name.startswith(("mouth", "jaw")))


def test_the_noise_is_what_another_language_computes_from_the_same_words():
    assert noise(7, 3) == 0x1EA9F040 / 2**32
    assert noise(7 + 2**32, 3) == noise(7, 3)
    assert noise(7, -1) != noise(7, 1)


@given(st.lists(st.tuples(st.sampled_from(["idle", "a", "b"]), st.integers(1, 20)), max_size=4))
def test_no_change_of_source_is_a_jump(turns):
    """Whatever follows whatever, the face goes no farther in 1 ms than it would by itself."""
    mouths = {"a": held("aa"), "b": held("PP")}
    crossfade, shown, now = Crossfade(0.3), None, 0.0
    for source, lasts in turns:
        for _ in range(lasts * 5):
            now += 0.001
            speech = mouths.get(source)
            pose = crossfade.pose(now, speech or idle(1, now), source)
            if shown is not None:
                assert distance(pose, shown) < 0.04
            assert all(0.0 <= lid <= 1.0 for lid in pose.eye_lid)
            shown = pose


def test_the_first_pose_is_shown_as_it_is_and_the_difference_is_gone_in_time():
    crossfade = Crossfade(0.3)
    assert crossfade.pose(5.0, held("aa"), "a") == held("aa")
    assert crossfade.pose(5.1, held("PP"), "b").jaw_pose == held("aa").jaw_pose
    assert crossfade.pose(5.25, held("PP"), "b").jaw_pose == pytest.approx(
        tuple((a + b) / 2 for a, b in zip(held("aa").jaw_pose, held("PP").jaw_pose, strict=True))
    )
    assert crossfade.pose(5.41, held("PP"), "b") == held("PP")


def test_speech_after_idling_keeps_its_lips_from_the_first_keyframe_on():
    crossfade = Crossfade()
    crossfade.pose(1.0, idle(1, 1.0), "idle")
    first = keyframe(rotation=(0.1, 0.0, 0.0))
    crossfade.pose(1.04, first, "speech")
    speaking = keyframe(jaw_pose=(0.2, 0.0, 0.0), expression=(0.5,) * 100)
    shown = crossfade.pose(1.08, speaking, "speech")
    assert (shown.jaw_pose, shown.expression) == (speaking.jaw_pose, speaking.expression)
    assert shown.rotation[0] < speaking.rotation[0] + 0.05


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), "0.3", None])
def test_a_fade_takes_time(seconds):
    with pytest.raises(ConfigurationError, match="is no time"):
        Crossfade(seconds)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_finite_number_does_not_spread_by_a_fade(wrong):
    crossfade = Crossfade(0.3)
    crossfade.pose(5.0, keyframe(jaw_pose=(wrong, 0.2, 0.0), eye_lid=(wrong, 0.5)), "a")
    shown = crossfade.pose(5.1, held("aa"), "b")
    assert shown.jaw_pose[:2] == (0.0, 0.2)  # as if it had been 0
    assert all(isfinite(value) for name in SHOWN for value in getattr(shown, name))
    shown = crossfade.pose(5.15, keyframe(jaw_pose=(wrong,), expression=(0.5, wrong)), "b")
    assert all(isfinite(value) for name in SHOWN for value in getattr(shown, name))
    assert crossfade.pose(5.5, held("aa"), "b") == held("aa")


@pytest.mark.parametrize(
    ("seed", "seconds", "why"),
    [
        (1.5, 0.0, "seed 1.5 is no whole number"),
        ("1", 0.0, "seed '1' is no whole number"),
        (1, float("nan"), "seconds nan is no time"),
        (1, 1e308, "is no time"),
        (1, 10**400, "is no time"),
        (1, -float("inf"), "seconds -inf is no time"),
        (1, None, "seconds None is no time"),
    ],
)
def test_nobody_idles_by_what_is_no_number(seed, seconds, why):
    with pytest.raises(ConfigurationError, match=why):
        idle(seed, seconds)
