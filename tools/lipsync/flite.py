"""CMU Flite's recorded voices: speech, and when each phone ends."""

from __future__ import annotations

import math
import subprocess
import tempfile
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
from labels import SAMPLE_RATE, Phone
from phones import ARPABET
from scipy.signal import resample_poly

# Voices that no model is trained on or chosen by.
HELD_OUT_VOICES = ("slt", "kal16")
TRAINING_VOICES = ("rms", "awb")
_SIZE_STEPS = 50  # vocal tracts differ by whole steps, which keep the resampling small


def speak(
    text: str, voice: str, *, stretch: float = 1.0, pitch: float = 1.0, size: float = 1.0
) -> tuple[npt.NDArray[np.float32], list[Phone]]:
    """Return the speech at 16 kHz, full scale 1, and its phones.

    Args:
        text: English.
        voice: One of flite's.
        stretch: How much longer it lasts.
        pitch: How much higher it is.
        size: How much longer the vocal tract is than the voice's own: the sound
            is played slower, which pitch and stretch make up for.
    """
    size = round(size * _SIZE_STEPS) / _SIZE_STEPS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        options = {"duration_stretch": stretch / size, "f0_shift": pitch * size}
        settings = [f"{name}={value:.3f}" for name, value in options.items()]
        command = ["flite", "-voice", voice, "-psdur", "-t", text, "-o", str(path)]
        for setting in settings:
            command += ["--setf", setting]
        said = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
        samples, rate = read_wave(path)
    phones = []
    start = 0.0
    for word in said.stdout.split():
        name, colon, seconds = word.rpartition(":")
        if not colon:
            continue
        end = float(seconds) * size
        phones.append(Phone(start, end, ARPABET.get(name, "")))
        start = end
    return resized(samples, rate, size), phones


def read_wave(path: Path) -> tuple[npt.NDArray[np.float32], int]:
    """Return the samples of a file, full scale 1, and how many a second has."""
    with wave.open(str(path)) as file:
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return samples.astype(np.float32) / 32768, rate


def resized(samples: npt.NDArray[np.float32], rate: int, size: float) -> npt.NDArray[np.float32]:
    """Return the sound of a vocal tract that is so much longer, at 16 kHz: played slower."""
    played = round(size * _SIZE_STEPS) * (SAMPLE_RATE // _SIZE_STEPS)
    common = math.gcd(played, rate)
    return resample_poly(samples, played // common, rate // common).astype(np.float32)
