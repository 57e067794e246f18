"""The speech clip that ships with the package."""

from __future__ import annotations

from importlib.resources import files

from avatarpool.audio import read_audio


def load_speech_clip(sample_rate: int = 16000) -> bytes:
    """Return three seconds of real speech as raw mono 16-bit PCM.

    Args:
        sample_rate: Samples per second, one of the session's rates.
    """
    clip = files("avatarpool").joinpath("assets", "speech.wav")
    return read_audio(clip.read_bytes(), sample_rate=sample_rate)
