"""The shipped clip and how alike two pieces of sound are, for the audio tests."""

import importlib.resources

import numpy as np

SPEECH_WAV = importlib.resources.files("avatarpool") / "assets" / "speech.wav"
SPEECH_PCM = SPEECH_WAV.read_bytes()[44:]


def likeness(heard: bytes, original: bytes, *, max_delay: int = 24) -> float:
    """Correlation of two s16le clips, from -1 to 1, at the best delay in samples."""
    a, b = (np.frombuffer(pcm, "<i2").astype(float) for pcm in (heard, original))
    a = np.pad(a, (0, len(b) + max_delay))[: len(b) + max_delay]
    sums = np.concatenate([[0.0], np.cumsum(a * a)])
    energies = (sums[len(b) :] - sums[: -len(b)]) * (b @ b)
    return float(max(np.correlate(a, b, "valid") / np.sqrt(np.maximum(energies, 1.0))))
