"""A client's WebSocket frames by their headers alone (RFC 6455, 5): what they are, and how large.

Others read the frames themselves. They take some that they must not, and know how large a
message is when it has come: what is not to be taken is to be known by then.
"""

from __future__ import annotations

from typing import Literal

from avatarpool.endpoint import refusals
from avatarpool.endpoint.refusals import Ending

_CONTINUATION = 0x0
_DATA = (0x1, 0x2)
_CLOSE = 0x8
_CONTROL = (_CLOSE, 0x9, 0xA)
_LONGEST_HEADER = 14  # bytes


class Violation(Exception):
    """What a client must not send.

    Attributes:
        ending: How the session ends of it.
    """

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.message)
        self.ending = ending


class FrameScanner:
    """Follows one connection's frames as they come.

    Args:
        max_message_bytes: Of one message, however many frames it has.

    Attributes:
        max_message_bytes: May be another from the next frame on.
        message_bytes: Of messages, that have come so far.
        violation: What must not have come, once it has: nothing counts from there on.
        has_ended: Whether that, or a close frame, has come.
        is_amid_header: Whether the rest of what was scanned last is part of a header.
    """

    def __init__(self, max_message_bytes: int) -> None:
        self.max_message_bytes = max_message_bytes
        self.message_bytes = 0
        self.violation: Violation | None = None
        self.has_ended = False
        self.is_amid_header = False
        self._announced = 0  # bytes of the message under way, with its latest frame
        self._is_amid_message = False  # whether fragments are to follow
        self._is_data = False  # whether the present frame's payload is of a message
        self._left = 0  # bytes of its payload that have not come

    def scan(self, data: bytes, max_frames: int) -> int:
        """Follow what has come; return how much of it is to be taken now.

        Args:
            data: It begins where the last that was to be taken has ended.
            max_frames: Frames that may begin in it.
        """
        at, size = 0, len(data)
        self.is_amid_header = False
        while True:
            step = min(self._left, size - at)
            self._left -= step
            self.message_bytes += step if self._is_data else 0
            at += step
            if at == size or max_frames == 0 or self.has_ended:
                return at
            try:
                length = self._begin(data[at : at + _LONGEST_HEADER])
            except Violation as violation:
                self.violation, self.has_ended = violation, True
                return at
            if length == 0:
                self.is_amid_header = True
                return at
            at += length
            max_frames -= 1

    def _begin(self, head: bytes) -> int:
        """Begin a frame; return its header's length, or 0 if that is not all here."""
        if len(head) < 2:
            return 0
        is_final, reserved, opcode = head[0] & 0x80, head[0] & 0x70, head[0] & 0x0F
        is_masked, size = head[1] & 0x80, head[1] & 0x7F
        if reserved:
            raise _broken("a reserved bit is set")
        if not is_masked:
            raise _broken("a client's frame is not masked")
        if opcode in _CONTROL and not (is_final and size < 126):
            raise _broken("a control frame is fragmented or has more than 125 bytes")
        length_bytes: Literal[0, 2, 8] = 0 if size < 126 else 2 if size == 126 else 8
        length = 2 + length_bytes + 4
        if len(head) < length:
            return 0
        if length_bytes:
            size = int.from_bytes(head[2 : 2 + length_bytes], "big")
            if size < 126 or (length_bytes == 8 and not 1 << 16 <= size < 1 << 63):
                raise _broken("a length is not in its shortest form")
        self._is_data = opcode not in _CONTROL
        self.has_ended = opcode == _CLOSE
        if self._is_data:
            self._carry(opcode, size, is_final=bool(is_final))
        self._left = size
        return length

    def _carry(self, opcode: int, size: int, *, is_final: bool) -> None:
        if opcode not in (_CONTINUATION, *_DATA):
            raise _broken(f"the opcode {opcode} is none")
        if (opcode == _CONTINUATION) is not self._is_amid_message:
            raise _broken("fragments of messages are out of order")
        self._announced = size + (self._announced if self._is_amid_message else 0)
        self._is_amid_message = not is_final
        if self._announced > self.max_message_bytes:
            raise Violation(refusals.message_too_large(self.max_message_bytes))


def _broken(why: str) -> Violation:
    return Violation(Ending(refusals.PROTOCOL_ERROR, None, why))
