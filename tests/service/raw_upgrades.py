"""Clients byte by byte: an upgrade of any header lines, and what is said after it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiohttp
from raw_client import ask_for_token
from raw_frames import BINARY, Frame, RawPeer, at_once

from avatarpool.protocol.codec import decode, encode
from avatarpool.protocol.messages import ConfigureSession, ConfirmSession
from avatarpool.protocol.settings import AudioFormat
from avatarpool.service import LocalAvatarService

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455's own
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

UPGRADE = (
    "Host: 127.0.0.1",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {KEY.decode()}",
)
CONFIGURATION = Frame(BINARY, encode(ConfigureSession(16000, AudioFormat.PCM_S16LE)))


async def dialed(url: str, receive_bytes: int | None = None) -> RawPeer:
    """A connection on which nothing was said.

    Args:
        url: Where to.
        receive_bytes: What it takes of what nobody reads; None: as much as the system likes.
    """
    address = urlsplit(url)
    peer = RawPeer(is_client=True)
    sock = socket.socket()
    sock.setblocking(False)
    if receive_bytes is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, (address.hostname, address.port))
    await loop.create_connection(lambda: peer, sock=sock)
    return peer


async def asked(
    service: LocalAvatarService, lines: Sequence[str], token: str | None = None
) -> bytes:
    """The request for an upgrade, with these header lines and a token."""
    if token is None:
        async with aiohttp.ClientSession() as http:
            token = await ask_for_token(http, service)
    request = [
        f"GET /v2/driveningress/websocket?id={service.avatar_ids[0]} HTTP/1.1",
        f"X-App-ID: {service.app_id}",
        f"X-Session-Key: {token}",
        *lines,
    ]
    return "\r\n".join([*request, "", ""]).encode()


@asynccontextmanager
async def upgrading(
    service: LocalAvatarService,
    lines: Sequence[str],
    *,
    cut: Callable[[bytes], Iterable[bytes]] = at_once,
    receive_bytes: int | None = None,
) -> AsyncIterator[RawPeer]:
    """A client that has sent its request, of these header lines, and may have the answer."""
    peer = await dialed(service.ingress_url, receive_bytes)
    try:
        async with asyncio.timeout(20):
            await peer.say(cut(await asked(service, lines)))
            await peer.until(lambda: peer.head)
            yield peer
    finally:
        peer.hang_up()


@asynccontextmanager
async def met(
    service: LocalAvatarService, *, receive_bytes: int | None = None
) -> AsyncIterator[RawPeer]:
    """A client in a session, whose confirmation is the first frame that it heard."""
    async with upgrading(service, UPGRADE, receive_bytes=receive_bytes) as peer:
        await peer.say([CONFIGURATION.encode(by_client=True)])
        await peer.until(lambda: peer.frames)
        assert isinstance(decode(peer.frames[0].payload), ConfirmSession)
        yield peer
