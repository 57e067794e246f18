"""Speech in as it is spoken, face animation out as it comes: the pool behind a WebSocket.

``python main.py``, then ``python client.py``. The README beside it has the protocol.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from urllib.parse import urlsplit

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from avatarpool import AvatarConnectionPool, AvatarPoolError, ConfigurationError, SessionConfig
from avatarpool.environment import Settings
from avatarpool.exceptions import AudioError
from avatarpool.service import LocalAvatarService

HOST, PORT = "127.0.0.1", 8080
POOL_SIZE = 3  # WebSocket connections to maintain
MAX_CLIENTS = 100  # more are answered 503
MAX_MESSAGE_BYTES = 256 * 1024  # of a client: 8 s of audio
MAX_HEARD_BYTES = 10 * 1024 * 1024  # of a client's audio that waits to be sent on
BORROW_TIMEOUT = 10.0  # seconds that an utterance waits for a connection
PIECE_TIMEOUT = 10.0  # seconds until an utterance's next piece of audio, or its end
FRAME_TIMEOUT = 15.0  # seconds until its next frame
UTTERANCE_TIMEOUT = 120.0  # seconds for all of it
SEND_TIMEOUT = 10.0  # seconds in which a client must take a message
HEARTBEAT = 20.0  # seconds between pings: a client that vanished without a word is noticed

Send = Callable[[bytes | dict[str, object]], Awaitable[None]]

routes = web.RouteTableDef()
avatar_pool = web.AppKey("avatar_pool", AvatarConnectionPool)
clients = web.AppKey("clients", set[web.WebSocketResponse])


@routes.get("/speak")
async def speak(request: web.Request) -> web.StreamResponse:
    """Converse with one client until it leaves."""
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        raise web.HTTPForbidden(text="this is for pages of its own host\n")
    if len(request.app[clients]) >= MAX_CLIENTS:
        raise web.HTTPServiceUnavailable(text="too many clients: try again later\n")
    ws = web.WebSocketResponse(max_msg_size=MAX_MESSAGE_BYTES, heartbeat=HEARTBEAT, compress=False)
    request.app[clients].add(ws)  # before anything is awaited: the count is exact
    try:
        await ws.prepare(request)
        await converse(ws, request)
    except* ConnectionError:
        pass  # the client has gone, or was cut
    finally:
        request.app[clients].discard(ws)
    return ws


async def converse(ws: web.WebSocketResponse, request: web.Request) -> None:
    """Hand on what the client says; what it cannot be answered is told as an error."""

    async def send(message: bytes | dict[str, object]) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT):
                if isinstance(message, bytes):
                    await ws.send_bytes(message)
                else:
                    await ws.send_json(message)
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()  # closing would wait for what it does not take
            raise ConnectionResetError("the client takes no more messages") from None

    async with asyncio.TaskGroup() as group:
        conversation = Conversation(request.app[avatar_pool], send, group)
        async for message in ws:
            try:
                await conversation.hear(message)
            except AudioError as error:
                await send({"type": "error", "error": str(error)})
            if conversation.heard_bytes > MAX_HEARD_BYTES:
                await send({"type": "error", "error": "more audio came than is kept: send slower"})
                await ws.close(code=WSCloseCode.MESSAGE_TOO_BIG)
            await asyncio.sleep(0)  # who sends thousands at once holds nobody up
        conversation.speaking.cancel()


class Conversation:
    """One client's utterances, answered one after another; a connection is borrowed for each.

    Args:
        pool: Lends the connections.
        send: Sends a message to the client, or raises `ConnectionError`.
        group: Owns the task that speaks.
    """

    def __init__(self, pool: AvatarConnectionPool, send: Send, group: asyncio.TaskGroup) -> None:
        self._pool = pool
        self._send = send
        self._group = group
        self._begin()

    def _begin(self) -> None:
        # Pieces of audio; None is an utterance's end.
        self._heard: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.heard_bytes = 0  # in there
        self._is_hearing = False  # whether an utterance has begun that has not ended
        self._is_taking = False  # ... among what was taken out
        self.speaking = self._group.create_task(self._speak())

    async def hear(self, message: WSMessage) -> None:
        """Take a piece of an utterance, its end, or an interrupt.

        Nothing here waits for the audio before: an interrupt is heard at once.

        Raises:
            AudioError: It means nothing.
        """
        if message.type is WSMsgType.BINARY:
            self._put(message.data)
        elif message.data == "interrupt":
            await self._interrupt()
        elif message.data != "end":
            raise AudioError("send audio as binary messages; the texts are end and interrupt")
        elif not self._is_hearing:
            raise AudioError("there is nothing to end: send audio first")
        else:
            self._put(None)

    def _put(self, piece: bytes | None) -> None:
        self._is_hearing = piece is not None
        self._heard.put_nowait(piece)
        self.heard_bytes += _cost(piece)

    async def _interrupt(self) -> None:
        # Cancelled, it leaves its `borrow()`: that ends the request and drops its late frames.
        self.speaking.cancel()
        await asyncio.wait([self.speaking])
        self._begin()
        await self._send({"type": "interrupted"})

    async def _speak(self) -> None:
        while True:
            first = await self._take()
            assert first is not None, "an end follows audio"
            try:
                async with asyncio.timeout(UTTERANCE_TIMEOUT):
                    await self._utter(first)
            except AvatarPoolError as error:
                await self._send({"type": "error", "error": str(error)})
            except TimeoutError:
                sentence = f"the utterance took longer than {UTTERANCE_TIMEOUT:.0f} s"
                await self._send({"type": "error", "error": sentence})
            while self._is_taking:  # the rest of what has failed
                await self._take()

    async def _utter(self, first: bytes) -> None:
        count = 0
        try:
            async with (
                self._pool.borrow(timeout=BORROW_TIMEOUT) as conn,
                aclosing(conn.collector.stream(math.inf, FRAME_TIMEOUT)) as frames,
                asyncio.TaskGroup() as group,
            ):
                # Frames come while audio still goes up.
                group.create_task(self._forward(first, conn.session.send_audio))
                async for frame in frames:
                    if not count:
                        await self._send({"type": "begin", "request_id": frame.req_id})
                    count += 1
                    await self._send(bytes(frame))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        await self._send({"type": "done", "frames": count})

    async def _forward(
        self, first: bytes, send_audio: Callable[[bytes, bool], Awaitable[str]]
    ) -> None:
        piece: bytes | None = first
        while piece is not None:
            await send_audio(piece, False)
            try:
                async with asyncio.timeout(PIECE_TIMEOUT):
                    piece = await self._take()
            except TimeoutError:
                raise AudioError(
                    f"no audio came for {PIECE_TIMEOUT:.0f} s: say end after the last piece"
                ) from None
        await send_audio(b"", True)

    async def _take(self) -> bytes | None:
        piece = await self._heard.get()
        self.heard_bytes -= _cost(piece)
        self._is_taking = piece is not None
        return piece


def _cost(piece: bytes | None) -> int:
    """Bytes that it holds: many small pieces must not cost more than a few large ones."""
    return sys.getsizeof(piece)


@routes.get("/stats")
async def stats(request: web.Request) -> web.Response:
    """Show what the pool is doing."""
    return web.json_response(request.app[avatar_pool].get_stats())


async def pool_of_application(app: web.Application) -> AsyncIterator[None]:
    """Open the pool when the application starts and close it when it stops."""
    async with AsyncExitStack() as stack:
        settings = read_environment()
        config_factory: Callable[[], SessionConfig] = settings.session_config
        if settings.is_empty:
            print("No AVATAR_* account is set: using a local avatar service.", file=sys.stderr)
            service = await stack.enter_async_context(LocalAvatarService())
            config_factory = service.config_factory
        pool = AvatarConnectionPool(
            pool_size=POOL_SIZE,
            config_factory=config_factory,
            request_timeout=UTTERANCE_TIMEOUT,  # what is lent lives that long
        )
        app[avatar_pool] = await stack.enter_async_context(pool)
        yield


async def say_goodbye(app: web.Application) -> None:
    """Close the clients' WebSockets: the server would wait for them."""
    for ws in app[clients].copy():
        await ws.close(code=WSCloseCode.GOING_AWAY, message=b"the server stops")


def read_environment() -> Settings:
    """Read the service's variables: all of them are set, or none."""
    settings = Settings.read()
    if settings.missing and not settings.is_empty:
        names = ", ".join(settings.missing)
        print(f"These environment variables are missing: {names}", file=sys.stderr)
        sys.exit(2)
    return settings


def create_app() -> web.Application:
    """Put the application together."""
    app = web.Application()
    app.add_routes(routes)
    app[clients] = set()
    app.cleanup_ctx.append(pool_of_application)
    app.on_shutdown.append(say_goodbye)
    return app


if __name__ == "__main__":
    try:
        read_environment()  # an incomplete one ends here, before anything starts
        web.run_app(create_app(), host=HOST, port=PORT)
    except AvatarPoolError as error:
        print(f"The avatar service cannot be used: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)
