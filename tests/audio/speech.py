"""The shipped clip and how alike two pieces of sound are, for the audio tests."""

import importlib.resources
import math
import operator
from array import array

SPEECH_WAV = importlib.resources.files("avatarpool") / "assets" / "speech.wav"
SPEECH_PCM = SPEECH_WAV.read_bytes()[44:]


def likeness(heard: bytes, original: bytes, *, max_delay: int = 24) -> float:
    """Correlation of two s16le clips, from -1 to 1, at the best delay in samples."""
    a, b = array("h", heard), array("h", original)
    return max(_correlation(a[delay:], b) for delay in range(0, max_delay, 2))


def _correlation(a: array, b: array) -> float:
    length = min(len(a), len(b))
    a, b = a[:length], b[:length]
    energy = math.sqrt(_product(a, a) * _product(b, b))
    return _product(a, b) / energy if energy else 0.0


def _product(a: array, b: array) -> int:
    return sum(map(operator.mul, a, b))
