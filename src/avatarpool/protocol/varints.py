"""Numbers and lengths as protobuf writes them."""

from __future__ import annotations


def varint(value: int) -> bytes:
    """Write protobuf's base-128 number, low bits first."""
    if value < 0x80:  # most are the lengths of names
        return bytes((value,))
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def prefixed(data: bytes) -> bytes:
    """Put some bytes behind their length."""
    return varint(len(data)) + data
