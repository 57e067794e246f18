"""One logical Ogg stream, read page by page as its bytes come (RFC 3533).

Everything here is sent by strangers: what does not fit is refused, nothing is
searched for, and no more is kept than a page and a packet.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from avatarpool.endpoint import refusals
from avatarpool.service.decoding import AudioRefused

MAX_PACKET_BYTES = 65536  # an Opus packet has 61,440 at most; headers may have tags

_HEADER = struct.Struct("<4sBBqIIIB")
_CHECKSUM_AT = 22
_CONTINUED, _FIRST, _LAST = 1, 2, 4
_NO_GRANULE = -1


class OggRefused(AudioRefused):
    """Bytes that are no single well-formed Ogg stream."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page's packets.

    Attributes:
        packets: Those that end on this page.
        granule: The stream's position after the last of them; -1 if none ends here.
        is_last: Whether the stream ends with this page.
    """

    packets: list[bytes]
    granule: int
    is_last: bool


class OggReader:
    """Cuts a stream of bytes into pages."""

    def __init__(self) -> None:
        self._buffer = bytearray()  # an unfinished page
        self._packet = bytearray()  # an unfinished packet
        self._is_continued = False  # whether _packet goes on, be it empty so far
        self._serial: int | None = None
        self._sequence = 0
        self.has_ended = False

    def feed(self, data: bytes) -> list[Page]:
        """Take bytes; return the pages that they complete.

        Raises:
            OggRefused: They are no Ogg, or not this stream's.
        """
        self._buffer += data
        pages = []
        start = 0
        with memoryview(bytes(self._buffer)) as view:
            while (size := _page_size(view[start:])) is not None:
                pages.append(self._page(view[start : start + size]))
                start += size
        del self._buffer[:start]
        return pages

    def finish(self) -> None:
        """Check that the stream breaks off nowhere.

        Raises:
            OggRefused: It ends inside a page or a packet.
        """
        if self._buffer or self._is_continued:
            raise OggRefused("ogg stream ends in the middle of a page or packet")

    def _page(self, page: memoryview) -> Page:
        _, _, flags, granule, serial, sequence, checksum, segments = _HEADER.unpack_from(page)
        if _checksum(page) != checksum:
            raise OggRefused("ogg page has a wrong checksum")
        self._check_place(flags, serial, sequence)
        if bool(flags & _CONTINUED) != self._is_continued:
            raise OggRefused("ogg page does not go on where the one before ended")
        body = _HEADER.size + segments
        packets = self._packets(page[_HEADER.size : body], page[body:])
        self.has_ended = bool(flags & _LAST)
        if not packets:
            granule = _NO_GRANULE
        elif granule < 0:
            raise OggRefused(f"ogg page has granule position {granule}")
        return Page(packets, granule, self.has_ended)

    def _check_place(self, flags: int, serial: int, sequence: int) -> None:
        if self.has_ended:
            raise OggRefused("ogg stream goes on after its end")
        is_first = self._serial is None
        if bool(flags & _FIRST) != is_first:
            raise OggRefused("ogg stream begins more than once, or not at its beginning")
        if is_first:
            self._serial, self._sequence = serial, sequence
        elif serial != self._serial:
            raise OggRefused("ogg stream is multiplexed with another one")
        if sequence != self._sequence:
            raise OggRefused(f"ogg page {sequence} came in place of page {self._sequence}")
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF

    def _packets(self, lacing: memoryview, body: memoryview) -> list[bytes]:
        packets = []
        start = 0
        for length in lacing:
            self._packet += body[start : start + length]
            start += length
            if len(self._packet) > MAX_PACKET_BYTES:
                raise OggRefused(f"ogg packet is larger than {MAX_PACKET_BYTES} bytes")
            self._is_continued = length == 255
            if not self._is_continued:
                packets.append(bytes(self._packet))
                self._packet.clear()
        return packets


def _page_size(data: memoryview) -> int | None:
    """Return the size of the page that begins here; None if it is not all there."""
    if bytes(data[:4]) != b"OggS"[: len(data)]:
        raise OggRefused(refusals.NO_OGG)
    if len(data) < _HEADER.size:
        return None
    version, segments = data[4], data[_HEADER.size - 1]
    if version != 0:
        raise OggRefused(f"ogg version {version} is unknown")
    body = _HEADER.size + segments
    if len(data) < body:
        return None
    size = body + sum(data[_HEADER.size : body])
    return size if len(data) >= size else None


# Ogg's CRC and zlib's have one polynomial, but Ogg shifts to the left and starts
# from zero: mirrored bytes through zlib give the mirrored result, in C.
_MIRROR = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _checksum(page: memoryview) -> int:
    blank = bytes(page[:_CHECKSUM_AT]) + bytes(4) + bytes(page[_CHECKSUM_AT + 4 :])
    mirrored = zlib.crc32(blank.translate(_MIRROR), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_MIRROR), "big")
