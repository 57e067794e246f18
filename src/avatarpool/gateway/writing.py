"""What leaves for one client, in few writes; and a request's frames among it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from picows import WSMsgType, WSTransport

from avatarpool.client.forwarding import Forwarding
from avatarpool.endpoint.framing import frame_header
from avatarpool.endpoint.roster import Counts
from avatarpool.transport.picows_protocol import HEADER_ROOM

# What is written within so many seconds of something else waits for the turn of the event loop
# to end, and leaves with all that comes in it: a burst is two writes. A frame that comes alone,
# as they do at 25 a second, leaves at once; another turn for it would cost as much as the write.
_CROWDED = 0.001

# Answers that a client does not read, before nothing more of it is read: what it asks meanwhile
# is little, but for a flood of pings, or of what is refused.
_MAX_UNSENT_BYTES = 1024 * 1024

_BINARY = WSMsgType.BINARY  # looked up once, as in transport.websocket
_ROOM = len(HEADER_ROOM)


class Writing:
    """Writes to one client's connection.

    Args:
        swamped: Called where its client asks for answers that it does not read.

    Attributes:
        transport: The connection, while there is one to write to.
        is_held_back: Whether the client does not read, so that what is written piles up.
        waiting: What was written in this turn of the event loop, and leaves at its end.
    """

    # Among thousands of connections every place that a frame looks at is a miss of the caches.
    __slots__ = ("_loop", "_swamped", "_written_at", "is_held_back", "transport", "waiting")

    def __init__(self, swamped: Callable[[], object]) -> None:
        self.transport: WSTransport | None = None
        self.is_held_back = False
        self._swamped = swamped
        self._loop = asyncio.get_running_loop()
        self.waiting = bytearray()
        self._written_at = 0.0

    def __repr__(self) -> str:
        return f"<Writing {'held back' if self.is_held_back else 'at once'}>"

    @property
    def is_swamped(self) -> bool:
        """Whether the client asks for answers that it does not read."""
        if self.transport is None or not self.is_held_back:
            return False
        return self.transport.underlying_transport.get_write_buffer_size() > _MAX_UNSENT_BYTES

    def send(self, *parts: bytes | bytearray | memoryview) -> None:
        """Send a binary message, made of parts."""
        self.write(b"".join((frame_header(sum(map(len, parts))), *parts)))

    def write(self, frame: bytes) -> None:
        """Have a frame leave in this turn of the event loop, all of a turn in few writes."""
        now = self._loop.time()
        if self.waiting:
            self.waiting += frame
        elif now - self._written_at > _CROWDED:
            self._write(frame)
        else:
            self.waiting += frame
            self._loop.call_soon(self.flush)
        self._written_at = now

    def flush(self) -> None:
        """Have leave what waits."""
        out, self.waiting = self.waiting, bytearray()
        if out:
            self._write(out)

    def _write(self, out: bytes | bytearray) -> None:
        if self.transport is not None and not self.transport.is_disconnected:
            self.transport.underlying_transport.write(out)
            if self.is_swamped:
                self._swamped()


class Onward(Forwarding):
    """The frames of one request that go on unread, under the ids that its client knows.

    Args:
        writing: To its client.
        counts: Of its client's connection.

    Attributes:
        frames: That went on.
    """

    __slots__ = ("_counts", "_cut", "_head", "_writing", "frames")

    def __init__(self, writing: Writing, counts: Counts) -> None:
        super().__init__()
        self._writing = writing
        self._counts = counts
        self._head = bytearray()
        self._cut = 0
        self.frames = 0

    def exchange(self, head: bytes, cut: int) -> None:
        """Have what goes on begin otherwise: with a head in place of so many bytes."""
        self._head, self._cut = bytearray(HEADER_ROOM + head), cut

    def send(self, message: bytes, *, is_alone: bool) -> None:
        """Send a frame on; as of a `Forwarding`."""
        self.frames += 1
        self._counts.frames += 1
        writing = self._writing
        transport = writing.transport
        if is_alone and not (writing.waiting or writing.is_held_back) and transport is not None:
            # picows writes to the socket itself, for less than an event loop's transport asks.
            out = self._head + message[self._cut :]
            transport.send_reuse_external_bytearray(_BINARY, out, _ROOM)
        else:
            writing.send(self._head[_ROOM:], message[self._cut :])
