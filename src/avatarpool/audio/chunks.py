"""Files that are a row of chunks, each with its name and length: RIFF, Wave64 and AIFF."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from avatarpool.exceptions import AudioError

_MAX_CHUNKS = 1000  # a file of empty ones would take long


@dataclass(frozen=True, slots=True)
class Style:
    """How a file is cut into chunks.

    Attributes:
        name: What people call such a file.
        header: The name's first four letters and the length.
        start: Where the first chunk is.
        counted: Bytes of the header that the length counts, too.
        align: A chunk begins at a multiple of so many bytes.
    """

    name: str
    header: struct.Struct
    start: int
    counted: int = 0
    align: int = 2


RIFF_STYLE = Style("WAV", struct.Struct("<4sI"), 12)
AIFF_STYLE = Style("AIFF", struct.Struct(">4sI"), 12)
W64_STYLE = Style("Wave64", struct.Struct("<4s12xQ"), 40, 24, 8)  # names of 16 bytes, lengths of 8


def walk(data: bytes, style: Style) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's name, where its body begins, and its length as it is told.

    Raises:
        AudioError: There are too many.
    """
    at = style.start
    for _ in range(_MAX_CHUNKS):
        if at + style.header.size > len(data):
            return
        name, size = style.header.unpack_from(data, at)
        at += style.header.size
        size = max(0, size - style.counted)
        yield name, at, size
        at += size
        # Some writers forget to fill up an odd length.
        if data[at : at + 4] not in (b"fmt ", b"data", b"COMM", b"SSND"):
            at += -size % style.align
    raise AudioError(f"the {style.name} file has over {_MAX_CHUNKS} chunks: export it again")


def is_stand_in(size: int) -> bool:
    """Whether a length stands for one that its writer could not know yet.

    Who writes to a pipe cannot seek back, and puts about the longest there can
    be: 2 or 4 GiB, a header or a round number less; or the longest of 64 bits.
    A length of 0 may be one as well, which is for the caller to see.
    """
    return abs(size - 0x80000000) <= 0x10000 or 0xFFFF0000 <= size <= 0xFFFFFFFF or size >= 1 << 62


def is_open_ended(at: int, size: int, *, end: int) -> bool:
    """Whether a chunk of samples goes to the end of what comes.

    Args:
        at: Where its body begins.
        size: Its length, as it is told.
        end: Where the file ends, as its header tells.
    """
    return is_stand_in(size) or (not size and (end <= at or is_stand_in(end - at)))


def samples_of(
    data: bytes, style: Style, at: int, size: int, *, end: int, block_bytes: int
) -> memoryview:
    """Return the samples of a chunk.

    Args:
        data: The file.
        style: How it is cut into chunks.
        at: Where the chunk's body begins.
        size: Its length, as it is told.
        end: Where the file ends, as its header tells.
        block_bytes: Bytes of the samples of one moment.

    Raises:
        AudioError: They are cut short.
    """
    there = len(data) - at
    if is_open_ended(at, size, end=end):
        # It may have been stopped at any byte.
        return memoryview(data)[at : at + there // block_bytes * block_bytes]
    if size > there:
        raise AudioError(
            f"the {style.name} file is cut short: it announces {size} bytes of audio and has "
            f"{there}; copy or download it again"
        )
    if size % block_bytes:
        raise AudioError(
            f"the {style.name} file ends inside a sample ({size} bytes of {block_bytes} each): "
            "copy or download it again"
        )
    return memoryview(data)[at : at + size]
