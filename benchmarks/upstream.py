"""A service that costs next to nothing: true protocol, prepared frames, a process of its own.

It stands in for the avatar service where lip-sync would drown what is measured.
The avatar id says how requests are answered: ``burst-436`` with 436 frames in
one write, ``paced-436`` with one every 2 ms, each in a write of its own. A third
port copies: it answers `REQUEST_BYTES` bytes with the bytes of 436 frames, as
plain TCP.

Runs until its standard input ends; prints its ports as one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections.abc import Iterator
from typing import cast
from urllib.parse import parse_qs, urlsplit

import uvloop
from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_create_server,
)

from avatarpool.protocol.codec import decode, encode
from avatarpool.protocol.keyframes import Keyframe, encode_keyframes
from avatarpool.protocol.messages import AnimationFrame, AudioInput, ConfirmSession
from avatarpool.service.framing import framed

REQUEST_BYTES = 558_000
"""17.4 s of 16 kHz PCM, which the service answers with 436 frames."""

FRAMES = 436

PACE = 0.002
"""Seconds between two frames of a paced answer: 20 times as fast as speech."""

# 116 floats, so that a whole message has about 500 bytes.
_ANIMATION = encode_keyframes(
    [
        Keyframe(
            translation=(0.1,) * 3,
            rotation=(0.2,) * 3,
            neck_pose=(0.3,) * 3,
            jaw_pose=(0.4,) * 3,
            eye_pose=(0.5,) * 6,
            eye_lid=(0.6,) * 2,
            expression=(0.7,) * 93,
        )
    ]
)


def answer(req_id: str, count: int) -> list[bytes]:
    """Return a request's frames, as they go over the wire."""
    frame = framed([encode(AnimationFrame(req_id, end=False, animation=_ANIMATION))])
    last = framed([encode(AnimationFrame(req_id, end=True, animation=_ANIMATION))])
    return [frame] * (count - 1) + [last]


class Session(WSListener):
    """One session: confirms itself and answers finished requests."""

    def __init__(self, style: str, count: int) -> None:
        super().__init__()
        self._is_paced = style == "paced"
        self._count = count

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take one message; clients of benchmarks do not fragment them."""
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        elif frame.msg_type == WSMsgType.BINARY:
            message = decode(frame.get_payload_as_memoryview())
            if not isinstance(message, AudioInput):
                confirmation = encode(ConfirmSession(f"upstream-{id(self):x}"))
                transport.send(WSMsgType.BINARY, confirmation)
            elif message.end:
                self._answer(transport, answer(message.req_id, self._count))

    def _answer(self, transport: WSTransport, frames: list[bytes]) -> None:
        if self._is_paced:
            loop = asyncio.get_running_loop()
            self._answer_paced(loop, transport, iter(frames), loop.time())
        else:
            transport.underlying_transport.write(b"".join(frames))

    def _answer_paced(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: WSTransport,
        frames: Iterator[bytes],
        due: float,
    ) -> None:
        frame = next(frames, None)
        if frame is not None and not transport.is_disconnected:
            transport.underlying_transport.write(frame)
            due += PACE
            loop.call_at(due, self._answer_paced, loop, transport, frames, due)


def new_session(request: WSUpgradeRequest) -> Session:
    """Make the session that an upgrade asks for."""
    query = parse_qs(urlsplit(request.path.decode()).query)
    style, _, count = query["id"][0].partition("-")
    return Session(style, int(count))


class TokenDesk(asyncio.Protocol):
    """Answers every HTTP request with a token, on connections that stay open."""

    _BODY = json.dumps({"sessionToken": "a-token-of-the-usual-length-" + 40 * "x"}).encode()
    _ANSWER = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (len(_BODY), _BODY)
    )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._received = bytearray()

    def data_received(self, data: bytes) -> None:
        """Answer what is whole."""
        received = self._received
        received += data
        while (end := received.find(b"\r\n\r\n")) >= 0:
            head = bytes(received[:end]).lower()
            _, _, length = head.partition(b"content-length:")
            size = end + 4 + int(length.split(b"\r\n")[0] or 0)
            if len(received) < size:
                return
            del received[:size]
            self._transport.write(self._ANSWER)


class Copier(asyncio.Protocol):
    """The physical limit's peer: as many bytes in and out, and nothing else."""

    _ANSWER = b"".join(answer("0" * 28, FRAMES))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._received = 0

    def data_received(self, data: bytes) -> None:
        """Count, and answer what is whole."""
        self._received += len(data)
        while self._received >= REQUEST_BYTES:
            self._received -= REQUEST_BYTES
            self._transport.write(self._ANSWER)


COPY_ANSWER_BYTES = len(Copier._ANSWER)  # noqa: SLF001  # both ends must agree


def allow_many_sockets() -> None:
    """Raise this process's limit of open files as far as it goes."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def main() -> None:
    """Serve until standard input ends."""
    allow_many_sockets()
    loop = asyncio.get_running_loop()
    host, backlog = "127.0.0.1", 4096
    servers = {
        "ingress": await ws_create_server(
            new_session, host, 0, backlog=backlog, websocket_handshake_timeout=60
        ),
        "console": await loop.create_server(TokenDesk, host, 0, backlog=backlog),
        "copier": await loop.create_server(Copier, host, 0, backlog=backlog),
    }
    ports = {name: server.sockets[0].getsockname()[1] for name, server in servers.items()}
    print(json.dumps(ports), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(main())
