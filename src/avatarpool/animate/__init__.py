"""Speech files to animation files, through a pool."""

from avatarpool.animate.animation import SAMPLE_RATE, Animation, Tick
from avatarpool.animate.batch import Batch, NoSession, Write
from avatarpool.animate.clips import Clip, find_clips

__all__ = [
    "SAMPLE_RATE",
    "Animation",
    "Batch",
    "Clip",
    "NoSession",
    "Tick",
    "Write",
    "find_clips",
]
