"""Those who make requests: ours and its peers, behind one function each.

Every one is an async context manager that opens ``size`` connections and gives
a coroutine function: one request, from borrowing a connection to returning it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import (
    AbstractAsyncContextManager,
    ExitStack,
    asynccontextmanager,
)
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TypeVar

import avatarkit
import picows
from naive import NaivePool
from picows import WSFrame, WSListener, WSMsgType, WSTransport
from upstream import copy_answer_bytes, copy_request
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websockets_connect

from avatarpool import AvatarConnectionPool, SessionConfig
from avatarpool.client import outgoing
from avatarpool.client.console import ConsoleClient
from avatarpool.protocol.codec import audio_parts, decode, encode
from avatarpool.protocol.messages import AnimationFrame
from avatarpool.protocol.request_ids import generate_log_id

Request = Callable[[bytes], Awaitable[int]]
"""Sends audio; returns how many frames came."""

OPENING_AT_ONCE = 16

_COPY_BUFFER = bytearray(256 * 1024)

T = TypeVar("T")
Listener = TypeVar("Listener", bound="PicowsListener")


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the upstream listens."""

    ingress: int
    console: int
    copier: int
    host: str = "127.0.0.1"
    is_secure: bool = False  # all three speak TLS

    def config(self, avatar_id: str) -> SessionConfig:
        """Return a configuration for sessions that are answered as the avatar id says."""
        scheme = "https" if self.is_secure else "http"
        return SessionConfig(
            avatar_id=avatar_id,
            api_key="key",
            app_id="app",
            console_endpoint_url=f"{scheme}://{self.host}:{self.console}/v1/console",
            ingress_endpoint_url=f"{scheme}://{self.host}:{self.ingress}/v2/driveningress",
        )

    def tls(self) -> ssl.SSLContext | None:
        """Return a context for connections to share, where they need one."""
        return ssl.create_default_context() if self.is_secure else None


def our_pool(config: SessionConfig, size: int) -> AvatarConnectionPool:
    """Return our pool as a user makes it, for sessions that outlast a measurement."""
    return AvatarConnectionPool(size, lambda: config, 60, num_workers=OPENING_AT_ONCE)


def through(pool: AvatarConnectionPool) -> Request:
    """Return what makes requests through our pool."""

    async def request(audio: bytes) -> int:
        async with pool.borrow() as conn:
            await conn.session.send_audio(audio, end=True)
            return len(await conn.collector.wait())

    return request


@asynccontextmanager
async def ours(ports: Ports, avatar_id: str, size: int) -> AsyncIterator[Request]:
    """Our pool with our session."""
    pool = our_pool(ports.config(avatar_id), size)

    try:
        await pool.initialize(timeout=120)
        yield through(pool)
    finally:
        await pool.close()


@asynccontextmanager
async def naive(ports: Ports, avatar_id: str, size: int) -> AsyncIterator[Request]:
    """The naive pool design with the official SDK's session."""
    config = ports.config(avatar_id)
    names = ("avatar_id", "api_key", "app_id", "console_endpoint_url", "ingress_endpoint_url")
    options = {name: getattr(config, name) for name in names}
    options["expire_at"] = datetime.now(timezone.utc) + timedelta(hours=1)
    pool = NaivePool(size, lambda: options, avatarkit.new_avatar_session)

    async def request(audio: bytes) -> int:
        async with pool.borrow() as conn:
            await conn.session.send_audio(audio, end=True)
            return len(await conn.collector.wait(45))

    try:
        await pool.initialize()
        opened = pool._available.qsize()  # noqa: SLF001  # it hides what failed
        assert opened == size, f"the naive pool opened {opened} of {size}"
        yield request
    finally:
        await pool.close()


@asynccontextmanager
async def tuned_websockets(ports: Ports, avatar_id: str, size: int) -> AsyncIterator[Request]:
    """`websockets` at its best: no compression, no limit on its queue, no task per message.

    One message per request goes up, framed by hand as ours is; those that come
    down are read by our decoder. A deque hands the connections on.
    """
    config, context = ports.config(avatar_id), ports.tls()
    idle: deque[ClientConnection] = deque()

    async def open_one(console: ConsoleClient) -> ClientConnection:
        url, headers = outgoing.ingress_target(config, await console.request_token(config))
        connection = await websockets_connect(
            url,
            additional_headers=headers,
            compression=None,
            max_queue=None,
            proxy=None,
            ssl=context,
        )
        await connection.send(encode(outgoing.configuration(config)))
        await connection.recv(decode=False)
        return connection

    async def request(audio: bytes) -> int:
        connection = idle.popleft()
        await connection.send(b"".join(audio_parts(generate_log_id(), audio, end=True)))
        frames = []
        while True:
            frame = decode(await connection.recv(decode=False))
            assert isinstance(frame, AnimationFrame)
            frames.append(frame)
            if frame.end:
                idle.append(connection)
                return len(frames)

    async with ConsoleClient() as console:
        await open_all(size, lambda: open_one(console), idle.append)
        try:
            yield request
        finally:
            await asyncio.gather(*(connection.close() for connection in idle))


