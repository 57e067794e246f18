"""AIFF files to 16-bit mono samples.

Read here and not by FFmpeg: the tags in an AIFF file may be compressed pictures,
which it unpacks to any size.
"""

from __future__ import annotations

import math
import struct

from avatarpool.audio.chunks import AIFF_STYLE, samples_of, walk
from avatarpool.audio.samples import A_LAW, MU_LAW, Samples, check_layout, to_mono, width_of
from avatarpool.exceptions import AudioError

_ENCODINGS = {  # by compression, and bytes of a sample
    (b"NONE", 1): "i1",
    (b"NONE", 2): ">i2",
    (b"NONE", 3): ">i3",
    (b"NONE", 4): ">i4",
    (b"sowt", 2): "<i2",
    (b"fl32", 4): ">f4",
    (b"fl64", 8): ">f8",
    (b"alaw", 1): A_LAW,
    (b"alaw", 2): A_LAW,  # some tell the bits of what it unpacks to
    (b"ulaw", 1): MU_LAW,
    (b"ulaw", 2): MU_LAW,
}


def read_aiff(data: bytes) -> tuple[Samples, int]:
    """Return the mono samples of an AIFF or AIFC file, channels averaged, and their rate.

    Raises:
        AudioError: Damaged, or of a kind other than 8, 16, 24 or 32-bit PCM, 32 or
            64-bit float, A-law and mu-law.
    """
    end = int.from_bytes(data[4:8], "big") + 8
    form: tuple[str, int, int] | None = None
    audio: tuple[int, int] | None = None
    for name, at, size in walk(data, AIFF_STYLE):
        if name == b"COMM":
            form = _read_format(data[at : at + min(size, 22)])
        elif name == b"SSND" and audio is None:
            # Before the samples: how many bytes to skip, and a size of blocks.
            skip = 8 + int.from_bytes(data[at : at + 4], "big")
            audio = (min(at + skip, len(data)), max(0, size - skip))
        if form is not None and audio is not None:
            encoding, channels, rate = form
            block_bytes = channels * width_of(encoding)
            raw = samples_of(data, AIFF_STYLE, *audio, end=end, block_bytes=block_bytes)
            return to_mono(raw, encoding, channels), rate
    what = "audio" if audio is None else "format"
    raise AudioError(f"the AIFF file ends before its {what}: export it again")


def _read_format(chunk: bytes) -> tuple[str, int, int]:
    if len(chunk) < 18:
        raise AudioError("the AIFF file's format is cut short: export it again")
    channels, _, bits, exponent, mantissa = struct.unpack_from(">HIHHQ", chunk)
    compression = chunk[18:22] or b"NONE"
    known = {b"twos": b"NONE", b"in24": b"NONE", b"in32": b"NONE"}
    name = known.get(compression, compression)
    name = name if name in (b"NONE", b"sowt") else name.lower()
    encoding = _ENCODINGS.get((name, -(-bits // 8)))
    if encoding is None:
        raise AudioError(
            f"the AIFF file's encoding ({compression!r}, {bits} bits) is not supported: "
            "export it as 16-bit PCM"
        )
    # The rate is a number of 80 bits: the exponent's bias is 16383, the mantissa's first bit 2^0.
    rate = math.ldexp(mantissa, exponent - 16383 - 63) if exponent < 16383 + 32 else 0.0
    check_layout("AIFF", channels, rate, channels * width_of(encoding), encoding)
    return encoding, channels, round(rate)
