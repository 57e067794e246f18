"""Frames under other ids: what a relay sends on, without a look at the animation."""

from __future__ import annotations

from avatarpool.protocol.frames import AnimationFrame
from avatarpool.protocol.varints import prefixed, varint

_KIND = b"\x08\x05\x32"  # a message of the animation's type, and the tag of its body
_CONNECTION_ID, _REQ_ID = b"\x0a", b"\x12"


class Readdressing:
    """Gives the frames of one request other ids.

    The ids are exchanged where protobuf writes them, at the beginning of the body; all that
    follows stays as it came, unknown fields included. A frame that is written in another way
    is written anew.

    Args:
        connection_id: The connection that the frames are to be of.
        req_id: The request.
    """

    __slots__ = ("_connection_id", "_new", "_old", "_req_id")

    def __init__(self, connection_id: str, req_id: str) -> None:
        self._connection_id = connection_id
        self._req_id = req_id
        self._new = _ids(connection_id, req_id)
        self._old = _KIND  # how the frames' own ids are written, once one has come

    def parts(self, frame: AnimationFrame) -> tuple[bytes, memoryview]:
        """Return a frame's message in two parts, the second of which is as it came."""
        data = bytes(frame)
        if data.startswith(_KIND):
            size, at = _number(data, len(_KIND))
            if not data.startswith(self._old, at):
                self._old = _ids(frame.connection_id, frame.req_id)
            if data.startswith(self._old, at):
                new, old = self._new, self._old
                head = _KIND + varint(size + len(new) - len(old)) + new
                return head, memoryview(data)[at + len(old) :]
        anew = AnimationFrame(
            self._req_id, frame.end, frame.animation, self._connection_id, frame.avatar_id
        )
        return b"", memoryview(bytes(anew))

    def message(self, frame: AnimationFrame) -> bytes:
        """Return a frame's message."""
        return b"".join(self.parts(frame))


def _ids(connection_id: str, req_id: str) -> bytes:
    written = b""
    if connection_id:
        written += _CONNECTION_ID + prefixed(connection_id.encode())
    if req_id:
        written += _REQ_ID + prefixed(req_id.encode())
    return written


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Read a number of a message that was decoded before; return where the next thing begins."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
