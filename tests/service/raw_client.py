"""A client that does what it is told, right or wrong: aiohttp and the codec, no more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from avatarpool.protocol.codec import decode, encode
from avatarpool.protocol.messages import (
    AnimationFrame,
    AudioInput,
    ConfigureSession,
    ConfirmSession,
    Message,
    ServerError,
)
from avatarpool.protocol.settings import AudioFormat
from avatarpool.service import LocalAvatarService

PATIENCE = 20.0


def frame(payload: bytes, opcode: aiohttp.WSMsgType = aiohttp.WSMsgType.BINARY) -> bytes:
    """A client's WebSocket frame, its mask all zeros, for floods written at once."""
    assert len(payload) < 126
    return bytes((0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0)) + payload


class Client:
    """One WebSocket and what came over it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    @property
    def transport(self) -> asyncio.Transport:
        """What the WebSocket runs over, to write at once, not to read, or to cut."""
        connection = self.socket._response.connection
        assert connection is not None
        transport = connection.transport
        assert transport is not None
        return transport

    async def send(self, message: Message) -> None:
        await self.socket.send_bytes(encode(message))

    async def audio(self, req_id: str, audio: bytes, *, end: bool = False) -> None:
        await self.socket.send_bytes(encode(AudioInput(req_id, audio, end)))

    async def receive(self) -> Message:
        async with asyncio.timeout(PATIENCE):
            message = await self.socket.receive()
        assert message.type is aiohttp.WSMsgType.BINARY, message
        return decode(message.data)

    async def configure(
        self, sample_rate: int = 16000, audio_format: AudioFormat = AudioFormat.PCM_S16LE
    ) -> ConfirmSession:
        await self.send(ConfigureSession(sample_rate, audio_format))
        confirm = await self.receive()
        assert isinstance(confirm, ConfirmSession), confirm
        return confirm

    async def frames(self, req_id: str) -> list[AnimationFrame]:
        """The request's frames up to its last one; others' are a failure."""
        frames = []
        while not frames or not frames[-1].end:
            frame = await self.receive()
            assert isinstance(frame, AnimationFrame), frame
            assert frame.req_id == req_id
            frames.append(frame)
        return frames

    async def error(self) -> ServerError:
        """The next error; frames before it are passed over."""
        while True:
            message = await self.receive()
            if isinstance(message, ServerError):
                return message
            assert isinstance(message, AnimationFrame), message

    async def close_code(self) -> int | None:
        """How the server ends the connection, with nothing more to say."""
        async with asyncio.timeout(PATIENCE):
            message = await self.socket.receive()
        closing = (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED)
        assert message.type in closing, message
        return self.socket.close_code


async def ask_for_token(
    http: aiohttp.ClientSession, service: LocalAvatarService, api_key: str | None = None
) -> str:
    async with http.post(
        f"{service.console_url}/session-tokens",
        json={"expireAt": int(time.time()) + 60},
        headers={"X-Api-Key": api_key or service.environment["AVATAR_API_KEY"]},
    ) as answer:
        assert answer.status == 200
        token: str = (await answer.json())["sessionToken"]
        return token


@asynccontextmanager
async def connected(
    service: LocalAvatarService, *, token: str | None = None
) -> AsyncIterator[Client]:
    """A connection that has been admitted and has said nothing yet."""
    async with aiohttp.ClientSession() as http:
        credentials = {
            "X-App-ID": service.app_id,
            "X-Session-Key": token or await ask_for_token(http, service),
        }
        async with http.ws_connect(
            f"{service.ingress_url}/websocket",
            params={"id": service.avatar_ids[0]},
            headers=credentials,
            max_msg_size=0,
        ) as socket:
            yield Client(socket)


@asynccontextmanager
async def in_session(
    service: LocalAvatarService,
    sample_rate: int = 16000,
    audio_format: AudioFormat = AudioFormat.PCM_S16LE,
) -> AsyncIterator[Client]:
    """A connection whose session is open."""
    async with connected(service) as client:
        await client.configure(sample_rate, audio_format)
        yield client
