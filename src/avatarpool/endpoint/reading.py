"""What of a client's frames is read, and when: no session keeps the others waiting."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from avatarpool.endpoint.listening import Parser
from avatarpool.endpoint.scanner import FrameScanner

FRAMES_PER_READ = 8
"""Frames of one read that are dealt with at once; what comes after them takes turns."""

FRAMES_PER_TURN = 32
"""Frames of all those whose reads held more, in one turn.

Each costs some 30 to 100 µs until its message is dealt with, so that a turn takes a
few milliseconds however many sessions send as fast as they can.
"""

REST = 0.004
"""Seconds between two turns. An event loop without a rest leaves the threads that animate
little of Python's lock: each of numpy's calls waits for it."""

BROKEN = b"broken"
"""A pong that we put in place of what a client must not send: whoever takes messages in
their order comes upon it in its place. A client's own means nothing."""

_BROKEN_FRAME = bytes((0x8A, 0x80 | len(BROKEN), 0, 0, 0, 0)) + BROKEN

_CHECKED_BYTES = 256 * 1024  # of one session, between two looks at what all hold


class Source(Protocol):
    """A connection that is read from.

    Attributes:
        is_full: Whether what it has read is not taken any more, for now.
    """

    is_full: bool

    def hold(self) -> None:
        """Read no more."""

    def go_on(self) -> None:
        """Read on, unless it is full."""


class Turns:
    """Has those go on whose reads held too many frames, in turns.

    Args:
        rest: Seconds between two.
    """

    def __init__(self, rest: float = REST) -> None:
        self._rest = rest
        self._waiting: deque[Reading] = deque()
        self._loop = asyncio.get_running_loop()

    def wait(self, reading: Reading) -> None:
        """Have a reading go on when its turn comes."""
        if not self._waiting:
            self._loop.call_later(self._rest, self._take)
        self._waiting.append(reading)

    def _take(self) -> None:
        for _ in range(FRAMES_PER_TURN // FRAMES_PER_READ):
            reading = self._waiting.popleft()
            if reading.go_on():
                self._waiting.append(reading)
            if not self._waiting:
                return
        self._loop.call_later(self._rest, self._take)


class Reading:
    """Stands before the reader of one WebSocket.

    Args:
        parser: That reader: aiohttp's or picows'.
        scanner: Knows what is not to be taken.
        turns: Shared with all others.
        connection: What it is read from.
        grown: Called when much has come since the last time.

    Attributes:
        scanner: What has come of frames.
    """

    def __init__(
        self,
        parser: Parser,
        scanner: FrameScanner,
        turns: Turns,
        *,
        connection: Source,
        grown: Callable[[], None],
    ) -> None:
        self.scanner = scanner
        self._parser = parser
        self._turns = turns
        self._connection = connection
        self._held = b""  # until its turn comes
        self._has_turn = False  # whether one will come
        self._is_stopped = False
        self._rest = b""  # the beginning of a frame's header
        self._taken = 0  # bytes of messages that the session has taken
        self._checked = 0  # of those that have come, when it was looked at what all hold
        self._grown = grown

    def take(self, size: int) -> None:
        """Note that the session has taken a message of so many bytes."""
        self._taken += size

    @property
    def is_held(self) -> bool:
        """Whether the connection must not be read from: some of it waits here."""
        return bool(self._held)

    @property
    def unread_bytes(self) -> int:
        """What has come of messages that the session has not taken."""
        return len(self._held) + self.scanner.message_bytes - self._taken

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Pass on what of a read is due; as of a `Parser`."""
        if self._is_stopped:
            return False, b""
        if self._held or self._connection.is_full:
            self._held += self._rest + data
            self._rest = b""
            self._connection.hold()  # again: aiohttp resumes a connection that it upgrades
        elif self._pass_on(self._rest + data):
            self._connection.hold()
            self.drained()
        return False, b""

    def stop(self) -> None:
        """Forget what waits, and all that comes: what was taken is too much already."""
        self._is_stopped = True
        self._held = b""

    def drained(self) -> None:
        """Have what is held go on in its turn: aiohttp takes more again."""
        if self._held and not self._has_turn:
            self._has_turn = True
            self._turns.wait(self)

    def feed_eof(self) -> None:
        """Pass on the end; as of a `Parser`."""
        self._held = b""
        self._parser.feed_eof()

    def go_on(self) -> bool:
        """Pass on some frames of what waits; return whether it is to have another turn."""
        if self._held and not self._connection.is_full and not self._pass_on(self._held):
            self._connection.go_on()
        self._has_turn = self.is_held and not self._connection.is_full
        return self._has_turn

    def _pass_on(self, data: bytes) -> bool:
        scanner, had_ended = self.scanner, self.scanner.has_ended
        size = scanner.scan(data, FRAMES_PER_READ)
        self._parser.feed_data(data[:size])
        self._held = self._rest = b""
        if scanner.violation is not None and not had_ended:
            self._parser.feed_data(_BROKEN_FRAME)
        elif scanner.is_amid_header:
            self._rest = data[size:]
        elif not scanner.has_ended:
            self._held = data[size:]
        if scanner.message_bytes - self._checked >= _CHECKED_BYTES:
            self._checked = scanner.message_bytes
            self._grown()
        return self.is_held
