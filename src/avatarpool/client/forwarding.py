"""Frames that go on unread, for a relay that wants the messages alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from avatarpool.protocol.reader import Likeness

_NOTHING = -1  # no message has this size


class FrameCounter(Protocol):
    """Counts what nobody reads."""

    frames_received: int


class Forwarding(ABC):
    """Sends on each message that is like a frame, until one is not.

    Among hundreds of sessions each object that a frame looks at is a miss of the caches: so a
    relay derives its own from this, and has one for each request.
    """

    __slots__ = ("_after", "_before", "_counter", "_size")

    def __init__(self) -> None:
        self._size = _NOTHING
        self._before = self._after = b""
        self._counter: FrameCounter

    @abstractmethod
    def send(self, message: bytes, *, is_alone: bool) -> None:
        """Send a message on, as it came; called from the event loop, must not block or raise.

        Args:
            message: A frame that is not its request's last.
            is_alone: Whether nothing more is known to have come after it.
        """

    def begin(self, likeness: Likeness, counter: FrameCounter) -> None:
        """Take from now on what is like a frame, and count it."""
        self._size, self._before, self._after = likeness
        self._counter = counter

    def end(self) -> None:
        """Take nothing more."""
        self._size = _NOTHING

    def take(self, message: bytes, *, is_alone: bool) -> bool:
        """Send a message on, if it is like the frame; return whether it is."""
        if (
            len(message) == self._size
            and message.startswith(self._before)
            and message.endswith(self._after)
        ):
            self._counter.frames_received += 1
            self.send(message, is_alone=is_alone)
            return True
        return False
