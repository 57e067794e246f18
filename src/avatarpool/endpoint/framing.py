"""WebSocket frames by hand, for messages that leave in one write."""

from __future__ import annotations

from collections.abc import Iterable

_BINARY = b"\x82"  # and whole: the final bit is set


def framed(messages: Iterable[bytes]) -> bytes:
    """Return binary messages as a server sends them, one frame each (RFC 6455, 5.2)."""
    return b"".join(map(_framed, messages))


def _framed(message: bytes) -> bytes:
    size = len(message)
    if size < 126:
        return _BINARY + size.to_bytes() + message
    if size < 1 << 16:
        return _BINARY + b"\x7e" + size.to_bytes(2) + message
    return _BINARY + b"\x7f" + size.to_bytes(8) + message
