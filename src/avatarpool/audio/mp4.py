"""A look at an MP4 file before FFmpeg's: what would take memory without end is refused."""

from __future__ import annotations

import re

from avatarpool.exceptions import AudioError

_MAX_BOXES = 200_000

# Boxes that say of how many samples a track is, without having bytes for each: FFmpeg
# makes room for all. A table's count comes after a size, a fragment's after its flags.
# One may lie across another, hence the look ahead.
_COUNTED = re.compile(rb"(?=(?:stsz.{8}|stz2.{8}|trun.{4})(.{4}))", re.DOTALL)


def check_mp4(data: bytes, max_samples: int) -> None:
    """Check how much a file announces.

    Raises:
        AudioError: More samples than ``max_samples``, a compressed header, or it
            is damaged.
    """
    samples = 0
    for begin, end in _headers(data):
        # Whatever is in them, as FFmpeg finds it in more places than the standard allows.
        header = data[begin:end]
        if b"mdat" in header or b"cmov" in header:
            raise AudioError("the M4A file's boxes are out of order: export it again")
        samples += sum(int.from_bytes(found[1], "big") for found in _COUNTED.finditer(header))
    if samples > max_samples:
        raise AudioError(f"the M4A file announces {samples} samples: cut it into pieces")


def _headers(data: bytes) -> list[tuple[int, int]]:
    """Where the boxes are that hold no sound."""
    at = 0
    headers: list[tuple[int, int]] = []
    for _ in range(_MAX_BOXES):
        if at + 8 > len(data):
            return headers
        size, least = int.from_bytes(data[at : at + 4], "big"), 8
        if size == 1:
            size, least = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        size = size or len(data) - at
        if size < least:
            break
        if size > len(data) - at:
            raise AudioError("the M4A file is cut short: copy or download it again")
        if data[at + 4 : at + 8] != b"mdat":
            headers.append((at + 4, at + size))
        at += size
    raise AudioError("the M4A file's boxes are damaged: export it again")
