"""The speech clip that ships with the package."""

from __future__ import annotations

from importlib.resources import files

from avatarpool.audio import read_audio
from avatarpool.protocol.settings import DEFAULT_SAMPLE_RATE


def load_speech_clip(sample_rate: int = DEFAULT_SAMPLE_RATE) -> bytes:
    """Return three seconds of real speech as raw mono 16-bit PCM.

    Args:
        sample_rate: Samples per second, one of the session's rates.
    """
    clip = files("avatarpool").joinpath("assets", "speech.wav")
    return read_audio(clip.read_bytes(), sample_rate=sample_rate)
