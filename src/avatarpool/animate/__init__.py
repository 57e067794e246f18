"""Speech files to animation files, through a pool."""

from avatarpool.animate.animation import Animation, Tick
from avatarpool.animate.batch import Animated, Batch, NoSession, Write
from avatarpool.animate.clips import (
    SAMPLE_RATE,
    Clip,
    find_clips,
    find_namesakes,
)
from avatarpool.animate.origin import is_made_of, means_of
from avatarpool.animate.outputs import prepare, remove_leftovers

__all__ = [
    "SAMPLE_RATE",
    "Animated",
    "Animation",
    "Batch",
    "Clip",
    "NoSession",
    "Tick",
    "Write",
    "find_clips",
    "find_namesakes",
    "is_made_of",
    "means_of",
    "prepare",
    "remove_leftovers",
]
