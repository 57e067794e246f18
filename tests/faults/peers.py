"""A service that a test scripts: true answers, except where it says otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiohttp import WSMsgType, web
from echo import EchoDriver

from avatarpool import SessionConfig
from avatarpool.protocol.codec import decode, encode
from avatarpool.protocol.keyframes import encode_keyframes
from avatarpool.protocol.messages import AnimationFrame, AudioInput, ConfirmSession, Interrupt

Answer = Callable[[web.WebSocketResponse, str, list[AnimationFrame]], Awaitable[object]]


async def truly(
    websocket: web.WebSocketResponse, req_id: str, frames: list[AnimationFrame]
) -> None:
    """Send a request's frames."""
    del req_id
    for frame in frames:
        await websocket.send_bytes(encode(frame))


@dataclass
class ScriptedPeer:
    """A console and an ingress that answer truly by default.

    Attributes:
        url: Where both are.
        answers: How the first sessions answer their requests.
        otherwise: How those after them do.
        token_status: The console's status; 200 gives a token.
        token_gate: While clear, token requests are not answered.
        silent: How many sessions, the first ones, are never confirmed.
        stale_tokens: How many of the next upgrades are refused for their token.
        tokens: Token requests so far.
        sessions: Sessions so far.
        open_sessions: Those that have not ended.
        overrides: What of the configuration is another than usual.
    """

    url: str = ""
    answers: list[Answer] = field(default_factory=list)
    otherwise: Answer = truly
    token_status: int = 200
    token_gate: asyncio.Event = field(default_factory=asyncio.Event)
    silent: int = 0
    stale_tokens: int = 0
    tokens: int = 0
    sessions: int = 0
    open_sessions: int = 0
    overrides: dict[str, Any] = field(default_factory=lambda: {"close_timeout": 0.2})

    def config_factory(self) -> SessionConfig:
        """Return a configuration that opens a session here."""
        return SessionConfig(
            avatar_id="avatar",
            api_key="key",
            app_id="app",
            console_endpoint_url=self.url,
            ingress_endpoint_url=self.url,
            **self.overrides,
        )

    async def token(self, request: web.Request) -> web.Response:
        """Serve one token request."""
        del request
        self.tokens += 1
        await self.token_gate.wait()
        return web.json_response({"sessionToken": "a-token"}, status=self.token_status)

    async def ingress(self, request: web.Request) -> web.StreamResponse:
        """Serve one session."""
        if self.stale_tokens:
            self.stale_tokens -= 1
            return web.json_response({"message": "Invalid session token"}, status=400)
        websocket = web.WebSocketResponse(compress=False, timeout=0.1)
        await websocket.prepare(request)
        number, self.sessions = self.sessions, self.sessions + 1
        self.open_sessions += 1
        try:
            with suppress(ConnectionError):  # whoever does harm may be hung up on
                await self._converse(websocket, number)
        finally:
            self.open_sessions -= 1
        return websocket

    async def _converse(self, websocket: web.WebSocketResponse, number: int) -> None:
        audio: dict[str, bytes] = {}
        async for data in websocket:
            if data.type is not WSMsgType.BINARY:
                return
            match decode(data.data):
                case AudioInput(req_id, piece, end):
                    audio[req_id] = audio.get(req_id, b"") + piece
                    if end:
                        answer = (
                            self.answers[number] if number < len(self.answers) else self.otherwise
                        )
                        await answer(websocket, req_id, _frames(req_id, audio.pop(req_id)))
                case Interrupt(req_id):
                    await websocket.send_bytes(encode(AnimationFrame(req_id, end=True)))
                case _ if number >= self.silent:
                    await websocket.send_bytes(encode(ConfirmSession(f"scripted-{number}")))


def _frames(req_id: str, audio: bytes) -> list[AnimationFrame]:
    driver = EchoDriver(16000, 0)
    keyframes = driver.feed(audio) + driver.finish()
    return [
        AnimationFrame(req_id, keyframe is keyframes[-1], encode_keyframes([keyframe]))
        for keyframe in keyframes
    ]


@asynccontextmanager
async def scripted(*answers: Answer) -> AsyncIterator[ScriptedPeer]:
    """Serve; at its end every session must have been closed by the pool."""
    async with served(ScriptedPeer(answers=list(answers))) as peer:
        yield peer


Peer = TypeVar("Peer", bound=ScriptedPeer)


@asynccontextmanager
async def served(peer: Peer) -> AsyncIterator[Peer]:
    """Serve as a peer does; at its end every session must have been closed by the pool."""
    peer.token_gate.set()
    application = web.Application()
    application.router.add_post("/session-tokens", peer.token)
    application.router.add_get("/websocket", peer.ingress)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        peer.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield peer
        peer.token_gate.set()
        async with asyncio.timeout(20):
            while peer.open_sessions:
                await asyncio.sleep(0.002)
    finally:
        await runner.cleanup()
