from __future__ import annotations

from avatarpool.lipsync import default_driver
from avatarpool.lipsync.model import ModelDriver


def test_the_trained_driver_is_the_default():
    assert type(default_driver(16000, 0)) is ModelDriver
