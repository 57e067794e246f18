"""The kinds of audio file, and how each is told by its first bytes: no I/O.

What a file is called says nothing: people rename, and bytes have no name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

Bytes = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Container:
    """A kind of audio file.

    Attributes:
        name: What people call it.
        suffixes: What its files' names end with, in lower case.
        demuxer: FFmpeg's name of what reads it; None where we do ourselves.
    """

    name: str
    suffixes: tuple[str, ...]
    demuxer: str | None = None

    def __str__(self) -> str:
        """Name it with its article."""
        return f"{'an' if self.name[0] in 'AMO' else 'a'} {self.name} file"


WAV = Container("WAV", (".wav", ".wave", ".rf64", ".bw64"))
W64 = Container("Wave64", (".w64",))
AIFF = Container("AIFF", (".aif", ".aiff", ".aifc"))
OGG = Container("Ogg", (".ogg", ".oga", ".opus"), "ogg")
MP3 = Container("MP3", (".mp3",), "mp3")
AAC = Container("AAC", (".aac",), "aac")
FLAC = Container("FLAC", (".flac",), "flac")
# Films too, whose sound is taken; in a folder, their suffixes are not looked for.
MP4 = Container("M4A", (".m4a", ".m4b"), "mov")
MATROSKA = Container("WebM", (".webm", ".weba", ".mka"), "matroska")

CONTAINERS = (WAV, W64, AIFF, OGG, MP3, AAC, FLAC, MP4, MATROSKA)

_ID3 = rb"ID3[\2-\4][^\xff].[\0-\x7f]{4}"

# Each fixes at least 40 bits: raw PCM of any length practically never begins like that.
_MAGICS = (
    (WAV, rb"(?:RIFF|RF64|BW64).{4}WAVE"),
    (W64, rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0"),
    (AIFF, rb"FORM.{4}AIF[FC]"),
    (OGG, rb"OggS\0[\0-\7]"),
    (FLAC, rb"fLaC[\0\x80]\0\0\x22"),
    (MP4, rb"\0\0.{2}ftyp"),
    (MATROSKA, rb"\x1a\x45\xdf\xa3.{1,40}\x42\x82.{0,8}?(?:webm|matroska)"),
    (MP3, _ID3),
)
_MAGIC = re.compile(b"|".join(b"(%b)" % magic for _, magic in _MAGICS), re.DOTALL)

# MP3 and AAC may begin with sound at once, whose mark is too short: so many frames
# one after the other make it sure.
_FRAMES = 3


def sniff(data: Bytes) -> Container | None:
    """Return what a file is, None for none of `CONTAINERS`; in the same time for any length."""
    if found := _MAGIC.match(data):
        assert found.lastindex is not None
        return _MAGICS[found.lastindex - 1][0]
    if len(data) > 1 and data[0] == 0xFF and data[1] >= 0xE0:
        if _is_row(data, _mp3_frame, 0xFFFE0C00):
            return MP3
        if _is_row(data, _aac_frame, 0xFFFFFFC0):
            return AAC
    return None


def _is_row(data: Bytes, frame_bytes: Callable[[Bytes], int], mask: int) -> bool:
    """Whether frames follow each other, what the mask shows of their headers being equal."""
    at, marks = 0, set()
    for _ in range(_FRAMES):
        head = data[at : at + 6]
        size = frame_bytes(head)
        if not size:
            return False
        marks.add(int.from_bytes(head[:4], "big") & mask)
        at += size
    return len(marks) == 1


_KBPS = (  # of layer III: MPEG 1; MPEG 2 and 2.5
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
)
_MP3_RATES = (44100, 48000, 32000, 0)


def _mp3_frame(head: Bytes) -> int:
    """Bytes of the MP3 frame with this header (ISO 11172-3, 2.4.2.3), 0 for no header."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return 0
    version = head[1] >> 3 & 3  # 3: MPEG 1, 2: MPEG 2, 0: MPEG 2.5
    kbps = _KBPS[version != 3][head[2] >> 4]
    rate = _MP3_RATES[head[2] >> 2 & 3] >> (3 - version if version else 2)
    if version == 1 or not kbps or not rate:
        return 0
    return (144_000 if version == 3 else 72_000) * kbps // rate + (head[2] >> 1 & 1)


def _aac_frame(head: Bytes) -> int:
    """Bytes of the AAC frame with this ADTS header (ISO 14496-3, 1.A.2.2), 0 for no header."""
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 > 12:
        return 0
    size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return size if size > 7 else 0


def aac_bytes(data: bytes) -> int:
    """Return how many bytes of an AAC file are frames one after the other, from its beginning."""
    at = 0
    while size := _aac_frame(data[at : at + 6]):
        if at + size > len(data):
            break
        at += size
    return at


def tag_bytes(data: bytes) -> int:
    """Return how many bytes of ID3 tags a file begins with (ID3v2.4, 3.1), all if of too many."""
    at = 0
    for _ in range(8):  # more than anybody puts there
        head = data[at : at + 10]
        if not re.match(_ID3, head, re.DOTALL):
            break
        a, b, c, d = head[6:]
        footer = 10 if head[5] & 0x10 else 0
        at += 10 + (a << 21 | b << 14 | c << 7 | d) + footer
    else:
        return len(data)
    return min(at, len(data))
