"""The drivers by the name that they had here: they are in `avatarpool.lipsync`."""

from avatarpool.lipsync import *  # noqa: F403
