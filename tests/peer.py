"""A peer that does what a test tells it: tokens, and then a WebSocket handler."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from avatarpool import SessionConfig
from avatarpool.protocol.codec import encode
from avatarpool.protocol.messages import ConfirmSession

Behaviour = Callable[[web.WebSocketResponse], Awaitable[object]]


async def confirm(websocket: web.WebSocketResponse, connection_id: str = "c1") -> None:
    """Answer the configuration as a service does."""
    await websocket.receive_bytes()
    await websocket.send_bytes(encode(ConfirmSession(connection_id)))


def stop_reading(websocket: web.WebSocketResponse) -> asyncio.Transport:
    """Take no more data from the client; return the transport, to resume or to abort."""
    transport = websocket._req.transport  # type: ignore[union-attr]
    assert transport is not None
    transport.pause_reading()
    return transport


@asynccontextmanager
async def slow_line(config: SessionConfig, bytes_per_second: int) -> AsyncIterator[SessionConfig]:
    """Lead to a configuration's ingress over a line with a small window and little bandwidth."""
    target = urlsplit(config.ingress_endpoint_url)
    writers: list[asyncio.StreamWriter] = []

    async def pump(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rate: int | None = None
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(2048):
                writer.write(data)
                await writer.drain()
                await asyncio.sleep(len(data) / rate if rate else 0)
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, downstream = await asyncio.open_connection(target.hostname, target.port)
        writers.extend((writer, downstream))
        await asyncio.gather(pump(reader, downstream, bytes_per_second), pump(upstream, writer))

    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        async with await asyncio.start_server(relay, sock=listening, limit=2048):
            try:
                yield replace(config, ingress_endpoint_url=f"ws://127.0.0.1:{port}{target.path}")
            finally:
                for writer in writers:
                    writer.transport.abort()


@asynccontextmanager
async def peer(behaviour: Behaviour, **websocket_options: Any) -> AsyncIterator[SessionConfig]:
    """Serve tokens, and each WebSocket with ``behaviour``; give a configuration for it."""

    async def token(request: web.Request) -> web.Response:
        return web.json_response({"session_token": "a-token"})

    async def ingress(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse(compress=False, timeout=0.1, **websocket_options)
        await websocket.prepare(request)
        await behaviour(websocket)
        return websocket

    application = web.Application()
    application.router.add_post("/session-tokens", token)
    application.router.add_get("/websocket", ingress)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield SessionConfig(
            avatar_id="avatar",
            api_key="key",
            app_id="app",
            console_endpoint_url=url,
            ingress_endpoint_url=url,
            close_timeout=0.2,
        )
    finally:
        await runner.cleanup()
