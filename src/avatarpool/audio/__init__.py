"""Audio files to what a session takes, the check before sending, and Opus.

Nothing here does network I/O or needs a running loop. WAV and raw PCM need no
extra package; Ogg Opus is read and written with the extra ``opus`` (PyAV).
"""

from __future__ import annotations

from avatarpool.audio.check import check_audio
from avatarpool.audio.encoding import RequestEncoder
from avatarpool.audio.opus import OpusEncoder
from avatarpool.audio.read import MAX_AUDIO_BYTES, read_audio

__all__ = ["MAX_AUDIO_BYTES", "OpusEncoder", "RequestEncoder", "check_audio", "read_audio"]
