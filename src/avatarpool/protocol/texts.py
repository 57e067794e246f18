"""Texts on the wire and of a peer: what close frames may say, and what a log may show; no I/O."""

from __future__ import annotations

# A control frame holds 125 bytes, and the code takes 2.
_MAX_REASON_BYTES = 123

# Of the protocol's own codes, those that IANA lists for use in a frame: 1004 has no
# meaning yet, 1005, 1006 and 1015 stand for what no frame can say.
_ASSIGNED = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})


def may_carry(code: int) -> bool:
    """Whether a close frame may carry this code."""
    return code in _ASSIGNED or 3000 <= code <= 4999


def close_reason(text: str) -> bytes:
    """Return as much of a reason as a close frame holds, in whole characters."""
    return cut(text, _MAX_REASON_BYTES).encode()


def cut(text: str, size: int) -> str:
    """Return as much of a text as so many bytes hold, in whole characters."""
    return text.encode(errors="replace")[:size].decode(errors="ignore")


def shown(text: str) -> str:
    """Return a peer's text as a line of a log may show it: one line, whatever is in it."""
    return text if text.isprintable() and text.isascii() else ascii(text)[1:-1]
