"""CMU Flite's recorded voices: speech, and when each phone ends."""

from __future__ import annotations

import math
import subprocess
import tempfile
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
from labels import SAMPLE_RATE, Phone, Said
from phones import ARPABET
from scipy.signal import resample_poly
from sentences import Request

# Voices that no model is trained on or chosen by.
HELD_OUT_VOICES = ("slt", "kal16")
TRAINING_VOICES = ("rms", "awb")
_SIZE_STEPS = 50  # vocal tracts differ by whole steps, which keep the resampling small


def speak(voice: str, request: Request) -> Said:
    """Return how one of flite's voices says something in English."""
    size = round(request.size * _SIZE_STEPS) / _SIZE_STEPS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        options = {"duration_stretch": request.stretch / size, "f0_shift": request.pitch * size}
        settings = [f"{name}={value:.3f}" for name, value in options.items()]
        command = ["flite", "-voice", voice, "-psdur", "-t", request.text, "-o", str(path)]
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


def as_of_size(said: Said, size: float) -> Said:
    """Return what a vocal tract that is so much longer would have said."""
    wave, phones = said
    moved = [Phone(p.start * size, p.end * size, p.ipa) for p in phones]
    return resized(wave, SAMPLE_RATE, size), moved
