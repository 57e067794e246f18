"""Makes head.glb: a head whose morph targets have ARKit's names.

    python head.py [FILE]

The skin is rings of vertices around the mouth: the first is the line between the lips, the
last one the back of the head. Where a ring's vertices are in space, a sum of ellipsoids says,
seen from the head's middle. Units are metres; x is the person's left, y up, z out of the face.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from avatarpool.blendshapes import ARKIT

Array = npt.NDArray[np.float64]
Shift = Callable[["Part"], Array]

SEGMENTS = 128  # of a ring
MOUTH = np.array([0.0, -0.066, 0.1])  # the direction of the rings' pole
LIP_WIDTH = 0.2  # radians from the mouth's middle to a corner
JAW_JOINT = np.array([0.0, -0.02, 0.0])
JAW_RADIANS = 0.4  # of a jawOpen of 1
EYE, EYE_RADIUS = np.array([0.031, 0.012, 0.0715]), 0.0135

SKIN, LIP, HAIR = "#d9a58a", "#b4645f", "#3a2a22"
WHITE, IRIS, PUPIL = "#f4f1ec", "#5b7f95", "#0b0b0d"
TOOTH, GUM, TONGUE = "#efe8da", "#5a1f22", "#b7616a"
CLOTH = "#3f4a5a"

# Middle and radii; those with an x stand for either side.
SOLIDS = [
    ((0, 0.034, -0.014), (0.074, 0.086, 0.093)),  # cranium
    ((0, -0.035, 0.022), (0.059, 0.082, 0.066)),  # face
    ((0, -0.098, 0.064), (0.024, 0.017, 0.019)),  # chin
    ((0, -0.064, 0.073), (0.029, 0.024, 0.018)),  # mouth
    ((0.038, -0.028, 0.056), (0.023, 0.024, 0.024)),  # cheek
    ((0.026, 0.035, 0.068), (0.024, 0.011, 0.012)),  # brow ridge
    ((0, -0.004, 0.091), (0.0075, 0.031, 0.011)),  # nose
    ((0, -0.027, 0.104), (0.0105, 0.0095, 0.0105)),  # its tip
    ((0.0105, -0.031, 0.096), (0.0065, 0.0065, 0.008)),  # its wing
]
SOCKET = ((0.031, 0.012, 0.096), (0.024, 0.017, 0.021))


@dataclass
class Part:
    """Some of the head's vertices, and what of them shapes move.

    Attributes:
        kind: What it is; some shapes move one kind of part alone.
        points: (n, 3).
        faces: (m, 3), counter-clockwise from outside.
        colors: (n, 3), as light.
        jaw: (n), how much each goes along with the jaw.
        lip: (n), how much each is lip.
        side: (n), 1 at the upper lip's middle, 0 at the corners, -1 at the lower one's middle.
        arc: (n), where on an eyebrow: 0 at the nose, 1 at the outer end.
    """

    kind: str
    points: Array
    faces: npt.NDArray[np.int64]
    colors: Array
    jaw: Array = field(default_factory=lambda: np.zeros(1))
    lip: Array = field(default_factory=lambda: np.zeros(1))
    side: Array = field(default_factory=lambda: np.zeros(1))
    arc: Array = field(default_factory=lambda: np.zeros(1))

    def __post_init__(self) -> None:
        for name in ("jaw", "lip", "side", "arc"):
            setattr(self, name, np.broadcast_to(getattr(self, name), len(self.points)))
        outwards = normals_of(self.points, self.faces) * (self.points - self.points.mean(axis=0))
        if outwards.sum() < 0:
            self.faces = self.faces[:, ::-1]

    def near(self, x: float, y: float, z: float, radius: float) -> Array:
        """How near each vertex is to a place: 1 there, and next to nothing two radii away."""
        gap = np.linalg.norm(self.points - (x, y, z), axis=1) / radius
        return np.asarray(np.exp(-(gap**2)))

    def moved(self, weights: Array | float, x: float, y: float, z: float) -> Array:
        """Move each by so much of a distance."""
        return np.asarray(np.multiply.outer(np.broadcast_to(weights, len(self.points)), (x, y, z)))

    def still(self) -> Array:
        """Move nothing."""
        return np.zeros_like(self.points)


# --- what there is -----------------------------------------------------------------------------


def linear(color: str) -> Array:
    """A colour of the screen's as light."""
    values = np.array([int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.asarray(((values + 0.055) / 1.055) ** 2.4)


def smooth(values: Array, low: float, high: float) -> Array:
    """0 up to one value, 1 from another one on, and no edge between."""
    share = np.clip((values - low) / (high - low), 0, 1)
    return np.asarray(share * share * (3 - 2 * share))


def distance(points: Array) -> Array:
    """About how far points are outside the head; below 0 they are inside."""

    def ellipsoid(middle: Any, radii: Any) -> Array:
        x = np.abs(points[:, :1]) if middle[0] else points[:, :1]
        scaled = (np.hstack([x, points[:, 1:]]) - middle) / radii
        length = np.linalg.norm(scaled, axis=1)
        slope = np.linalg.norm(scaled / radii, axis=1)
        return np.asarray(length * (length - 1) / np.maximum(slope, 1e-9))

    def joined(a: Array, b: Array, width: float) -> Array:
        share = np.clip(0.5 + 0.5 * (b - a) / width, 0, 1)
        return np.asarray(b * (1 - share) + a * share - width * share * (1 - share))

    found = ellipsoid(*SOLIDS[0])
    for middle, radii in SOLIDS[1:]:
        found = joined(found, ellipsoid(middle, radii), 0.004 + 0.5 * min(radii))
    return -joined(-found, ellipsoid(*SOCKET), 0.012)


def surface(directions: Array) -> Array:
    """The points of the head's surface in some directions from its middle."""
    near, far = np.full(len(directions), 0.02), np.full(len(directions), 0.2)
    for _ in range(30):
        middle = (near + far) / 2
        is_inside = distance(directions * middle[:, None]) < 0
        near, far = np.where(is_inside, middle, near), np.where(is_inside, far, middle)
    return np.asarray(directions * near[:, None])


def grid(rows: int, columns: int, *, wraps: bool = True) -> npt.NDArray[np.int64]:
    """The triangles between the rows of a grid of vertices."""
    across = np.arange(columns if wraps else columns - 1)
    row = np.arange(rows - 1)[:, None] * columns
    a, b = row + across, row + (across + 1) % columns
    return np.concatenate([np.stack(corner, axis=-1).reshape(-1, 3) for corner in
                           ((a, b, b + columns), (a, b + columns, a + columns))])  # fmt: skip


def skin() -> Part:
    """The face and the head behind it, and the inside of the mouth."""
    lips = [0, 0.008, 0.02, 0.036, 0.055, 0.075, 0.1]
    heights = np.concatenate([lips, np.arange(0.125, 1.5, 0.03), np.linspace(1.5, np.pi, 26)])
    turn = np.arange(SEGMENTS) / SEGMENTS * 2 * np.pi
    cos, sin = np.cos(turn), np.sin(turn)
    across = np.sqrt(heights**2 + LIP_WIDTH**2 * np.clip(1 - heights / 2.2, 0, 1))[:, None]
    right, up = across * cos, heights[:, None] * sin
    polar, azimuth = np.hypot(right, up), np.arctan2(up, right)
    polar = np.minimum(polar, np.pi)
    ahead = MOUTH / np.linalg.norm(MOUTH)
    above = np.array([0.0, ahead[2], -ahead[1]])
    directions = (
        np.multiply.outer(np.cos(polar), ahead)
        + np.multiply.outer(np.sin(polar) * np.cos(azimuth), [1.0, 0, 0])
        + np.multiply.outer(np.sin(polar) * np.sin(azimuth), above)
    )
    points = surface(directions.reshape(-1, 3)).reshape(len(heights), SEGMENTS, 3)
    # Lips stand out; the upper one is thinner, and dips in its middle.
    thick = (
        np.where(sin > 0, 0.062 - 0.01 * np.exp(-((cos / 0.16) ** 2)), 0.078) * np.abs(sin) ** 0.35
    )
    share = heights[:, None] / np.maximum(thick, 1e-3)
    bulge = np.sin(np.clip(share, 0, 1) * np.pi) * np.abs(sin) ** 0.5
    points += np.multiply.outer(bulge * 0.0024, ahead)
    lip = np.exp(-((heights[:, None] / 0.13) ** 2)) * np.ones_like(sin)
    side = np.broadcast_to(sin, lip.shape)
    goes = np.clip(-side, 0, 1) ** 0.5
    jaw = goes * smooth(points[..., 2], -0.045, 0.045) * smooth(-points[..., 1], 0.02, 0.065)
    jaw[:7] = goes[:7]
    flat = points.reshape(-1, 3)
    is_lip = smooth(-share, -1.12, -0.94).reshape(-1, 1)
    edge = flat[:, 1] - 0.062 + 0.45 * np.clip(0.03 - flat[:, 2], 0, 1) * (flat[:, 2] < 0.03)
    hairy = smooth(edge + 0.9 * np.clip(0.04 - flat[:, 2], 0, 0.09), -0.002, 0.006)[:, None]
    hairy *= smooth(flat[:, 1] + 0.35 * np.clip(-0.02 - flat[:, 2], 0, 0.1), -0.035, -0.025)[
        :, None
    ]
    colors = linear(SKIN) * (1 - is_lip) + linear(LIP) * is_lip
    cheek = np.linalg.norm(
        flat * (np.sign(flat[:, :1]) * (1, 0, 0) + (0, 1, 1)) - (0.04, -0.03, 0.07), axis=1
    )
    blush = np.exp(-((cheek / 0.02) ** 2))
    colors = colors * (1 - 0.25 * blush[:, None] * (0.0, 1.0, 1.0))
    colors = colors * (1 - hairy) + linear(HAIR) * hairy
    flat = flat * (1 + 0.045 * hairy)
    # Inwards from the lips' line.
    rooms = [
        (0.003, 0.001, 1.0),
        (0.01, 0.006, 1.0),
        (0.026, 0.014, 0.9),
        (0.045, 0.01, 0.7),
        (0.05, 0, 0),
    ]
    inner = [points[0] * (wide, 1, 1) + np.outer(sin, (0, high, 0)) - (0, 0, depth)
             for depth, high, wide in rooms]  # fmt: skip
    inside = np.concatenate([*reversed(inner)])
    reach = len(rooms)
    return Part(
        "skin",
        np.concatenate([inside, flat]),
        grid(len(heights) + reach, SEGMENTS),
        np.concatenate([np.tile(linear(GUM), (len(inside) - SEGMENTS, 1)),
                        np.tile(linear(LIP), (SEGMENTS, 1)), colors]),
        np.concatenate([np.outer([0.3, 0.5, 0.8, 1, 1], goes[0]).reshape(-1), jaw.reshape(-1)]),
        np.concatenate([np.repeat([0.0, 0.0, 0.2, 0.6, 1.0], SEGMENTS), lip.reshape(-1)]),
        np.concatenate([np.tile(sin, reach), side.reshape(-1)]),
    )  # fmt: skip


def eyeball(sign: int) -> Part:
    """An eye, its pole where it looks."""
    rings = np.radians([0, 11, 12, 20, 30, 32, 45, 60, 80, 100, 130, 180])
    colors = [PUPIL] * 2 + [IRIS] * 3 + [WHITE] * 7
    turn = np.arange(32) / 32 * 2 * np.pi
    ball = np.stack(
        [np.outer(np.sin(rings), np.cos(turn)), np.outer(np.sin(rings), np.sin(turn)),
         np.outer(np.cos(rings), np.ones(32))], axis=-1
    ).reshape(-1, 3)  # fmt: skip
    shade = np.repeat([linear(color) for color in colors], 32, axis=0)
    return Part(f"eye{sign}", EYE * (sign, 1, 1) + EYE_RADIUS * ball, grid(len(rings), 32), shade)


LIDS = {"upper": (24.0, 125.0), "lower": (-30.0, -120.0)}  # degrees up from straight ahead


def lid_points(sign: int, degrees: Array) -> Array:
    """A lid's vertices; rows have angles around the line between the eye's corners."""
    along = np.radians(np.linspace(8, 172, 25))
    up = np.radians(degrees)[:, None]
    ball = np.stack(
        [np.cos(along) + 0 * up, np.sin(along) * np.sin(up), np.sin(along) * np.cos(up)], axis=-1
    )
    return np.asarray(EYE * (sign, 1, 1) + 1.13 * EYE_RADIUS * ball).reshape(-1, 3)


def lid(sign: int, which: str) -> Part:
    """An eyelid: a piece of a sphere around the eye."""
    first, last = LIDS[which]
    points = lid_points(sign, np.linspace(first, last, 9))
    shade = np.repeat(smooth(np.arange(9.0), -0.1, 1.2), 25)[:, None]
    colors = linear(SKIN) * shade * 0.97 + linear(HAIR) * (1 - shade)
    return Part(f"{which}{sign}", points, grid(9, 25, wraps=False), colors)


def tube(kind: str, middles: Array, wide: Array, high: Array, color: str, **more: Any) -> Part:
    """Ellipses in the y-z plane, one after the other along x."""
    turn = np.arange(12) / 12 * 2 * np.pi
    ring = np.stack([0 * turn, np.sin(turn), np.cos(turn)], axis=-1)
    points = middles[:, None] + ring * np.stack([0 * wide, high, wide], axis=-1)[:, None]
    size = points.shape[0] * 12
    return Part(
        kind,
        points.reshape(-1, 3),
        grid(len(middles), 12),
        np.tile(linear(color), (size, 1)),
        **more,
    )


def brow(sign: int) -> Part:
    """An eyebrow, from its inner end outwards."""
    along = np.linspace(0, 1, 13)
    x = 0.013 + 0.037 * along
    y = 0.0365 + 0.006 * np.sin(np.pi * (0.15 + 0.8 * along)) - 0.004 * along
    here = np.stack([x, y, 0 * x + 0.08], axis=-1)
    z = surface(here / np.linalg.norm(here, axis=1, keepdims=True))[:, 2]
    middles = np.stack([sign * x, y, z + 0.0005], axis=-1)
    thin = np.sqrt(np.clip(1 - (2 * along - 1) ** 4, 0, 1)) * (1 - 0.35 * along)
    arc = np.repeat(along, 12)
    return tube(f"brow{sign}", middles, 0.0022 * thin, 0.0036 * thin, HAIR, arc=arc)


def teeth(kind: str, y: float, jaw: float) -> Part:
    """A row of teeth, as a bent band."""
    turn = np.linspace(-1.25, 1.25, 25)
    middles = np.stack(
        [0.0215 * np.sin(turn), 0 * turn + y, 0.064 + 0.0185 * np.cos(turn)], axis=-1
    )
    return tube(kind, middles, 0 * turn + 0.0022, 0 * turn + 0.0048, TOOTH, jaw=np.full(1, jaw))


def blob(kind: str, middle: Any, radii: Any, color: str, **more: Any) -> Part:
    """An ellipsoid."""
    along = np.linspace(-1, 1, 21)
    size = np.sqrt(np.clip(1 - along**2, 0, 1))
    middles = np.array(middle) + np.outer(along, [radii[0], 0, 0])
    return tube(kind, middles, radii[2] * size, radii[1] * size, color, **more)


def bust() -> Part:
    """Neck and shoulders, which do not turn with the head."""
    y = np.array([-0.06, -0.09, -0.13, -0.16, -0.175, -0.19, -0.215, -0.25])
    wide = np.array([0.043, 0.046, 0.049, 0.057, 0.073, 0.11, 0.15, 0.165])
    deep = np.array([0.03, 0.044, 0.05, 0.055, 0.06, 0.068, 0.078, 0.085])
    back = np.array([-0.022, -0.022, -0.024, -0.029, -0.031, -0.033, -0.035, -0.036])
    turn = np.arange(64) / 64 * 2 * np.pi
    x, z = np.outer(wide, np.sin(turn)), back[:, None] + np.outer(deep, np.cos(turn))
    points = np.stack([x, np.outer(y, np.ones(64)), z], axis=-1)
    colors = np.repeat([linear(SKIN)] * 3 + [linear(CLOTH)] * 5, 64, axis=0)
    return Part("bust", points.reshape(-1, 3), grid(len(y), 64), colors)


# --- how it moves -------------------------------------------------------------------------------


def jaw_turned(part: Part) -> Array:
    """The jaw open: turned about its joints, each vertex as much as it goes along."""
    angle = JAW_RADIANS * part.jaw
    y, z = (part.points - JAW_JOINT)[:, 1:].T
    cos, sin = np.cos(angle), np.sin(angle)
    narrow = -0.12 * part.points[:, 0] * part.lip
    return np.stack([narrow, cos * y - sin * z - y, sin * y + cos * z - z], axis=-1)


def lips(upper: tuple[float, float], lower: tuple[float, float], narrow: float = 0.0) -> Shift:
    """Lips that go up and forward (in mm), and the mouth's width with them."""

    def shift(part: Part) -> Array:
        up = np.clip(part.side, 0, 1) ** 0.5 * part.lip
        low = np.clip(-part.side, 0, 1) ** 0.5 * part.lip
        both = up + low + (1 - np.abs(part.side)) ** 2 * part.lip
        ahead = (
            both * (upper[1] + lower[1]) / 2
            if upper[1] == lower[1]
            else up * upper[1] + low * lower[1]
        )
        x = -narrow * part.points[:, 0] * part.lip
        return np.stack([x, (up * upper[0] + low * lower[0]) / 1000, ahead / 1000], axis=-1)

    return shift


def place(x: float, y: float, z: float, radius: float, *by: float) -> Shift:
    """Skin around a place that goes somewhere (in mm)."""

    def shift(part: Part) -> Array:
        return part.moved(part.near(x, y, z, radius) * (part.kind == "skin") / 1000, *by)

    return shift


def of(kind: str, *by: float, weights: Callable[[Part], Array] | None = None) -> Shift:
    """A part that goes somewhere (in mm), all or some of it."""

    def shift(part: Part) -> Array:
        if part.kind != kind:
            return part.still()
        return part.moved((weights(part) if weights else np.ones(1)) / 1000, *by)

    return shift


def lid_turned(sign: int, which: str, degrees: float) -> Shift:
    """A lid whose edge goes up by so many degrees around the eye; its far end stays."""

    def shift(part: Part) -> Array:
        if part.kind != f"{which}{sign}":
            return part.still()
        first, last = LIDS[which]
        return lid_points(sign, np.linspace(first + degrees, last, 9)) - part.points

    return shift


def looking(sign: int, side: float, up: float) -> Shift:
    """An eye that is turned by radians: to the person's left, and up; its lids follow a little."""

    def shift(part: Part) -> Array:
        if part.kind != f"eye{sign}":
            return part.still()
        middle = EYE * (sign, 1, 1)
        x, y, z = (part.points - middle).T
        x, z = np.cos(side) * x + np.sin(side) * z, np.cos(side) * z - np.sin(side) * x
        y, z = np.cos(up) * y + np.sin(up) * z, np.cos(up) * z - np.sin(up) * y
        return np.asarray(np.stack([x, y, z], axis=-1) + middle - part.points)

    return shift


def lip_half(sign: int, which: int, up: float) -> Shift:
    """One half of a lip, up (in mm)."""

    def shift(part: Part) -> Array:
        here = smooth(sign * part.points[:, 0], -0.012, 0.012)
        return part.moved(
            np.clip(which * part.side, 0, 1) ** 0.5 * part.lip * here / 1000, 0, up, 0
        )

    return shift


def shapes() -> dict[str, list[Shift]]:
    """What moves in each of ARKit's shapes."""
    gaze = 0.6  # radians of a look of 1
    found: dict[str, list[Shift]] = {
        "jawOpen": [jaw_turned],
        "jawForward": [lambda part: part.moved(part.jaw, 0, 0, 0.007)],
        "jawLeft": [lambda part: part.moved(part.jaw, 0.009, 0, 0)],
        "jawRight": [lambda part: part.moved(part.jaw, -0.009, 0, 0)],
        "mouthClose": [lambda part: -jaw_turned(part) * part.lip[:, None]],
        "mouthFunnel": [lips((2.5, 6.0), (-2.5, 6.0), 0.3)],
        "mouthPucker": [lips((0.5, 7.0), (-0.5, 7.0), 0.38)],
        "mouthLeft": [lambda part: part.moved(part.lip, 0.009, 0, 0)],
        "mouthRight": [lambda part: part.moved(part.lip, -0.009, 0, 0)],
        "mouthRollLower": [lips((0, 0), (2.0, -4.5))],
        "mouthRollUpper": [lips((-1.5, -4.0), (0, 0))],
        "mouthShrugLower": [lips((1.0, 0.5), (3.5, 2.0)), place(0, -0.1, 0.08, 0.02, 0, 2.5, 1)],
        "mouthShrugUpper": [lips((3.0, 2.0), (1.5, 0.5))],
        "cheekPuff": [place(s * 0.045, -0.05, 0.06, 0.025, s * 9, 0, 5) for s in (1, -1)],
        "browInnerUp": [place(0, 0.045, 0.085, 0.022, 0, 4, 0)],
        "tongueOut": [of("tongue", 0, -3, 34)],
    }
    for sign, side in ((1, "Left"), (-1, "Right")):
        found["browInnerUp"].append(
            of(f"brow{sign}", 0, 8, 0, weights=lambda p: (1 - p.arc) ** 1.5)
        )
        moves = _of_a_side(sign, gaze)
        found |= {f"{name}{side}": shifts for name, shifts in moves.items()}
    return found


def _of_a_side(sign: int, gaze: float) -> dict[str, list[Shift]]:
    corner = (sign * 0.022, -0.066, 0.088)
    brow, nose = f"brow{sign}", (sign * 0.011, -0.028, 0.098)
    cheek = place(sign * 0.038, -0.03, 0.075, 0.02, 0, 3, 2)
    over_eye = place(sign * 0.022, 0.04, 0.08, 0.018, 0, -3, 1)
    temple = place(sign * 0.045, 0.045, 0.06, 0.02, 0, 3, 0)
    under_eye = place(sign * 0.036, -0.02, 0.078, 0.018, 0, 5, 2)
    over_lip = place(sign * 0.022, -0.05, 0.09, 0.012, 0, 3, 0)

    def lids(upper: float, lower: float) -> list[Shift]:
        return [lid_turned(sign, "upper", upper), lid_turned(sign, "lower", lower)]

    return {
        "mouthSmile": [place(*corner, 0.016, sign * 7, 8, -3), cheek],
        "mouthFrown": [place(*corner, 0.015, sign * 1, -8, -1)],
        "mouthDimple": [place(*corner, 0.012, sign * 4, 1, -4)],
        "mouthStretch": [place(*corner, 0.018, sign * 8, -3, -4)],
        "mouthPress": [lip_half(sign, 1, -1.2), lip_half(sign, -1, 1.2)],
        "mouthLowerDown": [lip_half(sign, -1, -6)],
        "mouthUpperUp": [lip_half(sign, 1, 6)],
        "browDown": [of(brow, -sign * 1.5, -6, 1), over_eye],
        "browOuterUp": [of(brow, 0, 7, -1, weights=lambda p: p.arc**1.5), temple],
        "cheekSquint": [under_eye, lid_turned(sign, "lower", 6)],
        "noseSneer": [place(*nose, 0.011, sign * 1, 5, 0), over_lip],
        "eyeBlink": lids(-48, 4),
        "eyeSquint": lids(-10, 12),
        "eyeWide": lids(14, -5),
        "eyeLookUp": [looking(sign, 0, gaze), lid_turned(sign, "upper", 8)],
        "eyeLookDown": [looking(sign, 0, -gaze), lid_turned(sign, "upper", -22)],
        "eyeLookOut": [looking(sign, sign * gaze, 0)],
        "eyeLookIn": [looking(sign, -sign * gaze, 0)],
    }


# --- the file -----------------------------------------------------------------------------------


def normals_of(points: Array, faces: npt.NDArray[np.int64]) -> Array:
    """The normals of vertices: the mean of their faces', by area."""
    a, b, c = (points[faces[:, corner]] for corner in range(3))
    normals = np.zeros_like(points)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], np.cross(b - a, c - a))
    return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12))


