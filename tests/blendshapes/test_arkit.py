"""ARKit's weights, against what the face does."""

import math

import pytest
from faces import LOCAL, held, keyframe
from hypothesis import given
from hypothesis import strategies as st

from avatarpool import Keyframe
from avatarpool.blendshapes import ARKIT, ROTATIONS, Basis, Shape, arkit
from avatarpool.blendshapes.basis import MEASURED


def test_without_a_basis_what_cannot_be_known_is_absent():
    weights = arkit(held("PP"))
    assert set(weights) == MEASURED | set(ROTATIONS)
    assert "mouthClose" not in weights


def test_the_local_basis_knows_all_names_in_their_order():
    assert tuple(arkit(held("PP"), LOCAL)) == ARKIT + ROTATIONS
    assert len(ARKIT) == 52


def test_a_basis_that_knows_one_name_adds_it():
    basis = Basis({"cheekPuff": Shape(expression=(0.0, 0.5))}, jaw_open=0.5)
    weights = arkit(keyframe(jaw_pose=(0.25, 0.0, 0.0), expression=(9.0, 0.5)), basis)
    assert set(weights) == MEASURED | set(ROTATIONS) | {"cheekPuff"}
    assert (weights["cheekPuff"], weights["jawOpen"]) == (0.25, 0.5)


def test_an_open_vowel_opens_the_jaw_and_parts_the_lips():
    weights = arkit(held("aa"), LOCAL)
    assert weights["jawOpen"] == pytest.approx(0.225 / 0.4, abs=0.01)
    assert weights["jawOpen"] == arkit(held("aa"))["jawOpen"]
    assert weights["mouthClose"] == weights["mouthPressLeft"] == 0.0


def test_m_closes_the_mouth_by_lips_that_meet():
    shut = arkit(held("PP"), LOCAL)
    # As far as the jaw is open, and a little further: it is mostly shut, and a
    # mouthClose without an open jaw would push a face's lips through each other.
    assert shut["jawOpen"] < 0.05 < shut["mouthClose"] < 0.2
    assert shut["mouthPressLeft"] == shut["mouthPressRight"] > 0.5
    others = [arkit(held(viseme), LOCAL)["mouthClose"] for viseme in ("aa", "E", "ih", "oh", "SS")]
    assert max(others) == 0.0


@pytest.mark.parametrize(
    ("viseme", "name", "least"),
    [
        ("ou", "mouthPucker", 0.6),
        ("oh", "mouthFunnel", 0.4),
        ("CH", "mouthFunnel", 0.4),
        ("ih", "mouthStretchRight", 0.2),
        ("FF", "mouthRollLower", 0.5),
        ("FF", "mouthUpperUpLeft", 0.1),
    ],
)
def test_each_sound_moves_the_lips_its_own_way(viseme, name, least):
    assert arkit(held(viseme), LOCAL)[name] > least
    assert arkit(held("sil"), LOCAL)[name] < least / 2


def test_a_blink_closes_both_eyes_and_a_wink_one():
    blink = arkit(keyframe(eye_lid=(1.0, 1.0)))
    assert blink["eyeBlinkLeft"] == blink["eyeBlinkRight"] == 1.0
    wink = arkit(keyframe(eye_lid=(0.75, 0.0)))
    assert (wink["eyeBlinkLeft"], wink["eyeBlinkRight"]) == (0.75, 0.0)


def test_eyes_that_look_to_the_left_turn_one_out_and_the_other_in():
    weights = arkit(keyframe(eye_pose=(0.0, 0.3, 0.0, 0.0, 0.3, 0.0)))
    looks = {name: value for name, value in weights.items() if "Look" in name and value}
    assert looks == {
        "eyeLookOutLeft": pytest.approx(0.5),
        "eyeLookInRight": pytest.approx(0.5),
    }
    assert weights["leftEyeYaw"] == weights["rightEyeYaw"] == pytest.approx(0.3)


@pytest.mark.parametrize(("pitch", "look"), [(0.3, "eyeLookDown"), (-0.3, "eyeLookUp")])
def test_eyes_look_down_and_up(pitch, look):
    weights = arkit(keyframe(eye_pose=(pitch, 0.0, 0.0, pitch, 0.0, 0.0)))
    looks = {name: value for name, value in weights.items() if "Look" in name and value}
    assert looks == {look + side: pytest.approx(0.5) for side in ("Left", "Right")}


def test_a_jaw_turns_aside():
    left, right = (arkit(keyframe(jaw_pose=(0.0, turn, 0.0))) for turn in (0.1, -0.1))
    assert (left["jawLeft"], left["jawRight"]) == (0.5, 0.0)
    assert (right["jawLeft"], right["jawRight"]) == (0.0, 0.5)


@pytest.mark.parametrize(("axis", "angle"), [(0, "headPitch"), (1, "headYaw"), (2, "headRoll")])
def test_the_head_turns_with_the_neck_beneath_it(axis, angle):
    turn = tuple(0.1 if axis == i else 0.0 for i in range(3))
    weights = arkit(keyframe(rotation=turn, neck_pose=turn))
    heads = {name: weights[name] for name in ("headYaw", "headPitch", "headRoll")}
    assert heads == {name: pytest.approx(0.2 if name == angle else 0.0) for name in heads}


def test_a_head_that_turns_about_a_slant_axis_has_the_angles_of_its_matrix():
    x, y, z = rotation = (0.4, -0.7, 0.3)
    weights = arkit(keyframe(rotation=rotation))
    # Rodrigues' formula: where the face's forward axis goes.
    angle = math.sqrt(x * x + y * y + z * z)
    x, y, z = x / angle, y / angle, z / angle
    sine, rest = math.sin(angle), 1 - math.cos(angle)
    forward = (y * sine + x * z * rest, -x * sine + y * z * rest, math.cos(angle) + z * z * rest)
    assert math.atan2(forward[0], forward[2]) == pytest.approx(weights["headYaw"])
    assert math.asin(-forward[1]) == pytest.approx(weights["headPitch"])


def test_values_that_a_keyframe_lacks_count_as_0():
    assert arkit(Keyframe(), LOCAL) == arkit(keyframe(), LOCAL)


any_float = st.floats(width=32)


@given(
    st.builds(
        Keyframe,
        rotation=st.lists(any_float, max_size=4).map(tuple),
        jaw_pose=st.lists(any_float, max_size=4).map(tuple),
        eye_pose=st.lists(any_float, max_size=7).map(tuple),
        eye_lid=st.lists(any_float, max_size=3).map(tuple),
        expression=st.lists(any_float, max_size=8).map(tuple),
    )
)
def test_whatever_a_service_sends_weights_are_0_to_1_and_angles_are_angles(face):
    weights = arkit(face, LOCAL)
    assert all(0.0 <= weights[name] <= 1.0 for name in ARKIT)
    assert all(abs(weights[name]) <= math.pi for name in ROTATIONS)
