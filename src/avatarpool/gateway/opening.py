"""One connection at the ingress: its upgrade, and what of its frames reaches picows, and when."""

from __future__ import annotations

import asyncio
import contextlib
import http
from collections.abc import Callable
from typing import Any, Protocol, cast

from avatarpool.endpoint.crowd import Crowd
from avatarpool.endpoint.reading import Reading, Turns
from avatarpool.endpoint.refusals import UpgradeRefusal
from avatarpool.endpoint.scanner import FrameScanner
from avatarpool.gateway import heads
from avatarpool.gateway.heads import BadRequest, RequestHead
from avatarpool.transport import buffers

_TOO_SLOW = UpgradeRefusal(408, "the request did not come in time")

_LINGER = 0.5  # seconds for a refused client to hear of it

# Bytes that wait to be written to a client before the frames of its requests wait elsewhere.
_HIGH_WATER = 64 * 1024


class Served(Protocol):
    """What a connection is once it is a WebSocket."""

    picows: Any
    """picows' protocol, which reads its frames."""

    def connected(self, opening: Opening) -> None:
        """The upgrade is about to be answered."""

    def pause_writing(self) -> None:
        """Its client does not read."""

    def resume_writing(self) -> None:
        """It reads again."""

    def hung_up(self) -> None:
        """It says no more."""

    def cut_off(self) -> None:
        """It is cut: write nothing more."""

    def bound_memory(self) -> None:
        """Much has come."""


Judge = Callable[[RequestHead], "Served | UpgradeRefusal"]


class Opening(asyncio.Protocol):
    """Stands between a connection and picows: judges the upgrade, and counts the frames.

    Args:
        judge: Admits it, or says why not.
        refused: Told of each refusal, of the address that it goes to, and whom that forwards for.
        crowd: Where it needs a place.
        timeout: Seconds for the upgrade to come.
        max_first_bytes: Of a message, until it is told otherwise.
        turns: Shared with all others: no connection keeps them waiting.

    Attributes:
        is_full: Whether what was read is not taken any more, for now.
        reading: What of its frames is taken, once it is a WebSocket.
    """

    def __init__(
        self,
        judge: Judge,
        refused: Callable[[UpgradeRefusal, str, str], object],
        crowd: Crowd,
        *,
        timeout: float,
        max_first_bytes: int,
        turns: Turns,
    ) -> None:
        self._judge = judge
        self._refused = refused
        self._crowd = crowd
        self._timeout = timeout
        self._turns = turns
        self._max_first_bytes = max_first_bytes
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._alarm: asyncio.TimerHandle | None = None
        self._head = bytearray()
        self._served: Served | None = None
        self._is_refused = False
        self.is_full = False
        self.reading: Reading | None = None

    # --- a Member of the crowd, a Source of the reading -----------------------------------

    def cut(self) -> None:
        """Cut it without a word."""
        if self._served is not None:  # picows might write to the socket still, until it is closed
            self._served.cut_off()
        self._transport.abort()

    def hold(self) -> None:
        """Read no more."""
        with contextlib.suppress(RuntimeError):  # it is closed
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Read on, unless it is full."""
        if not self.is_full:
            with contextlib.suppress(RuntimeError):
                self._transport.resume_reading()

    def fill(self) -> None:
        """Take nothing more of what it sends, until `empty`."""
        self.is_full = True
        self.hold()

    def empty(self) -> None:
        """Go on with what it has sent."""
        self.is_full = False
        if self.reading is not None and self.reading.is_held:
            self.reading.drained()
        else:
            self.go_on()

    # --- called by the transport ----------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if not self._crowd.came(self):
            self.cut()
            return
        buffers.bound_unsent(transport.get_extra_info("socket"))
        self._alarm = self._loop.call_later(self._timeout, self._refuse, _TOO_SLOW)

    def data_received(self, data: bytes) -> None:
        if self.reading is not None:
            self.reading.feed_data(data)
        elif not self._is_refused:
            self._head += data
            self._advance()

    def eof_received(self) -> bool:
        if self._served is not None:
            self._served.hung_up()
        return False  # the transport closes, once all is written

    def pause_writing(self) -> None:
        if self._served is not None:
            self._served.pause_writing()

    def resume_writing(self) -> None:
        if self._served is not None:
            self._served.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._crowd.left(self)
        self._disarm()
        if self._served is not None:
            self._served.picows.connection_lost(error)

    # --- the upgrade ----------------------------------------------------------------------

    def _advance(self) -> None:
        end = self._head.find(b"\r\n\r\n")
        if max(end, len(self._head) if end < 0 else 0) > heads.MAX_HEAD_BYTES:
            self._refuse(UpgradeRefusal(431, "the request's headers are too large"))
            return
        if end < 0:
            return
        raw, rest = bytes(self._head[:end]), bytes(self._head[end + 4 :])
        self._head.clear()
        try:
            head = heads.read_request(raw)
        except BadRequest as bad:
            self._refuse(UpgradeRefusal(400, str(bad)))
            return
        judged = self._judge(head)
        if isinstance(judged, UpgradeRefusal):
            self._refuse(judged, forwarded_for=head.headers.get("x-forwarded-for", ""))
        else:
            self._switch(judged, head, rest)

    def _refuse(self, refusal: UpgradeRefusal, *, forwarded_for: str = "") -> None:
        """Say no, and close once that was read."""
        self._is_refused = True
        self._disarm()
        peer = self._transport.get_extra_info("peername")
        self._refused(refusal, str(peer[0]) if peer else "", forwarded_for)
        reason = http.HTTPStatus(refusal.status).phrase
        self._transport.write(heads.refusal(refusal.status, reason, refusal.headers, refusal.body))
        if self._transport.can_write_eof():
            self._transport.write_eof()
            self._alarm = self._loop.call_later(_LINGER, self.cut)
        else:
            self._transport.close()

    def _switch(self, served: Served, head: RequestHead, rest: bytes) -> None:
        self._disarm()
        self._crowd.asked(self)
        self._served = served
        self._transport.set_write_buffer_limits(_HIGH_WATER)
        served.connected(self)
        served.picows.connection_made(self._transport)
        parser = _Picows(served.picows, self._transport)
        parser.feed_data(heads.for_picows(head))
        self.reading = Reading(
            parser,
            FrameScanner(self._max_first_bytes),
            self._turns,
            connection=self,
            grown=served.bound_memory,
        )
        if rest:
            self.reading.feed_data(rest)

    def _disarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None


class _Picows:
    """picows as the `Parser` of one connection."""

    def __init__(self, picows: Any, transport: asyncio.Transport) -> None:
        self._picows = picows
        self._transport = transport

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        left = memoryview(data)
        while left and not self._transport.is_closing():
            room = self._picows.get_buffer(-1)
            size = min(len(room), len(left))
            room[:size] = left[:size]
            self._picows.buffer_updated(size)
            left = left[size:]
        return False, b""

    def feed_eof(self) -> None:
        pass  # the transport tells of it
