"""WAV files to 16-bit mono samples: a small RIFF reader.

Python's own ``wave`` reads neither floating point nor, before 3.12, the
extensible header that most editors write; this does both in fewer lines than a
detour around it.
"""

from __future__ import annotations

import math
import struct
import sys
from array import array
from dataclasses import dataclass

from avatarpool.exceptions import AudioError

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_ENDLESS = 0xFFFFFFFF  # written by programs that stream and cannot seek back
_MIN_RATE, _MAX_RATE = 4000, 384_000  # nobody is understood at less, which is a trick to grow


@dataclass(frozen=True, slots=True)
class _Format:
    """What the ``fmt`` chunk says of the samples."""

    kind: int
    channels: int
    sample_rate: int
    block_bytes: int
    bits: int


def read_wav(data: bytes) -> tuple[array[int], int]:
    """Return the mono samples of a WAV file, channels averaged, and their rate.

    Raises:
        AudioError: Damaged, or of a kind other than 8, 16, 24 or 32-bit PCM and
            32-bit float.
    """
    form: _Format | None = None
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        at += 8
        if name == b"fmt ":
            form = _read_format(data[at : at + size])
        elif name == b"data":
            if form is None:
                raise AudioError("the WAV file has audio before its format: export it again")
            return _mono(_samples(_data(data, at, size), form), form.channels), form.sample_rate
        at += size + size % 2
    raise AudioError("the WAV file ends before its audio: export it again")


def _read_format(chunk: bytes) -> _Format:
    if len(chunk) < 16:
        raise AudioError("the WAV file's format is cut short: export it again")
    kind, channels, rate, _, block_bytes, bits = struct.unpack_from("<HHIIHH", chunk)
    if kind == _EXTENSIBLE and len(chunk) >= 26:
        kind = int.from_bytes(chunk[24:26], "little")
    form = _Format(kind, channels, rate, block_bytes, bits)
    if (kind, bits) not in ((_PCM, 8), (_PCM, 16), (_PCM, 24), (_PCM, 32), (_FLOAT, 32)):
        raise AudioError(
            f"the WAV file's encoding (format {kind}, {bits} bits) is not supported: "
            "export it as 16-bit PCM"
        )
    if not channels or not _MIN_RATE <= rate <= _MAX_RATE or block_bytes != channels * bits // 8:
        raise AudioError(
            f"the WAV file's format cannot be ({channels} channels, {rate} Hz, "
            f"{block_bytes} bytes each): export it again"
        )
    return form


def _data(data: bytes, at: int, size: int) -> memoryview:
    there = len(data) - at
    if size != _ENDLESS and size > there:
        raise AudioError(
            f"the WAV file is cut short: it announces {size} bytes of audio and has {there}; "
            "copy or download it again"
        )
    return memoryview(data)[at : at + size]


def _samples(raw: memoryview, form: _Format) -> array[int]:
    """The interleaved samples as 16-bit numbers."""
    if len(raw) % form.block_bytes:
        raise AudioError(
            f"the WAV file ends inside a sample ({len(raw)} bytes of {form.block_bytes} each): "
            "copy or download it again"
        )
    if form.kind == _FLOAT:
        floats = array("f")
        floats.frombytes(raw)
        if sys.byteorder == "big":
            floats.byteswap()
        return array("h", map(_from_float, floats))
    # Of wider integers the two upper bytes are the 16-bit sample; an 8-bit one
    # is unsigned and becomes the upper byte.
    width = form.bits // 8
    samples = array("h", (0,)) * (len(raw) // width)
    upper = memoryview(samples).cast("B")
    if width == 1:
        upper[1::2] = bytes(raw).translate(_FLIPPED)
    else:
        upper[0::2] = raw[width - 2 :: width]
        upper[1::2] = raw[width - 1 :: width]
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


_FLIPPED = bytes(value ^ 0x80 for value in range(256))


def _from_float(value: float) -> int:
    if math.isnan(value):
        return 0
    return round(max(-1.0, min(1.0, value)) * 32767)


def _mono(samples: array[int], channels: int) -> array[int]:
    if channels == 1:
        return samples
    view = memoryview(samples)  # no copies: a file may be as large as memory bears
    together = zip(*(view[channel::channels] for channel in range(channels)), strict=True)
    return array("h", (sum(sample) // channels for sample in together))


def from_pcm(pcm: bytes) -> array[int]:
    """Samples of raw s16le bytes."""
    samples = array("h", pcm)
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def to_pcm(samples: array[int]) -> bytes:
    """Raw s16le bytes of samples."""
    if sys.byteorder == "big":
        samples = samples[:]
        samples.byteswap()
    return samples.tobytes()
