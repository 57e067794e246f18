"""Reading a connection's messages: most of them are frames like the one before."""

from __future__ import annotations

from avatarpool.protocol.codec import around_animation, decode
from avatarpool.protocol.messages import AnimationFrame, Message

_new_tuple = tuple.__new__


class MessageReader:
    """Reads one message after another, as `decode` does.

    The frames of a request differ in their animations alone, and those are
    as long as each other. So of a message that is the same as the last frame up
    to its animation and after it, only the animation is taken out: decoding
    it as a whole takes four times as long.
    """

    __slots__ = ("_after", "_before", "_head", "_last_size", "_like", "_middle", "_size", "_tail")

    def __init__(self) -> None:
        self._last_size = -1  # of the last frame that was decoded as a whole
        # Of the frame that was learnt, if one was: what stands around its animation, and where.
        self._like = AnimationFrame("")
        self._size = -1
        self._before = self._after = b""
        self._head = self._middle = self._tail = slice(0)

    def read(self, data: bytes) -> Message:
        """Read one message.

        Raises:
            AvatarSDKError: As of `decode`.
        """
        if (
            len(data) == self._size
            and data[self._head] == self._before
            and data[self._tail] == self._after
        ):
            req_id, end, _, connection_id, avatar_id = self._like
            values = (req_id, end, data[self._middle], connection_id, avatar_id)
            return _new_tuple(AnimationFrame, values)
        message = decode(data)
        if isinstance(message, AnimationFrame) and message.animation:
            if len(data) == self._last_size:  # two in a row: worth the learning
                self._learn(message)
            self._last_size = len(data)
        return message

    def _learn(self, frame: AnimationFrame) -> None:
        # As we would write it, lengths and all: of what begins, ends and is as long as
        # that, no byte but the animation's is left to be something else.
        self._like = frame
        self._before, self._after = around_animation(frame)
        start = len(self._before)
        stop = start + len(frame.animation)
        self._size = stop + len(self._after)
        self._head, self._middle, self._tail = slice(start), slice(start, stop), slice(stop, None)
