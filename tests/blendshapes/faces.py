"""Faces whose keyframes are known."""

from avatarpool import Keyframe
from avatarpool.blendshapes import LOCAL
from avatarpool.lipsync import TimedViseme, VisemeDriver

__all__ = ["LOCAL", "held", "keyframe"]


def held(viseme):
    """What the local service's face does once it has held a viseme for a second."""
    driver = VisemeDriver([TimedViseme(0, viseme)], 16000)
    return [*driver.feed(bytes(32000)), *driver.finish()][-1]


def keyframe(**values):
    """A keyframe at rest, but for these values."""
    rest = {
        "rotation": (0.0,) * 3,
        "neck_pose": (0.0,) * 3,
        "jaw_pose": (0.0,) * 3,
        "eye_pose": (0.0,) * 6,
        "eye_lid": (0.0,) * 2,
        "expression": (0.0,) * 100,
    }
    return Keyframe(**(rest | values))
