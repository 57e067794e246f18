"""The frames of one request on their way to a client, which takes them as fast as it likes."""

from __future__ import annotations

import asyncio
from collections import deque

from avatarpool.gateway import failures
from avatarpool.gateway.failures import Failure
from avatarpool.gateway.relay import Relay
from avatarpool.protocol.messages import AnimationFrame

# Frames that wait for a client which has sent all its audio, before no more are read.
_MOST_BYTES = 64 * 1024

# ... and for one that still sends: many a client reads nothing before it has sent it all, and
# a service that cannot send takes no more audio. Over five minutes of frames.
_MOST_WHILE_SENDING_BYTES = 4 * 1024 * 1024


class Outbox:
    """The `Answer` of a request, whose frames wait until they are taken.

    Attributes:
        relay: The request's, once it has begun.
        failure: What it failed of, if it did.
        is_over: Whether nothing more comes.
        is_complete: Whether that is so, or the last frame has come.
    """

    onward = None  # it wants frames, as of an `Answer`

    def __init__(self) -> None:
        self.relay: Relay | None = None
        self.failure: Failure | None = None
        self.is_over = False
        self.is_complete = False
        self._frames: deque[AnimationFrame] = deque()
        self._bytes = 0
        self._has_sent_all = False
        self._stirred = asyncio.Event()  # frames, or the end
        self._has_room = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Outbox {len(self._frames)} frames{' over' if self.is_over else ''}>"

    # --- the client's audio -------------------------------------------------------------------

    async def push(self, audio: bytes, *, end: bool = False) -> None:
        """Send a piece; returns when there is room for another one, or no need."""
        assert self.relay is not None
        self._has_sent_all = end
        self.relay.push(audio, end=end)
        while self.relay.is_full and not self.is_over:
            self._has_room.clear()
            await self._has_room.wait()

    def give_up(self, failure: Failure) -> None:
        """End it for a reason of the client's side."""
        if self.relay is None:
            self.over(failure)
        elif not self.is_over:
            self.relay.give_up(failure)

    def interrupt(self) -> None:
        """Stop at once: what waits is not sent either. Harmless if it is over."""
        self._frames.clear()
        self._bytes = 0
        if self.relay is not None and not self.is_over:
            self.relay.interrupt()

    # --- its frames ---------------------------------------------------------------------------

    async def take(self) -> list[AnimationFrame]:
        """Return what has come, once there is something; nothing: it is over."""
        while not (self._frames or self.is_over):
            self._stirred.clear()
            await self._stirred.wait()
        taken, self._frames = list(self._frames), deque()
        self._bytes = 0
        if self.relay is not None:
            self.relay.resume()
        return taken

    # --- Answer -------------------------------------------------------------------------------

    def frame(self, frame: AnimationFrame) -> None:
        """Take a frame; as of an `Answer`."""
        assert self.relay is not None
        if frame.end and not self._has_sent_all:
            self.relay.give_up(failures.UNORDERLY)
            return
        self.is_complete = frame.end
        self._frames.append(frame)
        self._bytes += len(frame)
        if self._bytes > (_MOST_BYTES if self._has_sent_all else _MOST_WHILE_SENDING_BYTES):
            self.relay.pause()
        self._stirred.set()

    def room(self) -> None:
        """Have audio go on; as of an `Answer`."""
        self._has_room.set()

    def over(self, failure: Failure | None) -> None:
        """Learn of the end; as of an `Answer`."""
        if self.is_over:
            return
        self.failure = failure
        self.is_over = self.is_complete = True
        self._has_room.set()
        self._stirred.set()
