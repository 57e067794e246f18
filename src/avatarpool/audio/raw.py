"""Raw 16-bit samples, which have no head: what they are, HTTP's ``Content-Type`` says."""

from __future__ import annotations

import re
from email.message import Message

from avatarpool.audio.samples import MAX_RATE, MIN_RATE, Samples, is_rate, to_mono
from avatarpool.exceptions import AudioError

_ENCODINGS = {"audio/pcm": "<i2", "audio/l16": ">i2"}  # as networks send it (RFC 2586)
_MAX_CHANNELS = 64


def is_raw(content_type: str) -> bool:
    """Whether it says that something is raw samples."""
    return _parsed(content_type).get_content_type() in _ENCODINGS


def raw_layout(content_type: str, sample_rate: int) -> tuple[str, int, int]:
    """Return how the samples are written, as `to_mono` has it, how many channels, and their rate.

    Args:
        content_type: For which `is_raw` is true. Its parameters ``rate`` and
            ``channels`` may be left out: ``sample_rate``, and 1.
        sample_rate: The rate where it names none.

    Raises:
        AudioError: There can be no such samples.
    """
    header = _parsed(content_type)
    rate = _number(header.get_param("rate", str(sample_rate)))
    channels = _number(header.get_param("channels", "1"))
    if not is_rate(rate) or not 1 <= channels <= _MAX_CHANNELS:
        raise AudioError(
            f"there is no raw PCM of the content type {content_type[:80]!r}: "
            "name its rate, as in audio/pcm;rate=16000"
        )
    return _ENCODINGS[header.get_content_type()], channels, rate


def read_raw(data: bytes, content_type: str, sample_rate: int) -> tuple[Samples, int]:
    """Return the mono samples, channels averaged, and their rate.

    Args:
        data: The samples.
        content_type: As of `raw_layout`.
        sample_rate: The rate where it names none.

    Raises:
        AudioError: There can be no such samples, or they are cut short.
    """
    encoding, channels, rate = raw_layout(content_type, sample_rate)
    if len(data) % (2 * channels):
        raise half_a_sample(len(data), channels)
    return to_mono(memoryview(data), encoding, channels), rate


def check_raw(audio: object, sample_rate: object, channels: object) -> None:
    """Check a piece of samples that somebody gives along with what they are.

    Args:
        audio: Should be bytes: whole samples, those of one moment side by side.
        sample_rate: Should be samples per second.
        channels: Should be their number.

    Raises:
        AudioError: There can be no such samples.
    """
    if not isinstance(audio, bytes | bytearray | memoryview):
        raise AudioError(f"audio is no bytes but of type {type(audio).__name__}: give 16-bit PCM")
    if not isinstance(sample_rate, int) or not is_rate(sample_rate):
        raise AudioError(
            f"audio cannot have {sample_rate!r:.80} samples a second: give a whole number "
            f"of {MIN_RATE} to {MAX_RATE}"
        )
    if not isinstance(channels, int) or not 1 <= channels <= _MAX_CHANNELS:
        raise AudioError(
            f"audio cannot have {channels!r:.80} channels: give a number of 1 to {_MAX_CHANNELS}"
        )
    size = memoryview(audio).nbytes
    if not size:
        raise AudioError("a piece of audio has no samples: leave it out")
    if size % (2 * channels):
        raise half_a_sample(size, channels)


def half_a_sample(size: int, channels: int) -> AudioError:
    """Return what is wrong with so many bytes."""
    of = f" of {channels} channels" if channels > 1 else ""
    return AudioError(f"{size} bytes are no whole number of 16-bit samples{of}: send it whole")


def _parsed(content_type: str) -> Message:
    header = Message()
    header["Content-Type"] = content_type
    return header


def _number(value: object) -> int:
    """The number that a parameter is, 0 for none."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,6}", value) else 0
