"""WAV files to 16-bit mono samples: RIFF, RF64 and Wave64.

Python's own ``wave`` reads none of floating point, A-law and mu-law, nor files
whose writer could not seek back to tell their length.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from avatarpool.audio.chunks import RIFF_STYLE, W64_STYLE, is_stand_in, samples_of, walk
from avatarpool.audio.samples import A_LAW, MU_LAW, Samples, check_layout, to_mono
from avatarpool.exceptions import AudioError

_EXTENSIBLE = 0xFFFE
_ENCODINGS = {  # by format and bits
    (1, 8): "u1",
    (1, 16): "<i2",
    (1, 24): "<i3",
    (1, 32): "<i4",
    (3, 32): "<f4",
    (3, 64): "<f8",
    (6, 8): A_LAW,
    (7, 8): MU_LAW,
}


@dataclass(frozen=True, slots=True)
class WavFormat:
    """What the ``fmt`` chunk says of the samples."""

    encoding: str
    channels: int
    sample_rate: int
    block_bytes: int


def read_wav(data: bytes) -> tuple[Samples, int]:
    """Return the mono samples of a WAV file, channels averaged, and their rate.

    Audio whose length its writer could not tell goes to the end of the file.

    Raises:
        AudioError: Damaged, or of a kind other than 8, 16, 24 or 32-bit PCM, 32 or
            64-bit float, A-law and mu-law.
    """
    is_w64 = data[:4] == b"riff"
    style = W64_STYLE if is_w64 else RIFF_STYLE
    end = int.from_bytes(data[16:24] if is_w64 else data[4:8], "little") + 8 * (not is_w64)
    long_size = None
    form: WavFormat | None = None
    audio: tuple[int, int] | None = None
    for name, at, size in walk(data, style):
        if name == b"fmt ":
            form = read_format(data[at : at + min(size, 40)])
        elif name == b"ds64" and size >= 16 and at + 16 <= len(data):  # of RF64 (EBU Tech 3306)
            riff_size, long_size = struct.unpack_from("<QQ", data, at)
            end = riff_size + 8
        elif name == b"data" and audio is None:
            is_long = long_size is not None and is_stand_in(size)
            audio = (at, long_size if is_long and long_size is not None else size)
        if form is not None and audio is not None:
            raw = samples_of(data, style, *audio, end=end, block_bytes=form.block_bytes)
            return to_mono(raw, form.encoding, form.channels), form.sample_rate
    what = "audio" if audio is None else "format"
    raise AudioError(f"the WAV file ends before its {what}: export it again")


def read_format(chunk: bytes) -> WavFormat:
    """Read the body of a ``fmt`` chunk.

    Raises:
        AudioError: It is cut short, or of a kind that `read_wav` does not know.
    """
    if len(chunk) < 16:
        raise AudioError("the WAV file's format is cut short: export it again")
    kind, channels, rate, _, block_bytes, bits = struct.unpack_from("<HHIIHH", chunk)
    if kind == _EXTENSIBLE and len(chunk) >= 26:
        kind = int.from_bytes(chunk[24:26], "little")
    encoding = _ENCODINGS.get((kind, bits))
    if encoding is None:
        raise AudioError(
            f"the WAV file's encoding (format {kind}, {bits} bits) is not supported: "
            "export it as 16-bit PCM"
        )
    check_layout("WAV", channels, rate, block_bytes, encoding)
    return WavFormat(encoding, channels, rate, block_bytes)
