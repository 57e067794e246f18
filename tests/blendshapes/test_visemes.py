"""Visemes and VRM's expressions, against what the face does."""

import pytest
from faces import LOCAL, held, keyframe
from hypothesis import given
from hypothesis import strategies as st

from avatarpool import lipsync
from avatarpool.blendshapes import VISEMES, VRM, idle, visemes, vrm
from avatarpool.blendshapes.nonnegative import nonnegative

# Of these the lips and the jaw do all but the same: the tongue tells them apart.
ALIKE = {"TH", "DD", "kk", "nn"}


@pytest.mark.parametrize("viseme", VISEMES)
def test_each_viseme_of_the_lips_comes_back(viseme):
    weights = visemes(held(viseme), LOCAL)
    assert tuple(weights) == VISEMES == lipsync.VISEMES
    assert sum(weights.values()) == pytest.approx(1.0)
    assert min(weights.values()) >= 0.0
    first = max(weights, key=weights.__getitem__)
    assert first in (ALIKE | {"SS"} if viseme in ALIKE else {viseme})


def test_a_closed_m_is_pp_alone():
    assert visemes(held("PP"), LOCAL)["PP"] > 0.95


def test_half_of_an_open_mouth_is_half_of_its_viseme():
    wide, silent = held("aa"), held("sil")
    half = keyframe(
        jaw_pose=tuple((a + b) / 2 for a, b in zip(wide.jaw_pose, silent.jaw_pose, strict=True)),
        expression=tuple(
            (a + b) / 2 for a, b in zip(wide.expression, silent.expression, strict=True)
        ),
    )
    weights = visemes(half, LOCAL)
    assert 0.3 < weights["aa"] < 0.6
    assert weights["PP"] < 0.1


def test_without_a_basis_the_jaw_tells_aa_and_no_other_is_there():
    opened = visemes(held("aa"))
    assert opened == {"sil": pytest.approx(0.0, abs=0.01), "aa": pytest.approx(1.0, abs=0.01)}
    assert visemes(keyframe()) == {"sil": 1.0, "aa": 0.0}


@given(st.lists(st.floats(-1, 1, width=32), min_size=5, max_size=5), st.floats(0, 0.25))
def test_a_little_of_motion_changes_the_visemes_a_little(expression, jaw):
    def mix(more):
        face = keyframe(jaw_pose=(jaw + more, 0.0, 0.0), expression=tuple(expression))
        return visemes(face, LOCAL)

    one, other = mix(0.0), mix(0.0001)
    assert max(abs(one[name] - other[name]) for name in VISEMES) < 0.03


@given(st.data())
def test_the_least_squares_are_the_least(data):
    """No other answer that is not negative is better: the slope says so (Kuhn and Tucker)."""
    number = st.floats(-3, 3, width=32)
    rows = data.draw(st.lists(st.lists(number, min_size=4, max_size=4), min_size=6, max_size=6))
    goal = data.draw(st.lists(number, min_size=6, max_size=6))
    gram = [
        [sum(x * y for x, y in zip(a, b, strict=True)) + (0.01 if a is b else 0) for b in rows]
        for a in rows
    ]
    found = nonnegative(gram, goal)
    slope = [
        g - sum(x * y for x, y in zip(row, found, strict=True))
        for row, g in zip(gram, goal, strict=True)
    ]
    assert min(found) >= 0
    assert max(slope) < 1e-6
    assert all(abs(s) < 1e-6 for s, value in zip(slope, found, strict=True) if value > 0)


# --- VRM ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("viseme", "expression"),
    [("aa", "aa"), ("ih", "ih"), ("ou", "ou"), ("E", "ee"), ("oh", "oh")],
)
def test_a_vowel_is_vrms_own(viseme, expression):
    weights = vrm(held(viseme), LOCAL)
    vowels = {name: weights[name] for name in ("aa", "ih", "ou", "ee", "oh")}
    assert max(vowels, key=vowels.__getitem__) == expression
    assert vowels[expression] > 0.5


@pytest.mark.parametrize("viseme", ["sil", "PP"])
def test_a_shut_mouth_is_no_vowel(viseme):
    weights = vrm(held(viseme), LOCAL)
    assert sum(weights[name] for name in ("aa", "ih", "ou", "ee", "oh")) < 0.2


def test_emotions_are_absent_and_without_a_basis_all_vowels_but_aa():
    known = vrm(held("oh"), LOCAL)
    assert list(known) == [name for name in VRM if name in known]
    emotions = {"happy", "angry", "sad", "relaxed", "surprised", "neutral"}
    assert set(VRM) - set(known) == emotions
    assert set(known) - set(vrm(held("oh"))) == {"ih", "ou", "ee", "oh"}


def test_blinks_of_both_eyes_and_of_one_are_never_added_up():
    weights = vrm(keyframe(eye_lid=(1.0, 1.0)))
    assert [weights[name] for name in ("blink", "blinkLeft", "blinkRight")] == [1.0, 0.0, 0.0]
    weights = vrm(keyframe(eye_lid=(0.25, 1.0)))
    assert [weights[name] for name in ("blink", "blinkLeft", "blinkRight")] == [0.25, 0.0, 0.75]


@pytest.mark.parametrize(
    ("pitch", "yaw", "look"),
    [
        (0.3, 0.0, "lookDown"),
        (-0.3, 0.0, "lookUp"),
        (0.0, 0.3, "lookLeft"),
        (0.0, -0.3, "lookRight"),
    ],
)
def test_looks_follow_the_eyes(pitch, yaw, look):
    weights = vrm(keyframe(eye_pose=(pitch, yaw, 0.0) * 2))
    looks = {name: value for name, value in weights.items() if name.startswith("look") and value}
    assert looks == {look: pytest.approx(0.5)}


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1, 0.0])
def test_a_mouth_that_comes_to_rest_comes_to_silence(share):
    """From pressed lips to none at all, and between: nothing opens on the way."""
    pressed = held("sil").expression
    weights = visemes(keyframe(expression=tuple(share * value for value in pressed)), LOCAL)
    assert weights["sil"] > 0.85


def test_an_idle_face_is_silent():
    assert visemes(idle(7, 1.0), LOCAL)["sil"] > 0.85
    assert max(vrm(idle(7, 1.0), LOCAL)[name] for name in ("aa", "ih", "ou", "ee", "oh")) < 0.05
