"""Audio files to what a session takes, the check before sending, and Opus.

Nothing here does network I/O or needs a running loop. WAV, AIFF and raw PCM need
no extra package; the extra ``audio`` (PyAV) reads MP3, FLAC, M4A, WebM and Ogg,
and writes Ogg Opus.
"""

from __future__ import annotations

from avatarpool.audio.check import check_audio
from avatarpool.audio.encoding import RequestEncoder
from avatarpool.audio.opus import OpusEncoder
from avatarpool.audio.read import AUDIO_SUFFIXES, MAX_AUDIO_BYTES, read_audio

__all__ = [
    "AUDIO_SUFFIXES",
    "MAX_AUDIO_BYTES",
    "OpusEncoder",
    "RequestEncoder",
    "check_audio",
    "read_audio",
]