class PicowsListener(WSListener):
    """Counts a request's frames without reading them."""

    def __init__(self, frames: int) -> None:
        super().__init__()
        self._frames = frames
        self.left = 1  # the handshake's answer
        self.done = asyncio.get_running_loop().create_future()
        self.transport: WSTransport

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Begin."""
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Count."""
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
            return
        self.left -= 1
        if not self.left:
            self.done.set_result(None)

    def pause_writing(self) -> None:
        """Go on: picows buffers, and a request waits for its answer anyway."""

    resume_writing = pause_writing

    async def request(self, audio: bytes) -> int:
        """Send audio and wait for as many frames as must come."""
        self.left = self._frames
        self.done = asyncio.get_running_loop().create_future()
        message = b"".join(audio_parts(generate_log_id(), audio, end=True))
        self.transport.send(WSMsgType.BINARY, message)
        await self.done
        return self._frames

    async def close(self) -> None:
        """Close as a WebSocket does."""
        self.transport.send_close()
        await self.transport.wait_disconnected()


async def open_picows(
    config: SessionConfig,
    console: ConsoleClient,
    make_listener: Callable[[], Listener],
    context: ssl.SSLContext | None,
) -> Listener:
    """Open one connection: token, upgrade, handshake."""
    url, headers = outgoing.ingress_target(config, await console.request_token(config))
    made: list[Listener] = []

    def make() -> Listener:
        made.append(make_listener())
        return made[-1]

    await picows.ws_connect(
        make,
        url,
        ssl_context=context,
        extra_headers=headers,
        read_buffer_init_size=1024,
    )
    (listener,) = made
    listener.transport.send(WSMsgType.BINARY, encode(outgoing.configuration(config)))
    await listener.done
    return listener


@asynccontextmanager
async def raw_picows(ports: Ports, avatar_id: str, size: int) -> AsyncIterator[Request]:
    """Picows alone: frames are counted and never read, no pool, no session."""
    config, context = ports.config(avatar_id), ports.tls()
    frames = int(avatar_id.partition("-")[2])
    idle: deque[PicowsListener] = deque()

    async def request(audio: bytes) -> int:
        listener = idle.popleft()
        count = await listener.request(audio)
        idle.append(listener)
        return count

    async with ConsoleClient() as console:
        await open_all(
            size,
            lambda: open_picows(config, console, lambda: PicowsListener(frames), context),
            idle.append,
        )
        try:
            yield request
        finally:
            await asyncio.gather(*(listener.close() for listener in idle))


@asynccontextmanager
async def bare_copy(ports: Ports, avatar_id: str, size: int) -> AsyncIterator[Request]:
    """The bytes of a request and its answer through blocking sockets: the physical limit."""
    context = ports.tls()
    frames = int(avatar_id.partition("-")[2])
    answer_bytes = copy_answer_bytes(avatar_id)
    idle: deque[socket.socket] = deque()

    async def request(audio: bytes) -> int:
        peer = idle.popleft()
        peer.sendall(copy_request(avatar_id, len(audio)))
        missing = answer_bytes
        while missing:
            missing -= peer.recv_into(_COPY_BUFFER, min(missing, len(_COPY_BUFFER)))
        idle.append(peer)
        return frames

    with ExitStack() as stack:
        for _ in range(size):
            peer = socket.create_connection((ports.host, ports.copier))
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                peer = context.wrap_socket(peer, server_hostname=ports.host)
            idle.append(stack.enter_context(peer))
        yield request


async def open_all(
    size: int, open_one: Callable[[], Awaitable[T]], opened_one: Callable[[T], object]
) -> None:
    """Open so many connections, a few at a time."""
    gate = asyncio.Semaphore(OPENING_AT_ONCE)

    async def opened() -> None:
        async with gate:
            opened_one(await open_one())

    async with asyncio.TaskGroup() as group:
        for _ in range(size):
            group.create_task(opened())


CLIENTS: dict[str, Callable[[Ports, str, int], AbstractAsyncContextManager[Request]]] = {
    "ours": ours,
    "naive": naive,
    "websockets": tuned_websockets,
    "picows": raw_picows,
    "tcp": bare_copy,
    "ssl": bare_copy,
}


async def make(
    request: Request, audio: bytes, *, total: int, at_once: int, frames: int
) -> list[float]:
    """Make requests, so many at once, and see that each gets all its frames.

    Returns how many seconds each took, from the caller's asking to its last frame.
    """
    left = iter(range(total))
    taken: list[float] = []

    async def one_after_another() -> None:
        for _ in left:
            began = time.perf_counter()
            count = await request(audio)
            taken.append(time.perf_counter() - began)
            assert count == frames, f"{count} frames of {frames} came"

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(one_after_another())
    return taken
