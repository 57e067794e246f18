"""A service that costs next to nothing: true protocol, prepared frames, a process of its own.

    upstream.py [HOST [CERTIFICATE]]

It stands in for the avatar service where lip-sync would drown what is measured.
The avatar id says how requests are answered, see `RHYTHMS`: ``burst-436`` with 436
frames in one write, ``single-436`` with 436 writes. A third port copies: it answers
so many bytes with the bytes of as many frames, and no protocol in between.

With a certificate, a file of a key and its chain, all three speak TLS. Runs until
its standard input ends; prints where it listens as one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import resource
import ssl
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
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

from avatarpool.endpoint.framing import framed
from avatarpool.protocol.codec import decode, encode
from avatarpool.protocol.keyframes import Keyframe, encode_keyframes
from avatarpool.protocol.messages import AnimationFrame, AudioInput, ConfirmSession

REQUEST_BYTES = 558_000
"""17.4 s of 16 kHz PCM, which the service answers with 436 frames."""

FRAMES = 436

COPY_REQ_ID = "0" * 28

PACE = 0.002
"""Seconds of a paced frame: 20 times as fast as speech."""


SPEECH_PACE = 0.04
"""Seconds of a frame as speech has them: 25 a second."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How an answer leaves whose frames have a write of their own each.

    Attributes:
        step: Frames that follow one another without a pause.
        pause: Seconds from one step to the next.
    """

    step: int
    pause: float


RHYTHMS = {
    # As fast as it goes: a write for each turn of the loop.
    "single": Rhythm(1, 0.0),
    "paced": Rhythm(1, PACE),
    # A lip-sync's: the local service works out 160 ms of speech at a time.
    "natural": Rhythm(4, 4 * PACE),
    "speech": Rhythm(1, SPEECH_PACE),
}
"""All but ``burst``, which is one write."""

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


class Style:
    """How the requests of a connection are answered, as its avatar id says."""

    def __init__(self, avatar_id: str) -> None:
        style, _, count = avatar_id.partition("-")
        self._rhythm = RHYTHMS.get(style)
        self._count = int(count)
        self._loop = asyncio.get_running_loop()

    def answer(self, transport: asyncio.WriteTransport, req_id: str) -> None:
        """Send a request's frames, now or in time."""
        frames = answer(req_id, self._count)
        if self._rhythm is None:
            transport.write(b"".join(frames))
        else:
            left = enumerate(frames, 1)
            self._send_next(transport, left, self._rhythm, self._loop.time())

    def _send_next(
        self,
        transport: asyncio.WriteTransport,
        left: Iterator[tuple[int, bytes]],
        rhythm: Rhythm,
        due: float,
    ) -> None:
        number, frame = next(left, (0, b""))
        if not frame or transport.is_closing():
            return
        transport.write(frame)
        if rhythm.pause and number % rhythm.step == 0:
            due += rhythm.pause
            self._loop.call_at(due, self._send_next, transport, left, rhythm, due)
        else:
            self._loop.call_soon(self._send_next, transport, left, rhythm, due)


class Session(WSListener):
    """One session: confirms itself and answers finished requests."""

    def __init__(self, style: Style) -> None:
        super().__init__()
        self._style = style

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
                self._style.answer(transport.underlying_transport, message.req_id)

    def pause_writing(self) -> None:
        """Go on: a slow client's answers wait in memory."""

    resume_writing = pause_writing


def new_session(request: WSUpgradeRequest) -> Session:
    """Make the session that an upgrade asks for."""
    query = parse_qs(urlsplit(request.path.decode()).query)
    return Session(Style(query["id"][0]))


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


@cache
def copy_request(avatar_id: str, size: int) -> bytes:
    """Return so many bytes for the copier, the first of which say how to answer."""
    return f"{avatar_id} {size} ".encode().ljust(size, b"\0")


def copy_answer_bytes(avatar_id: str) -> int:
    """Return how many bytes the copier answers with."""
    return sum(map(len, answer(COPY_REQ_ID, int(avatar_id.partition("-")[2]))))


class Copier(asyncio.Protocol):
    """The physical limit's peer: as many bytes in and out, and nothing else."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._missing = 0

    def data_received(self, data: bytes) -> None:
        """Count, and answer what is whole; one request comes at a time."""
        if not self._missing:
            avatar_id, size, _ = data.split(b" ", 2)
            self._style = Style(avatar_id.decode())
            self._missing = int(size)
        self._missing -= len(data)
        if not self._missing:
            self._style.answer(self._transport, COPY_REQ_ID)


def allow_many_sockets() -> None:
    """Raise this process's limit of open files as far as it goes."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def main(host: str = "127.0.0.1", certificate: str | None = None) -> None:
    """Serve until standard input ends."""
    allow_many_sockets()
    loop = asyncio.get_running_loop()
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    backlog = 4096
    servers = {
        "ingress": await ws_create_server(
            new_session,
            host,
            0,
            ssl=context,
            backlog=backlog,
            websocket_handshake_timeout=60,
        ),
        "console": await loop.create_server(TokenDesk, host, 0, ssl=context, backlog=backlog),
        "copier": await loop.create_server(Copier, host, 0, ssl=context, backlog=backlog),
    }
    ports = {name: server.sockets[0].getsockname()[1] for name, server in servers.items()}
    where = {"host": host, "is_secure": context is not None, **ports}
    print(json.dumps(where), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
