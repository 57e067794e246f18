"""WebSocket frames by hand, for messages that leave in one write."""

from __future__ import annotations

from collections.abc import Iterable

_BINARY = 0x82  # and whole: the final bit is set


def framed(messages: Iterable[bytes]) -> bytes:
    """Return binary messages as a server sends them, one frame each (RFC 6455, 5.2)."""
    return b"".join([part for each in messages for part in (frame_header(len(each)), each)])


def frame_header(size: int, kind: int = _BINARY) -> bytes:
    """Return what stands before a payload of so many bytes."""
    if size < 126:
        return bytes((kind, size))
    if size < 1 << 16:
        return bytes((kind, 126, size >> 8, size & 0xFF))
    return bytes((kind, 127)) + size.to_bytes(8)
