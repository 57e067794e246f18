"""Bases: kept in files, and fitted to pairs."""

import json
import random

import numpy as np
import pytest
from faces import LOCAL, held, keyframe

from avatarpool import ConfigurationError
from avatarpool.blendshapes import ARKIT, Basis, Shape, arkit
from avatarpool.blendshapes.arrays import keyframes_in, stack


def test_a_basis_that_was_saved_is_loaded(tmp_path):
    LOCAL.save(tmp_path / "local.json")
    assert Basis.load(tmp_path / "local.json") == LOCAL


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nonsense", "it is no JSON"),
        (b"\xff\xfe\xfd", "it is no JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "no number 'jaw_open' and object 'shapes'"),
        ('{"jaw_open": 0.4, "shapes": {"jawOpen": 1}}', "'jawOpen' has no numbers"),
        (
            '{"jaw_open": 0.4, "shapes": {"smile": {"rest": 0, "jaw": 0, "expression": []}}}',
            "smile",
        ),
        (
            '{"jaw_open": 0.4, "shapes": {"jawOpen": {"rest": 0, "jaw": 0, "expression": []}}}',
            "'jawOpen' is no ARKit name that a basis tells",
        ),
        (
            '{"jaw_open": 1, "shapes": {"cheekPuff": {"rest": NaN, "jaw": 0, "expression": []}}}',
            "'cheekPuff' has a value that is infinite or no number",
        ),
        ('{"jaw_open": 0, "shapes": {}}', "opens by 0 rad"),
        (
            json.dumps(
                {
                    "jaw_open": 1,
                    "shapes": {"cheekPuff": {"rest": 0, "jaw": 0, "expression": [0] * 1001}},
                }
            ),
            "more than 1000 coefficients",
        ),
        (" " * (4 * 1024 * 1024 + 1), "more than 4194304 bytes"),
    ],
    ids=range(11),
)
def test_a_file_that_is_no_basis_is_told_in_one_sentence(tmp_path, text, problem):
    file = tmp_path / "face.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigurationError, match="is no basis: ") as caught:
        Basis.load(file)
    assert problem in str(caught.value)
    assert len(str(caught.value)) < 400


def test_an_integer_of_hundreds_of_digits_is_no_coefficient(tmp_path):
    file = tmp_path / "face.json"
    shape = f'{{"rest": {"9" * 400}, "jaw": 0, "expression": []}}'
    file.write_text(f'{{"jaw_open": 0.4, "shapes": {{"cheekPuff": {shape}}}}}')
    with pytest.raises(ConfigurationError, match="'cheekPuff' has no numbers"):
        Basis.load(file)


# --- the fit ------------------------------------------------------------------------


def faces(count):
    """Keyframes whose mouths do anything at all."""
    rng = random.Random(7)
    return [
        keyframe(
            jaw_pose=(rng.uniform(0, 0.5), 0.0, 0.0),
            expression=(rng.uniform(-1, 1), *(rng.uniform(0, 1) for _ in range(4)), *(0.0,) * 95),
        )
        for _ in range(count)
    ]


def test_a_fit_finds_the_basis_that_made_its_pairs():
    fitted = Basis.fit((face, arkit(face, LOCAL)) for face in faces(400))
    assert fitted.jaw_open == pytest.approx(LOCAL.jaw_open)
    assert set(fitted.shapes) == set(LOCAL.shapes)
    # Those it has not seen, too; weights that stop at 0, as a pucker does, among them.
    for face in [*faces(420)[400:], *map(held, ("PP", "ou", "ih", "aa"))]:
        expected, found = arkit(face, LOCAL), arkit(face, fitted)
        assert found == {name: pytest.approx(expected[name], abs=0.01) for name in expected}


def test_a_fit_is_of_the_names_that_all_pairs_have():
    pairs = [(face, {"cheekPuff": 0.5, "headYaw": 0.3}) for face in faces(20)]
    pairs[3][1]["tongueOut"] = 1.0
    basis = Basis.fit(pairs)
    assert set(basis.shapes) == {"cheekPuff"}
    assert basis.jaw_open == 0.4
    assert arkit(keyframe(), basis)["cheekPuff"] == pytest.approx(0.5, abs=0.01)


def test_a_fit_with_noise_comes_near():
    rng = random.Random(3)
    truth = Basis({"mouthFunnel": Shape(0.1, 0.4, (0.3, -0.2))})
    pairs = [
        (face, {"mouthFunnel": min(1.0, max(0.0, weight + rng.gauss(0, 0.02)))})
        for face in faces(500)
        for weight in [arkit(face, truth)["mouthFunnel"]]
    ]
    shape = Basis.fit(pairs).shapes["mouthFunnel"]
    assert (shape.rest, shape.jaw) == pytest.approx((0.1, 0.4), abs=0.05)
    assert shape.expression[:2] == pytest.approx((0.3, -0.2), abs=0.05)


@pytest.mark.parametrize(
    ("pairs", "problem"),
    [
        ([], "need as many pairs|no ARKit name"),
        ([(face, {"cheekPuff": 0.5}) for face in faces(5)], "7 unknowns need as many pairs.* 5"),
        ([(face, {"smile": 0.5}) for face in faces(20)], "'smile' is no ARKit name"),
        ([(face, {"headYaw": 0.5}) for face in faces(20)], "no ARKit name is in all pairs"),
        ([(face, {"cheekPuff": 1.5}) for face in faces(20)], "not within 0 to 1"),
        ([(face, {"cheekPuff": float("nan")}) for face in faces(20)], "infinite or no number"),
        ([(face, {"jawOpen": 0.0}) for face in faces(20)], "jawOpen does not grow with"),
    ],
    ids=range(7),
)
def test_pairs_that_tell_nothing_are_refused(pairs, problem):
    with pytest.raises(ConfigurationError, match=problem):
        Basis.fit(pairs)


# --- arrays -------------------------------------------------------------------------


def test_keyframes_go_through_arrays_and_back():
    some = faces(3)
    arrays = {
        name: np.array([getattr(face, name) for face in some], np.float32)
        for name in ("jaw_pose", "eye_lid", "expression")
    }
    arrays["time"] = np.array([0.0, 0.04, 0.08], np.float32)
    read = list(keyframes_in(arrays))
    assert [face.time for face in read] == pytest.approx([0.0, 0.04, 0.08])
    columns = stack(arkit(face, LOCAL) for face in read)
    assert set(ARKIT) < set(columns)
    assert columns["jawOpen"].dtype == np.float32
    assert columns["jawOpen"].tolist() == pytest.approx(
        [arkit(face)["jawOpen"] for face in some], abs=1e-6
    )
    assert "mouthClose" not in stack([arkit(some[0], LOCAL), arkit(some[1])])
    assert stack([]) == {}
