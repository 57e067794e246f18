"""The face, as parameters and as a drawing.

``static/rig.json`` is the whole of it: how a keyframe becomes a few named
parameters, points that move with them, and shapes whose outlines name points.
This module and ``static/avatar-face.js`` read it by the same rules:

- A parameter is a sum ``of`` a keyframe's fields, each with a place in it and a
  factor; the expression's places have the names of the local service's basis.
- A point is ``at`` x, y and depth, in the drawing's units, and for each unit of a
  parameter moves by that parameter's two numbers.
- ``-name`` is its mirror image. Where a parameter has a value for either side,
  the pose has it with ``Left`` or ``Right`` added: the person's left, the
  viewer's right, where points are not mirrored.
- The head's angles (radians) then turn it, as far as ``head`` says: 1, if it is
  left out, down to 0 for the shoulders.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from avatarpool.blendshapes.local import COEFFICIENTS
from avatarpool.protocol.keyframes import Keyframe

Pose = dict[str, float]
"""The face's parameters by name; one that is left out is 0."""

_RIG: dict[str, Any] = json.loads(
    files("avatarpool.view").joinpath("static", "rig.json").read_text(encoding="utf-8")
)
_NAME = re.compile(r"-?[a-zA-Z]\w+")  # of a point; a path's own commands have one letter
_NOT_ATTRIBUTES = {"clip", "d", "mirror"}


def pose_of(keyframe: Keyframe) -> Pose:
    """Return the face's parameters in a keyframe; values that it lacks count as 0.

    The lips follow the local service's expression basis (docs/reference.md).
    Each parameter is kept within its range, so that another service's basis
    gives an odd face and not a broken one.
    """
    pose = {}
    for name, parameter in _RIG["parameters"].items():
        value = 0.0
        for field, place, factor in parameter["of"]:
            index = COEFFICIENTS.index(place) if field == "expression" else place
            values = getattr(keyframe, field)
            value += factor * values[index] if index < len(values) else 0.0
        low, high = parameter["range"]
        pose[name] = min(high, max(low, value))
    return pose


def face_svg(pose: Mapping[str, float], *, prefix: str = "face") -> str:
    """Draw the face as an SVG image on its own, 400 by 450 units, without background.

    Args:
        pose: The face's parameters, as `pose_of` gives them.
        prefix: Begins the ids of gradients and clip paths; different ones let
            faces share an HTML document.
    """
    drawing = _Drawing(pose, prefix)
    clips = "".join(
        f'<clipPath id="{drawing.clip_id(name, is_mirrored=side)}"><path d="{outline}"/></clipPath>'
        for name, clip in _RIG["clips"].items()
        for side, outline in drawing.outlines(clip)
    )
    shapes = "".join(
        f'<path d="{outline}"{drawing.attributes(shape, is_mirrored=side)}/>'
        for shape in _RIG["shapes"]
        for side, outline in drawing.outlines(shape)
    )
    box = " ".join(map(str, _RIG["viewBox"]))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">'
        f"<defs>{_gradients(prefix)}{clips}</defs>{shapes}</svg>"
    )


class _Drawing:
    """One pose on its way to SVG."""

    def __init__(self, pose: Mapping[str, float], prefix: str) -> None:
        self._prefix = prefix
        self._place = _placing(pose)

    def outlines(self, shape: Mapping[str, Any]) -> list[tuple[bool, str]]:
        """The shape's path data, and its mirror image's if it has one."""
        sides = (False, True) if shape.get("mirror") else (False,)
        return [(side, self._outline(shape["d"], is_mirrored=side)) for side in sides]

    def _outline(self, named: str, *, is_mirrored: bool) -> str:
        return _NAME.sub(lambda name: self._place(name[0], is_mirrored), named)

    def attributes(self, shape: Mapping[str, Any], *, is_mirrored: bool) -> str:
        """The shape's other attributes."""
        attributes = {name: shape[name] for name in shape if name not in _NOT_ATTRIBUTES}
        if shape.get("fill") in _RIG["paints"]:
            attributes["fill"] = f"url(#{self._prefix}-{shape['fill']})"
        if "clip" in shape:
            attributes["clip-path"] = (
                f"url(#{self.clip_id(shape['clip'], is_mirrored=is_mirrored)})"
            )
        return "".join(f' {name}="{value}"' for name, value in attributes.items())

    def clip_id(self, name: str, *, is_mirrored: bool) -> str:
        """The id of a clip path; most have no mirror image."""
        is_mirrored = is_mirrored and _RIG["clips"][name].get("mirror", False)
        return f"{self._prefix}-in-{name}{'-mirrored' if is_mirrored else ''}"


def _placing(pose: Mapping[str, float]) -> Callable[[str, bool], str]:
    """Make the function that says, as path data, where a point is in this pose."""
    yaw, pitch, tilt = (pose.get(angle, 0.0) for angle in ("yaw", "pitch", "tilt"))

    @cache  # most points are named several times
    def place(name: str, is_mirrored: bool) -> str:  # noqa: FBT001
        if name.startswith("-"):
            name, is_mirrored = name[1:], not is_mirrored
        moves = dict(_RIG["points"][name])
        x, y, depth = moves.pop("at")
        head = moves.pop("head", 1)
        side = "Right" if is_mirrored else "Left"
        for parameter, (right, down) in moves.items():
            value = pose.get(parameter, pose.get(parameter + side, 0.0))
            x += value * right
            y += value * down
        if is_mirrored:
            x = -x
        turned_x = x + head * (yaw * depth + tilt * (y - _RIG["neckY"]))
        turned_y = y + head * (pitch * depth - tilt * x)
        return f"{turned_x:.2f} {turned_y:.2f}"

    return place


@cache
def _gradients(prefix: str) -> str:
    texts = []
    for name, paint in _RIG["paints"].items():
        tag = f"{paint['kind']}Gradient"
        where = "".join(f' {k}="{v}"' for k, v in paint.items() if k not in ("kind", "stops"))
        stops = "".join(
            f'<stop offset="{offset}" stop-color="{color}" stop-opacity="{opacity}"/>'
            for offset, color, opacity in paint["stops"]
        )
        texts.append(f'<{tag} id="{prefix}-{name}"{where}>{stops}</{tag}>')
    return "".join(texts)
