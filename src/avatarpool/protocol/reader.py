"""Reading a connection's messages: most of them are frames like the one before."""

from __future__ import annotations

from typing import NamedTuple

from avatarpool.protocol.codec import decode
from avatarpool.protocol.frames import AnimationFrame, FrameHeader, around_animation
from avatarpool.protocol.messages import Message

_new = object.__new__


class Likeness(NamedTuple):
    """Which messages differ from a frame by its animation alone.

    Attributes:
        size: Bytes that they have.
        before: What each begins with, up to the animation.
        after: What each ends with.
    """

    size: int
    before: bytes
    after: bytes


class MessageReader:
    """Reads one message after another, as `decode` does.

    The frames of a request differ in their animations alone, and those are
    as long as each other. So a message that is the same as the last frame up
    to its animation and after it is not decoded, which takes six times as
    long: it says what that one said.
    """

    __slots__ = ("_after", "_before", "_header", "_last_size", "_size")

    def __init__(self) -> None:
        self._last_size = -1  # of the last frame that was decoded as a whole
        # Of the frame that was learnt, if one was: its size, and what stands around its animation.
        self._header = FrameHeader("", False, "", "", slice(0))
        self._size = -1
        self._before = self._after = b""

    def read(self, data: bytes) -> Message:
        """Read one message.

        Raises:
            AvatarSDKError: As of `decode`.
        """
        if len(data) == self._size and data.startswith(self._before) and data.endswith(self._after):
            # As `frame_of` does, without the call: a third of the time.
            frame = _new(AnimationFrame)
            frame._data = data  # noqa: SLF001
            frame._header = self._header  # noqa: SLF001
            return frame
        message = decode(data)
        if isinstance(message, AnimationFrame) and message.has_animation:
            if len(data) == self._last_size:  # two in a row: worth the learning
                self._learn(message)
            # The next request's frames name another.
            self._last_size = -1 if message.end else len(data)
        return message

    def _learn(self, frame: AnimationFrame) -> None:
        # As we would write it, lengths and all: of what begins, ends and is as long as
        # that, no byte but the animation's is left to be something else.
        self._before, self._after, self._header = around_animation(
            frame.req_id, frame.end, len(frame.animation), frame.connection_id, frame.avatar_id
        )
        place = self._header.place
        self._size = place.stop + len(self._after)

    def likeness(self, frame: AnimationFrame) -> Likeness | None:
        """Return what is like a frame that was just read, if that was learnt."""
        if frame._header is not self._header:  # noqa: SLF001
            return None
        return Likeness(self._size, self._before, self._after)
