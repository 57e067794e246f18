"""A WebSocket client over picows that hands over whole messages and why it ended.

picows delivers frames; this shell reassembles fragmented messages within a
bound, refuses text, answers the closing handshake, holds senders back while
the peer is slow.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Protocol, cast

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from avatarpool.exceptions import AvatarSDKError
from avatarpool.protocol.texts import close_reason, may_carry
from avatarpool.transport import buffers
from avatarpool.transport.picows_protocol import HEADER_ROOM
from avatarpool.transport.pulse import Pulse

# A read may bring so many frames that are too small for any message of use: more
# are a flood, each of which would cost as much as a message.
_SMALL_FRAME_BYTES = 16
_MAX_SMALL_FRAMES = 1000

_BINARY = WSMsgType.BINARY  # looked up once: an enum's member costs a call, and frames are many


@dataclass(frozen=True, slots=True)
class Ended:
    """How a WebSocket ended.

    Attributes:
        code: The peer's close code; None where it sent no close frame.
        reason: The peer's reason, or what this side found wrong.
        is_violation: Whether the peer broke the WebSocket protocol.
        is_local: Whether this side asked for the end.
    """

    code: int | None = None
    reason: str = ""
    is_violation: bool = False
    is_local: bool = False


class MessageHandler(Protocol):
    """Who gets a WebSocket's messages; called from the event loop, never blocks."""

    def message_received(self, data: bytes) -> None:
        """Take one binary message.

        Raises:
            AvatarSDKError: It is none: the peer is told so, and the WebSocket ends.
        """

    def connection_closing(self) -> None:
        """Take the news that nothing can be sent any more; the end will be told."""

    def connection_lost(self, ended: Ended) -> None:
        """Take the news, once, that no message will come any more."""


class Taker(Protocol):
    """Takes messages before anybody reads them; must not raise."""

    def __call__(self, message: bytes, *, is_alone: bool) -> bool:
        """Return whether it was taken.

        Args:
            message: One binary message.
            is_alone: Whether nothing more is known to have come after it.
        """


