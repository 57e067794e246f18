"""The ways to write samples, to 16-bit mono."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from avatarpool.exceptions import AudioError

Samples = NDArray[np.int16]

A_LAW, MU_LAW = "alaw", "ulaw"

_WIDTHS = {A_LAW: 1, MU_LAW: 1}  # bytes; of the others it is the last letter
_BLOCK = 1 << 16  # samples that are worked on at once: beside the file and what comes of it, all

MIN_RATE, MAX_RATE = 4000, 384_000  # nobody is understood at less, which is a trick to grow


def check_layout(what: str, channels: int, rate: float, block_bytes: int, encoding: str) -> None:
    """Check what a file says of its samples.

    Raises:
        AudioError: There can be no such file.
    """
    if not channels or not is_rate(rate) or block_bytes != channels * width_of(encoding):
        raise AudioError(
            f"the {what} file's format cannot be ({channels} channels, {rate:.0f} Hz, "
            f"{block_bytes} bytes each): export it again"
        )


def is_rate(rate: float) -> bool:
    """Whether sound may have so many samples a second."""
    return MIN_RATE <= rate <= MAX_RATE


def width_of(encoding: str) -> int:
    """Bytes of one sample."""
    return _WIDTHS.get(encoding) or int(encoding[-1])


def to_mono(raw: memoryview, encoding: str, channels: int) -> Samples:
    """Return the samples, channels averaged.

    Args:
        raw: Whole samples, those of one moment side by side.
        encoding: `A_LAW`, `MU_LAW`, or as numpy names types, with ``<i3`` and
            ``>i3`` for three bytes.
        channels: How many.
    """
    moment = width_of(encoding) * channels
    mono = np.empty(len(raw) // moment, np.int16)
    step = max(1, _BLOCK // channels)
    for start in range(0, len(mono), step):
        samples = _decoded(raw[start * moment : (start + step) * moment], encoding)
        if channels > 1:
            samples = samples.reshape(-1, channels).sum(axis=1, dtype=np.int64) // channels
        mono[start : start + step] = samples
    return mono


def _decoded(raw: memoryview, encoding: str) -> Samples:
    if encoding in _WIDTHS:
        return np.take(_law(encoding), np.frombuffer(raw, np.uint8))
    order, kind, width = encoding[:-2], encoding[-2], encoding[-1]
    if kind == "f":
        floats = np.frombuffer(raw, encoding)
        with np.errstate(invalid="ignore"):  # what is no number is silence
            clipped = np.clip(np.nan_to_num(floats, nan=0.0), -1.0, 1.0)
        rounded: Samples = np.rint(clipped * 32767).astype(np.int16)
        return rounded
    whole: NDArray[np.integer]
    if width == "3":
        upper = slice(0, 2) if order == ">" else slice(1, 3)
        parts = np.frombuffer(raw, np.uint8).reshape(-1, 3)[:, upper]
        whole = np.ascontiguousarray(parts).view(f"{order}i2")[:, 0]
    else:
        whole = np.frombuffer(raw, encoding)
    if width == "4":
        whole = whole >> 16
    elif width == "1":  # unsigned, silence is in the middle
        whole = (whole.astype(np.int16) - (128 if kind == "u" else 0)) * 256
    return whole.astype(np.int16, copy=False)


@cache
def _law(encoding: str) -> Samples:
    """What each byte stands for, as 16 bits (ITU-T G.711, tables 1a to 2b).

    A byte is a sign, three bits of exponent and four of mantissa.
    """
    code = np.arange(256) ^ (0x55 if encoding == A_LAW else 0xFF)
    exponent, mantissa = code >> 4 & 7, code & 15
    if encoding == A_LAW:
        # The two lowest segments are of the same step.
        size = (2 * mantissa + 1 + 32 * (exponent > 0)) << np.maximum(exponent - 1, 0) << 3
        signed = np.where(code & 0x80, size, -size)
    else:
        size = ((2 * mantissa + 33 << exponent) - 33) << 2
        signed = np.where(code & 0x80, -size, size)
    law: Samples = signed.astype(np.int16)
    return law
