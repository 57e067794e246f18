"""Frames under other ids: what a relay sends on, without a look at the animation."""

from __future__ import annotations

from avatarpool.protocol.frames import AnimationFrame
from avatarpool.protocol.varints import prefixed, varint

_KIND = b"\x08\x05\x32"  # a message of the animation's type, and the tag of its body
_CONNECTION_ID, _REQ_ID = b"\x0a", b"\x12"

_NO_FRAME = b"\x00"  # how none begins: there is no field 0


class Readdressing:
    """Gives the frames of one request other ids.

    The ids are exchanged where protobuf writes them, at the beginning of the body; all that
    follows stays as it came, unknown fields included. A frame that is written in another way
    is written anew.

    Args:
        connection_id: The connection that the frames are to be of.
        req_id: The request.
    """

    __slots__ = ("_before", "_connection_id", "_cut", "_head", "_req_id")

    def __init__(self, connection_id: str, req_id: str) -> None:
        self._connection_id = connection_id
        self._req_id = req_id
        # How the frame before began, up to its ids and with them, and what stands in place of
        # that. Frames of a request are as long as each other, so that most begin in that way.
        self._before = _NO_FRAME
        self._cut = 0
        self._head = b""

    def parts(self, frame: AnimationFrame) -> tuple[bytes, memoryview]:
        """Return a frame's message in two parts, the second of which is as it came."""
        data = bytes(frame)
        if data.startswith(self._before) or self._learn(data, frame):
            return self._head, memoryview(data)[self._cut :]
        anew = AnimationFrame(
            self._req_id, frame.end, frame.animation, self._connection_id, frame.avatar_id
        )
        return b"", memoryview(bytes(anew))

    def _learn(self, data: bytes, frame: AnimationFrame) -> bool:
        """Learn how a frame begins; return whether its ids are where protobuf writes them."""
        if not (frame.req_id and data.startswith(_KIND)):
            return False  # without a request, others' frames would begin in the same way
        size, at = _number(data, len(_KIND))
        old, new = _ids(frame.connection_id, frame.req_id), _ids(self._connection_id, self._req_id)
        if not data.startswith(old, at):
            return False
        self._cut = at + len(old)
        self._before = data[: self._cut]
        self._head = _KIND + varint(size + len(new) - len(old)) + new
        return True

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