class Glb:
    """A GLB in the making."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": "head.py"},
            "scene": 0, "scenes": [{"nodes": []}], "nodes": [], "meshes": [], "materials": [],
            "accessors": [], "bufferViews": [],
        }  # fmt: skip
        self._binary = bytearray()

    def add(self, parts: list[Part], targets: list[list[Shift]], **material: Any) -> dict[str, Any]:
        """Add parts as one primitive, with a morph target for each list of shifts."""
        points = np.concatenate([part.points for part in parts])
        starts = np.cumsum([0, *(len(part.points) for part in parts)])
        faces = np.concatenate([part.faces + at for part, at in zip(parts, starts, strict=False)])
        normals = normals_of(points, faces)
        attributes = {
            "POSITION": self._accessor(points, bounds=True),
            "NORMAL": self._accessor(normals),
            "COLOR_0": self._accessor(np.concatenate([part.colors for part in parts])),
        }
        moved = []
        for shifts in targets:
            delta = np.concatenate([sum((s(part) for s in shifts), part.still()) for part in parts])
            turned = normals_of(points + delta, faces) - normals
            moved.append(
                {"POSITION": self._sparse(delta, bounds=True), "NORMAL": self._sparse(turned)}
            )
        self.document["materials"].append(
            {"pbrMetallicRoughness": {"metallicFactor": 0, **material}}
        )
        primitive = {
            "attributes": attributes,
            "indices": self._accessor(faces.reshape(-1, 1), "<u4", 5125),
            "material": len(self.document["materials"]) - 1,
        }
        return primitive | ({"targets": moved} if moved else {})

    def mesh(
        self, name: str, primitives: list[dict[str, Any]], names: list[str], **node: Any
    ) -> None:
        """Add a node with a mesh."""
        extras = {"weights": [0] * len(names), "extras": {"targetNames": names}} if names else {}
        self.document["meshes"].append({"name": name, "primitives": primitives} | extras)
        number = len(self.document["nodes"])
        self.document["nodes"].append({"name": name, "mesh": number, **node})
        self.document["scenes"][0]["nodes"].append(number)

    def _view(self, data: bytes) -> int:
        self._binary += bytes(-len(self._binary) % 4)
        view = {"buffer": 0, "byteOffset": len(self._binary), "byteLength": len(data)}
        self.document["bufferViews"].append(view)
        self._binary += data
        return len(self.document["bufferViews"]) - 1

    def _accessor(self, values: Any, kind: str = "<f4", component: int = 5126, **how: bool) -> int:
        data = np.ascontiguousarray(values, kind)
        described = {"bufferView": self._view(data.tobytes())}
        return self._describe(data, described, component, **how)

    def _sparse(self, values: Array, **how: bool) -> int:
        """Only what is not 0: most shapes move little."""
        data = np.where(np.abs(values) > 1e-6, values, 0).astype("<f4")
        (rows,) = np.nonzero(data.any(axis=1))
        described: dict[str, Any] = {}
        if len(rows):
            indices = {
                "bufferView": self._view(rows.astype("<u4").tobytes()),
                "componentType": 5125,
            }
            there = {"bufferView": self._view(data[rows].tobytes())}
            described["sparse"] = {"count": len(rows), "indices": indices, "values": there}
        return self._describe(data, described, 5126, **how)

    def _describe(
        self, data: Any, described: dict[str, Any], component: int, *, bounds: bool = False
    ) -> int:
        count, width = data.shape
        described |= {
            "componentType": component,
            "count": count,
            "type": "VEC3" if width == 3 else "SCALAR",
        }
        if bounds:
            described |= {"min": data.min(axis=0).tolist(), "max": data.max(axis=0).tolist()}
        self.document["accessors"].append(described)
        return len(self.document["accessors"]) - 1

    def whole(self) -> bytes:
        """The file."""
        document = self.document | {"buffers": [{"byteLength": len(self._binary)}]}
        text = json.dumps(document, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        binary = bytes(self._binary) + bytes(-len(self._binary) % 4)
        return b"".join([
            struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(binary)),
            struct.pack("<I4s", len(text), b"JSON"), text,
            struct.pack("<I4s", len(binary), b"BIN\0"), binary,
        ])  # fmt: skip


def head() -> bytes:
    """Return the head as a GLB."""
    made = shapes()
    targets = [made[name] for name in ARKIT]
    dull = [skin(), *(brow(sign) for sign in (1, -1))]
    dull += [lid(sign, which) for sign in (1, -1) for which in LIDS]
    dull += [
        blob(f"ear{s}", (s * 0.073, -0.004, -0.012), (0.008, 0.03, 0.018), SKIN) for s in (1, -1)
    ]
    wet = [eyeball(1), eyeball(-1), teeth("teeth", -0.0585, 0.0), teeth("teeth", -0.0725, 1.0)]
    wet.append(
        blob("tongue", (0, -0.0745, 0.062), (0.0165, 0.0045, 0.017), TONGUE, jaw=np.full(1, 0.9))
    )
    file = Glb()
    primitives = [
        file.add(dull, targets, roughnessFactor=0.62),
        file.add(wet, targets, roughnessFactor=0.18),
    ]
    file.mesh("head", primitives, list(ARKIT))
    file.mesh("bust", [file.add([bust()], [], roughnessFactor=0.75)], [])
    return file.whole()


if __name__ == "__main__":
    path = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("head.glb"))
    path.write_bytes(head())
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
