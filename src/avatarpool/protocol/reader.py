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

    __slots__ = ("_after", "_before", "_last_size", "_like", "_size", "_stop")

    def __init__(self) -> None:
        self._last_size = -1  # of the last frame that was decoded as a whole
        # Of the frame that was learnt, if one was: what stands around its animation,
        # and where that ends.
        self._like = AnimationFrame("")
        self._size = -1
        self._before = self._after = b""
        self._stop = 0

    def read(self, data: bytes) -> Message:
        """Read one message.

        Raises:
            AvatarSDKError: As of `decode`.
        """
        before = self._before
        if len(data) == self._size and data.startswith(before) and data.endswith(self._after):
            req_id, end, _, connection_id, avatar_id = self._like
            animation = data[len(before) : self._stop]
            return _new_tuple(AnimationFrame, (req_id, end, animation, connection_id, avatar_id))
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
        self._stop = len(self._before) + len(frame.animation)
        self._size = self._stop + len(self._after)
