"""The face's parameters and its drawing."""

import re
import xml.etree.ElementTree as ET

import pytest

from avatarpool import Keyframe
from avatarpool.view import face_svg, pose_of
from avatarpool.view.face import _RIG

SVG = "{http://www.w3.org/2000/svg}"


def outlines(pose, paint=""):
    """The path data of the shapes that are filled with a paint, or of all."""
    paths = ET.fromstring(face_svg(pose)).findall(f"{SVG}path")  # noqa: S314 - our own
    return [path.get("d") for path in paths if paint in path.get("fill")]


def corners(pose, paint):
    """The points of the one shape with that paint."""
    (outline,) = outlines(pose, paint)
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", outline)]


def test_a_keyframe_becomes_parameters():
    pose = pose_of(
        Keyframe(
            rotation=(0.0, 0.02, 0.01),
            neck_pose=(0.0, 0.01, 0.0),
            jaw_pose=(0.125, 0.0, 0.0),
            eye_pose=(0.0, 0.1, 0.0, 0.0, 0.1, 0.0),
            eye_lid=(1.0, 0.25),
            expression=(-0.5, 0.1, 0.2, 0.3, 0.4),
        )
    )
    assert pose["jaw"] == pytest.approx(0.5)  # of .25 rad
    assert (pose["spread"], pose["round"]) == (0.0, 0.5)
    assert (pose["press"], pose["roll"], pose["funnel"], pose["raise"]) == (0.1, 0.2, 0.3, 0.4)
    assert (pose["lidLeft"], pose["lidRight"]) == (1.0, 0.25)
    assert pose["yaw"] == pytest.approx(0.03)
    # Both eyes look to the person's left: out with the left one, in with the right one.
    assert (pose["outLeft"], pose["outRight"]) == (0.1, -0.1)


def test_a_keyframe_of_another_basis_stays_within_what_the_face_can_do():
    pose = pose_of(Keyframe(jaw_pose=(3.0, 0.0, 0.0), expression=(-7.0, 9.0), eye_lid=(-1.0, 5.0)))
    assert (pose["jaw"], pose["round"], pose["press"]) == (1.2, 1.0, 1.0)
    assert (pose["lidLeft"], pose["lidRight"]) == (0.0, 1.0)


def test_an_empty_keyframe_is_the_face_at_rest():
    assert set(pose_of(Keyframe()).values()) == {0.0}
    assert face_svg(pose_of(Keyframe())) == face_svg({})


@pytest.mark.parametrize("parameter", sorted(_RIG["parameters"]))
def test_every_parameter_moves_the_drawing(parameter):
    assert face_svg({parameter: _RIG["parameters"][parameter]["range"][1]}) != face_svg({})


def test_every_point_and_paint_is_drawn():
    drawn = [*_RIG["shapes"], *_RIG["clips"].values()]
    named = {name for shape in drawn for name in re.findall(r"[a-zA-Z]\w+", shape["d"])}
    assert named == set(_RIG["points"])
    assert set(_RIG["paints"]) <= {shape["fill"] for shape in drawn if "fill" in shape}


def test_every_move_is_by_a_parameter():
    either = {re.sub(r"(Left|Right)$", "", name) for name in _RIG["parameters"]}
    for name, point in _RIG["points"].items():
        assert set(point) - {"at", "head"} <= either, name


def test_an_open_jaw_takes_the_chin_down_and_leaves_the_hair():
    def chin(pose):
        return max(y for _, y in corners(pose, "skin"))

    assert chin({"jaw": 1.0}) > chin({}) + 20
    assert outlines({"jaw": 1.0}, "hair)") == outlines({}, "hair)")


def test_one_lid_closes_alone():
    pairs = zip(outlines({}), outlines({"lidLeft": 1.0}), strict=True)
    changed = [before for before, after in pairs if before != after]
    assert changed
    # The person's left is on the viewer's right, where x is above 0.
    assert all(float(outline.split()[1]) > 0 for outline in changed)


def test_the_lips_are_symmetrical_until_the_head_turns():
    def is_symmetrical(pose):
        lips = set(corners(pose, "lowerLip"))
        return lips == {(-x, y) for x, y in lips}

    assert is_symmetrical({"jaw": 0.7, "round": 0.3})
    assert not is_symmetrical({"yaw": 0.1})


def test_two_faces_of_one_document_share_no_id():
    def ids(svg):
        return set(re.findall(r' id="([^"]+)"', svg))

    first, second = face_svg({}, prefix="a"), face_svg({}, prefix="b")
    assert ids(first)
    assert not ids(first) & ids(second)
    assert set(re.findall(r"url\(#([^)]+)\)", first)) <= ids(first)
