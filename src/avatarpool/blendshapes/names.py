"""The names that faces go by."""

from __future__ import annotations


def _sides(*names: str) -> list[str]:
    return [name + side for name in names for side in ("Left", "Right")]


def _eye(side: str) -> list[str]:
    parts = ("Blink", "LookDown", "LookIn", "LookOut", "LookUp", "Squint", "Wide")
    return [f"eye{part}{side}" for part in parts]


ARKIT = (
    *_eye("Left"),
    *_eye("Right"),
    *("jawForward", "jawRight", "jawLeft", "jawOpen"),
    *("mouthClose", "mouthFunnel", "mouthPucker", "mouthRight", "mouthLeft"),
    *_sides("mouthSmile", "mouthFrown", "mouthDimple", "mouthStretch"),
    *("mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper"),
    *_sides("mouthPress", "mouthLowerDown", "mouthUpperUp", "browDown"),
    "browInnerUp",
    *_sides("browOuterUp"),
    "cheekPuff",
    *_sides("cheekSquint", "noseSneer"),
    "tongueOut",
)
"""ARKit's 52 blend shapes, in the order of Live Link Face's recordings."""

ROTATIONS = tuple(
    f"{part}{angle}"
    for part in ("head", "leftEye", "rightEye")
    for angle in ("Yaw", "Pitch", "Roll")
)
"""The rotations that Live Link Face records beside them."""

VISEMES = (
    *("sil", "PP", "FF", "TH", "DD", "kk", "CH", "SS"),
    *("nn", "RR", "aa", "E", "ih", "oh", "ou"),
)
"""The 15 visemes of Oculus' lip-sync, in its order."""

VRM = (
    *("happy", "angry", "sad", "relaxed", "surprised"),
    *("aa", "ih", "ou", "ee", "oh"),
    *("blink", "blinkLeft", "blinkRight"),
    *("lookUp", "lookDown", "lookLeft", "lookRight"),
    "neutral",
)
"""The preset expressions of VRM 1.0."""
