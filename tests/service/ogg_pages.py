"""Ogg pages made by hand, with a checksum computed bit by bit, unlike the reader's."""

from __future__ import annotations

import struct

FIRST, CONTINUED, LAST = 2, 1, 4


def checksum(page: bytes) -> int:
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
    return crc


def page(
    lacing: bytes,
    body: bytes,
    *,
    flags: int = 0,
    granule: int = 0,
    serial: int = 7,
    sequence: int = 0,
    version: int = 0,
) -> bytes:
    head = struct.pack("<4sBBqII", b"OggS", version, flags, granule, serial, sequence)
    tail = bytes([len(lacing)]) + lacing + body
    crc = checksum(head + bytes(4) + tail)
    return head + struct.pack("<I", crc) + tail


def lacing(*sizes: int) -> bytes:
    return b"".join(b"\xff" * (size // 255) + bytes([size % 255]) for size in sizes)


def packets_page(*packets: bytes, **options: int) -> bytes:
    return page(lacing(*map(len, packets)), b"".join(packets), **options)
