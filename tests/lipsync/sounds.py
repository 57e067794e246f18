"""What drivers are given to animate, and what of their keyframes is looked at."""

from __future__ import annotations

import math
import random
from array import array
from functools import cache
from importlib.resources import files

from avatarpool.audio import read_audio
from avatarpool.lipsync import DriverFactory
from avatarpool.protocol.keyframes import Keyframe


def animate(
    make: DriverFactory, pcm: bytes, sample_rate: int = 16000, seed: int = 0
) -> list[Keyframe]:
    driver = make(sample_rate, seed)
    return driver.feed(pcm) + driver.finish()


def jaws(keyframes: list[Keyframe]) -> list[float]:
    return [keyframe.jaw_pose[0] for keyframe in keyframes]


@cache
def speech(sample_rate: int = 16000) -> bytes:
    return read_audio(str(files("avatarpool") / "assets" / "speech.wav"), sample_rate=sample_rate)


def tone(hertz: float, amplitude: float, seconds: float = 2.0) -> bytes:
    step = math.tau * hertz / 16000
    count = int(seconds * 16000)
    return array("h", [round(amplitude * math.sin(step * i)) for i in range(count)]).tobytes()


def noise(decibels: float, seconds: float = 2.0) -> bytes:
    source = random.Random(1)
    amplitude = 32768 * 10 ** (decibels / 20)
    samples = (round(source.gauss(0, amplitude)) for _ in range(int(seconds * 16000)))
    return array("h", [max(-32768, min(32767, x)) for x in samples]).tobytes()