class WebSocket(WSListener):
    """One open WebSocket; made by `connecting.connect`."""

    __slots__ = (
        "_divert",
        "_ended",
        "_farewell",
        "_handler",
        "_is_deaf",
        "_is_fragmented",
        "_is_local",
        "_is_paused",
        "_loop",
        "_max_message_bytes",
        "_pieces",
        "_pong",
        "_pulse",
        "_small_frames",
        "_transport",
        "_violation",
        "_writable",
    )

    def __init__(
        self,
        handler: MessageHandler,
        *,
        max_message_bytes: int,
        ping_interval: float | None,
        ping_timeout: float,
    ) -> None:
        super().__init__()
        self._handler = handler
        self._max_message_bytes = max_message_bytes
        self._transport: WSTransport | None = None
        self._pulse = Pulse(self._call_dead, ping_interval, ping_timeout)
        self._divert: Taker | None = None  # asked first
        self._pieces = bytearray()  # of a fragmented message under way
        self._is_fragmented = False
        self._small_frames = 0  # in a row, of one read
        self._pong: bytes | None = None  # owed until the peer reads again
        self._violation = ""  # what the peer did wrong, if we end it for that
        self._is_deaf = False  # since a close frame, or a violation: nothing is handed over
        self._is_paused = False  # whether it is not read from, as asked
        self._is_local = False  # whether close() or abort() was called
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._writable: asyncio.Future[None] | None = None  # while writing is paused
        self._farewell: asyncio.Task[None] | None = None  # kept from the garbage collector

    def __repr__(self) -> str:
        return f"<WebSocket {'open' if self.is_open else 'ended'}>"

    @property
    def is_open(self) -> bool:
        """Whether messages can still be sent."""
        transport = self._transport
        return transport is not None and not (
            transport.is_disconnected or transport.is_close_frame_sent or self._is_local
        )

    def write(self, *parts: bytes | memoryview) -> None:
        """Queue one binary message made of parts; follow with `drain()` to be held back.

        Does nothing on an ended WebSocket: whoever writes asks `is_open` first.
        """
        assert self._transport is not None
        # Masked where it stands. picows' own way is a copy in a buffer per connection,
        # which keeps the size of the largest message for good.
        message = bytearray().join((HEADER_ROOM, *parts))
        self._pulse.written += _size_on_the_wire(len(message) - len(HEADER_ROOM))
        self._transport.send_reuse_external_bytearray(_BINARY, message, len(HEADER_ROOM))

    @property
    def is_held_back(self) -> bool:
        """Whether the peer is slow, so that `drain()` will wait."""
        return self._writable is not None

    async def drain(self, patience: float) -> None:
        """Wait until the kernel has what was written.

        It holds little more than is on its way to the peer, where the system lets us
        say so (Linux, macOS); elsewhere up to its whole send buffer. Cancelling leaves
        the WebSocket as it is: messages are queued whole.

        Raises:
            TimeoutError: The peer took nothing at all for ``patience`` seconds.
        """
        if self._writable is not None:
            await self._pulse.taken(self._writable, patience)

    def divert(self, taker: Taker | None) -> None:
        """Offer each message that comes whole to a taker first, until it does not want one."""
        self._divert = taker

    def pause_reading(self) -> None:
        """Leave in the network what comes, until `resume_reading`; the peer is not called dead.

        Safe to call twice, and on an ended WebSocket.
        """
        if self.is_open and not self._is_paused:
            assert self._transport is not None
            self._is_paused = True
            self._transport.underlying_transport.pause_reading()
            self._pulse.hold()

    def resume_reading(self) -> None:
        """Read on."""
        if self._is_paused:
            assert self._transport is not None
            self._is_paused = False
            if not self._transport.is_disconnected:
                self._transport.underlying_transport.resume_reading()
                self._pulse.go_on()

    async def proves_alive(self, patience: float) -> bool:
        """Ping the peer; return whether it answered.

        Args:
            patience: Seconds in which it takes nothing of what was written before,
                sends nothing and does not answer.
        """
        return self.is_open and await self._pulse.proves_alive(patience)

    async def close(self, code: int = 1000, reason: str = "", *, timeout: float) -> None:
        """Do the closing handshake within ``timeout`` seconds, then cut.

        Cancelling cuts at once.
        """
        transport = self._transport
        if transport is None or transport.is_disconnected:
            return
        self._is_local = True
        self._handler.connection_closing()
        try:
            if not transport.is_close_frame_sent:
                transport.send_close(cast("WSCloseCode", code), close_reason(reason))
            await self.wait_ended(timeout)
        finally:
            transport.disconnect(graceful=False)

    async def wait_ended(self, timeout: float) -> None:
        """Wait for the end, or for ``timeout`` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await asyncio.shield(self._ended)

    def abort(self) -> None:
        """Cut the connection without a word."""
        self._is_local = True
        self._handler.connection_closing()
        if self._transport is not None:
            self._transport.disconnect(graceful=False)

    def fail(self, code: int, reason: str, *, linger: float = 1.0) -> None:
        """End a WebSocket whose peer broke the rules: say why, then cut."""
        self._is_deaf = True
        self._divert = None
        self._condemn(code, reason, linger)

    def frame_broken(self, code: int, why: str) -> None:
        """Take what picows found wrong with a frame, before it tells the peer.

        The frame before it may not have been handed over, and still will be.
        """
        transport = self._transport
        assert transport is not None
        closing = transport.close_handshake
        if closing is None or closing.recv is None:
            self._condemn(code, why)
        else:  # what follows a close frame is of no account
            self._answer_close(int(cast("int", closing.recv.code)))

    # --- called by picows ----------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        # What is written waits here and not in a buffer, as soon as the kernel has enough.
        transport.underlying_transport.set_write_buffer_limits(0)
        self._pulse.begin(transport)
        # They are of no more use, hold a token, and take 2 kB of each connection.
        transport.request.headers.clear()
        transport.response.headers.clear()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        is_reserved = frame.rsv1 or frame.rsv2 or frame.rsv3
        is_message = kind == _BINARY and frame.fin and not is_reserved
        if self._divert is not None:
            is_alone = frame.last_in_buffer
            if is_message and self._divert(frame.get_payload_as_bytes(), is_alone=is_alone):
                self._small_frames = 0
                return
            self._divert = None
        if self._is_deaf:
            return
        if frame.payload_size >= _SMALL_FRAME_BYTES:
            self._small_frames = 0
        elif self._is_flood(frame):
            return
        try:
            if is_message and not self._is_fragmented:
                self._handler.message_received(frame.get_payload_as_bytes())
            elif is_reserved:
                self.fail(1002, "a frame with a reserved bit, and no extension was agreed on")
            elif kind in (_BINARY, WSMsgType.CONTINUATION):
                self._reassemble(frame, is_start=kind == _BINARY)
            else:
                self._other(transport, frame)
        except AvatarSDKError as error:  # the handler's
            self.fail(1002, error.message)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        handshake = transport.close_handshake
        received = handshake.recv if handshake else None
        sent = handshake.sent if handshake else None
        self._pulse.stop()
        if self._violation:
            ended = Ended(None, self._violation, is_violation=True, is_local=self._is_local)
        elif self._pulse.why_dead:
            ended = Ended(None, self._pulse.why_dead)
        elif received is not None:
            code = int(cast("int", received.code))  # typed as an enum that lacks 4xxx
            ended = Ended(code or 1005, received.reason or "", is_local=self._is_local)
        elif self._is_local or sent is None:
            ended = Ended(is_local=self._is_local)
        else:  # picows ended it, and gives no reason for an exception of ours
            why = sent.reason or "a message could not be dealt with here"
            ended = Ended(None, why, is_violation=bool(sent.reason))
        if sent is not None:
            self._farewell = self._loop.create_task(_retrieve(transport))
        self.resume_writing()
        if not self._ended.done():
            self._ended.set_result(None)
        self._handler.connection_lost(ended)

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None
            self._send_pong()

    def _is_flood(self, frame: WSFrame) -> bool:
        """Count a small frame; end the WebSocket if one read brings too many."""
        self._small_frames = 0 if frame.last_in_buffer else self._small_frames + 1
        if self._small_frames <= _MAX_SMALL_FRAMES:
            return False
        self.fail(1008, f"more than {_MAX_SMALL_FRAMES} tiny frames at once", linger=0.0)
        return True

    def _other(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take what is no part of a binary message."""
        if frame.msg_type == WSMsgType.PING:
            # Answered here and not by picows: to a peer that reads nothing it would
            # write without end. One answer to the latest is enough (RFC 6455, 5.5.3).
            self._pong = frame.get_payload_as_bytes()
            if self._writable is None:
                self._send_pong()
        elif frame.msg_type == WSMsgType.PONG:
            self._pulse.pong_came(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            self._closed(transport, frame)
        else:
            self.fail(1003, "text message where only binary ones are expected")

    def _closed(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take the peer's close frame, after which nothing counts."""
        code = int(cast("int", frame.get_close_code()))
        if frame.payload_size and not may_carry(code):
            self.fail(1002, f"a close frame with the code {code}, which none may carry")
            return
        self._is_deaf = True
        self._handler.connection_closing()
        self._answer_close(code)
        transport.disconnect()
        # Data that the peer no longer reads must not keep the socket.
        self._loop.call_later(1.0, transport.disconnect, False)

    def _answer_close(self, code: int) -> None:
        """Echo a close frame's code, unless it was ours that was answered."""
        transport = self._transport
        assert transport is not None
        if not transport.is_close_frame_sent:
            # A close frame without a code has 0 here.
            echo = code if may_carry(code) else 1002 if code else 1000
            transport.send_close(cast("WSCloseCode", echo))

    def _condemn(self, code: int, why: str, linger: float = 1.0) -> None:
        """Tell the peer that it broke the rules, and cut a little later."""
        transport = self._transport
        if transport is None or transport.is_disconnected or self._violation:
            return
        self._violation = why
        self._handler.connection_closing()
        transport.send_close(cast("WSCloseCode", code), close_reason(why))
        buffers.stop_hearing(transport)
        self._loop.call_later(linger, transport.disconnect, False)

    def _call_dead(self) -> None:
        """End a WebSocket whose peer does not answer."""
        assert self._transport is not None
        self._handler.connection_closing()
        self._transport.disconnect(graceful=False)

    def _send_pong(self) -> None:
        pong, self._pong = self._pong, None
        if pong is not None and self.is_open:
            assert self._transport is not None
            self._transport.send_pong(pong)

    def _reassemble(self, frame: WSFrame, *, is_start: bool) -> None:
        if is_start is self._is_fragmented:
            self.fail(1002, "fragments of messages out of order")
            return
        size = len(self._pieces) + frame.payload_size
        if size > self._max_message_bytes:
            self._too_big(size)
            return
        self._pieces += frame.get_payload_as_memoryview()
        self._is_fragmented = not frame.fin
        if frame.fin:
            message = bytes(self._pieces)
            self._pieces = bytearray()
            self._handler.message_received(message)

    def _too_big(self, size: int) -> None:
        self._pieces = bytearray()
        self.fail(1009, f"message of {size} bytes is over {self._max_message_bytes}")


def _size_on_the_wire(payload: int) -> int:
    """Return the size of a masked frame (RFC 6455, 5.2)."""
    if payload < 126:
        return 2 + 4 + payload
    return (4 if payload < 65536 else 10) + 4 + payload


async def _retrieve(transport: WSTransport) -> None:
    """Take the exception that picows keeps for whoever awaits the end.

    It was reported as `Ended` already; left there, asyncio complains of it.
    """
    with contextlib.suppress(Exception):
        await transport.wait_disconnected()
