"""A server of the tests' own that answers an upgrade as it is told, and what its client notes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from raw_frames import Cut, RawPeer, at_once

from avatarpool.transport.websocket import Ended

# A 101 in its lines; ACCEPT is put in once the request is known.
FIRST = "HTTP/1.1 101 Switching Protocols\n"
UPGRADE = "Upgrade: websocket\n"
CONNECTION = "Connection: Upgrade\n"
ACCEPT = "Sec-WebSocket-Accept: ACCEPT\n"
SWITCHING = f"{FIRST}{UPGRADE}{CONNECTION}{ACCEPT}\n"


class Notes:
    """Notes what comes."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

    def message_received(self, data: bytes) -> None:
        self.messages.append(data)

    def connection_closing(self) -> None:
        pass

    def connection_lost(self, ended: Ended) -> None:
        self.ended.set_result(ended)


def filled(answer: str | bytes, request: bytes) -> bytes:
    """An answer with the accept that belongs to the request in place of ACCEPT."""
    lines = dict(line.split(b": ", 1) for line in request.split(b"\r\n")[1:] if line)
    guid = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = hashlib.sha1(lines[b"Sec-WebSocket-Key"] + guid).digest()  # noqa: S324
    raw = answer if isinstance(answer, bytes) else answer.replace("\n", "\r\n").encode("latin-1")
    return raw.replace(b"ACCEPT", base64.b64encode(accept))


@asynccontextmanager
async def answering(
    answer: str | bytes, cut: Cut = at_once, *, hangs_up: bool = False
) -> AsyncIterator[tuple[RawPeer, str]]:
    """A server of one client, and its URL."""
    peer = RawPeer(is_client=False)

    async def serve() -> None:
        await peer.until(lambda: peer.head)
        if not peer.head:
            return  # who is late or cancelled may go before it has asked
        await peer.say(cut(filled(answer, peer.head)))
        if hangs_up and peer.transport is not None:
            peer.transport.close()

    server = await asyncio.get_running_loop().create_server(lambda: peer, "127.0.0.1", 0)
    serving = asyncio.ensure_future(serve())
    async with server, asyncio.timeout(20):
        try:
            yield peer, f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/a?b=c"
            await serving
        finally:
            serving.cancel()
            peer.hang_up()
            await asyncio.wait([serving])
