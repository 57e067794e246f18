"""The server's end of one WebSocket: whole messages in, messages out, a bounded end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import WSMessage, WSMsgType, web

from avatarpool.endpoint import refusals
from avatarpool.endpoint.framing import framed
from avatarpool.endpoint.limits import ServiceLimits
from avatarpool.endpoint.reading import BROKEN, Reading
from avatarpool.endpoint.refusals import Ending
from avatarpool.protocol.codec import encode
from avatarpool.protocol.messages import AnimationFrame, Message, ServerError
from avatarpool.protocol.texts import close_reason, may_carry

log = logging.getLogger("avatarpool.service")

_MESSAGES_PER_TURN = 32  # of one session, before the others have theirs


class SessionOver(Exception):
    """The session ends; without an `Ending` its peer has gone already."""

    def __init__(self, ending: Ending | None) -> None:
        super().__init__(ending.message if ending else "the peer has gone")
        self.ending = ending


class ServerSocket:
    """An upgraded WebSocket.

    Args:
        socket: aiohttp's.
        transport: What it runs over; cut if the peer does not read.
        reading: What of it reaches aiohttp, and when.
        name: Of the session, for logs and in errors.
        limits: How long sending and closing may take.
    """

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport,
        reading: Reading,
        name: str,
        limits: ServiceLimits,
    ) -> None:
        self.socket = socket
        self.transport = transport
        self.reading = reading
        self.name = name
        self._limits = limits
        self._messages_read = 0
        self._answering_code = refusals.NORMAL  # to the peer's close frame

    @property
    def is_held_up(self) -> bool:
        """Whether `ready` may take its time."""
        return False

    async def ready(self) -> None:
        """Wait until the session may be confirmed."""

    async def receive(self) -> bytes:
        """Return the next message, a binary one.

        Raises:
            SessionOver: The peer has ended it, or sent text.
            Violation: The peer sent what it must not, as a WebSocket.
        """
        data = await self.receive_any()
        if isinstance(data, str):
            raise SessionOver(refusals.TEXT_MESSAGE)
        return data

    async def receive_any(self) -> bytes | str:
        """Return the next message, binary or text.

        aiohttp hands out what it has read without giving way, and answers
        pings likewise: thousands of small messages, a second of the loop. So pings
        are answered here.

        Raises:
            SessionOver: The peer has ended it.
            Violation: The peer sent what it must not, as a WebSocket.
        """
        while True:
            message = await self.read()
            match message.type:
                case WSMsgType.BINARY:
                    data: bytes = message.data
                    self.reading.take(len(data))
                    return data
                case WSMsgType.PING:
                    await self._in_time(self.socket.pong(message.data))
                case WSMsgType.PONG:
                    if message.data == BROKEN and self.reading.scanner.violation is not None:
                        raise self.reading.scanner.violation
                case WSMsgType.TEXT:
                    text: str = message.data
                    self.reading.take(len(text.encode()))
                    return text
                case WSMsgType.CLOSE:
                    if message.data:  # otherwise it has no code
                        is_valid = may_carry(message.data)
                        code: int = message.data
                        self._answering_code = code if is_valid else refusals.PROTOCOL_ERROR
                    raise SessionOver(None)
                case _:
                    raise SessionOver(None)

    async def read(self) -> WSMessage:
        """Return the next WebSocket message, of whatever kind."""
        self._messages_read += 1
        if self._messages_read % _MESSAGES_PER_TURN == 0:
            await asyncio.sleep(0)
        return await self.socket.receive()

    async def send(self, *messages: Message) -> None:
        """Write messages in one piece and wait while the peer's buffers are full.

        They are written before anything is waited for, so that they go out in
        the order of the calls.

        Raises:
            SessionOver: The peer has gone, or reads nothing: then it is cut.
        """
        *others, last = map(encode, messages)
        if others and not self.transport.is_closing():
            self.transport.write(framed(others))
        await self._in_time(self.socket.send_bytes(last))

    async def send_bytes(self, message: bytes) -> None:
        """Write one message and wait while the peer's buffers are full.

        Raises:
            SessionOver: As of `send`.
        """
        await self._in_time(self.socket.send_bytes(message))

    async def send_frames(
        self,
        animations: Sequence[tuple[bytes, bool]],
        framed_now: Callable[[bytes, bool], AnimationFrame],
    ) -> None:
        """Send a request's animations, each with whether it is the last.

        Args:
            animations: What to send.
            framed_now: Called for each when it is about to leave, and no sooner.

        Raises:
            SessionOver: As of `send`.
        """
        await self.send(*(framed_now(*animation) for animation in animations))

    async def _in_time(self, sending: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self._limits.send_timeout):
                await sending
        except TimeoutError:
            log.warning("session %s: the peer reads nothing, cut", self.name)
            self.transport.abort()
            raise SessionOver(None) from None
        except ConnectionError:
            raise SessionOver(None) from None

    async def close(self, ending: Ending | None) -> None:
        """Say why, and close, in bounded time; None: the peer has closed, or gone."""
        try:
            async with asyncio.timeout(self._limits.close_timeout):
                await self._close(ending)
        except (TimeoutError, SessionOver):
            self.transport.abort()

    async def _close(self, ending: Ending | None) -> None:
        if ending is None:
            await self.socket.close(code=self._answering_code)
            return
        log.info("session %s ends: %s", self.name, ending.message)
        if ending.code is not None:
            await self.send(ServerError(ending.code, ending.message, self.name))
        await self.socket.close(code=ending.close_code, message=close_reason(ending.message))

    def cut(self) -> None:
        """Cut it if it would wait for a peer that does not read."""
        try:
            is_waiting = self.transport.get_write_buffer_size() > 0
        except AttributeError:  # asyncio's over TLS, once it is closed
            return
        if is_waiting:
            self.transport.abort()
