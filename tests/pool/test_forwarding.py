"""Frames that a relay is handed unread: they must be those that it would have received."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field, replace

import pytest
from aiohttp import web
from peer import confirm, peer

from avatarpool import AnimationFrame, AvatarConnectionPool, PlaybackState, PooledConnection
from avatarpool.client.forwarding import Forwarding
from avatarpool.protocol.codec import decode, encode
from avatarpool.protocol.messages import AudioInput, ServerError
from avatarpool.protocol.varints import prefixed

PATIENCE = 30
SILENCE = bytes(1280)


class Onward(Forwarding):
    """Notes what goes on unread."""

    def __init__(self, relay: Relay) -> None:
        super().__init__()
        self.relay = relay

    def send(self, message: bytes, *, is_alone: bool) -> None:
        self.relay.note(message)
        self.relay.unread.append(message)


@dataclass
class Relay:
    """A receiver that passes messages on, some of them unread."""

    conn: PooledConnection
    is_forwarding: bool = True
    came: list[bytes] = field(default_factory=list)
    unread: list[bytes] = field(default_factory=list)
    req_id: bytes = b""
    ends: list[Exception | None] = field(default_factory=list)
    doubt: Exception | None = None

    def begin(self, req_id: str) -> Relay:
        self.req_id = req_id.encode()
        self.over = asyncio.Event()
        self.onward = Onward(self)
        return self

    def add(self, frame: AnimationFrame) -> None:
        self.note(bytes(frame))
        if self.is_forwarding:
            self.conn.session.forward(frame, self.onward)

    def note(self, message: bytes) -> None:
        self.came.append(message.replace(self.req_id, b"its id"))

    def finish(self, error: Exception | None = None) -> None:
        self.ends.append(error)
        self.over.set()


def some_answer(rng: random.Random, req_id: str) -> list[bytes]:
    """Return what a service may send, whether it should or not; the last frame is an end."""

    def frame(size: int = 300, **other: object) -> bytes:
        fields = {"req_id": req_id, "connection_id": "c1", "avatar_id": "a"} | other
        return encode(AnimationFrame(animation=rng.randbytes(size), **fields))  # type: ignore[arg-type]

    others = [
        lambda: frame(rng.choice([0, 299, 301])),
        lambda: frame(avatar_id="b"),
        lambda: frame(connection_id="c2"),
        lambda: frame() + b"\x7a" + prefixed(b"of a later version"),
        lambda: encode(PlaybackState(req_id, "playing")),
        lambda: encode(ServerError(3, "no such thing", req_id="r-0")),
    ]
    answer = [frame() if rng.random() < 0.8 else rng.choice(others)() for _ in range(60)]
    return [*answer, frame(end=True)]


async def received(seed: int, *, is_forwarding: bool) -> tuple[Relay, dict[str, int]]:
    async def behave(websocket: web.WebSocketResponse) -> None:
        await confirm(websocket)
        rng = random.Random(seed)
        async for message in websocket:
            audio = decode(message.data)
            if isinstance(audio, AudioInput):
                for each in some_answer(rng, audio.req_id):
                    await websocket.send_bytes(each)

    async with (
        peer(behave) as config,
        AvatarConnectionPool(1, lambda: config) as pool,
        pool.borrow() as conn,
    ):
        relay = Relay(conn, is_forwarding)
        conn.deliver_to(relay)
        for _ in range(2):
            await conn.session.send_audio(SILENCE, end=True)
            async with asyncio.timeout(PATIENCE):
                await relay.over.wait()
        return relay, pool.get_stats()


@pytest.mark.parametrize("seed", range(10))
async def test_unread_or_not_the_same_frames_come_and_are_counted(seed: int):
    relay, counted = await received(seed, is_forwarding=True)
    other, expected = await received(seed, is_forwarding=False)
    assert relay.came == other.came
    assert relay.ends == other.ends == [None, None]
    assert len(relay.unread) > 40
    assert not any(each.end for each in map(decode, relay.unread))  # type: ignore[union-attr]
    for name in ("frames_received", "frames_dropped", "requests_num", "requests_errors"):
        assert counted[name] == expected[name], name


@pytest.mark.parametrize("how", ["interrupt", "return"])
async def test_nothing_comes_once_a_request_is_left(how: str):
    async def behave(websocket: web.WebSocketResponse) -> None:
        await confirm(websocket)
        audio = decode(await websocket.receive_bytes())
        assert isinstance(audio, AudioInput)
        frame = encode(AnimationFrame(audio.req_id, animation=bytes(300)))
        for _ in range(10):
            await websocket.send_bytes(frame)
        await websocket.receive_bytes()  # the interrupt
        for _ in range(10):
            await websocket.send_bytes(frame)
        await websocket.send_bytes(encode(AnimationFrame(audio.req_id, end=True)))
        async for _ in websocket:
            pass

    async with peer(behave) as config, AvatarConnectionPool(1, lambda: config) as pool:
        async with pool.borrow() as conn:
            relay = Relay(conn)
            conn.deliver_to(relay)
            await conn.session.send_audio(SILENCE, end=True)
            async with asyncio.timeout(PATIENCE):
                while len(relay.came) < 10:
                    await asyncio.sleep(0.001)
            assert len(relay.unread) == 7
            if how == "interrupt":
                await conn.session.interrupt()
        async with asyncio.timeout(PATIENCE):
            while not pool.get_stats()["available_connections"]:
                await asyncio.sleep(0.001)
        assert len(relay.came) == 10
        assert pool.get_stats()["frames_dropped"] == 11


async def test_callbacks_that_take_frames_miss_none():
    played: list[AnimationFrame] = []

    async def behave(websocket: web.WebSocketResponse) -> None:
        await confirm(websocket)
        audio = decode(await websocket.receive_bytes())
        assert isinstance(audio, AudioInput)
        for last in (*[False] * 10, True):
            await websocket.send_bytes(encode(AnimationFrame(audio.req_id, last, bytes(300))))
        async for _ in websocket:
            pass

    async with peer(behave) as there:
        config = replace(there, on_playback=played.append)
        async with AvatarConnectionPool(1, lambda: config) as pool, pool.borrow() as conn:
            relay = Relay(conn)
            conn.deliver_to(relay)
            await conn.session.send_audio(SILENCE, end=True)
            async with asyncio.timeout(PATIENCE):
                await relay.over.wait()
    assert len(played) == len(relay.came) == 11
    assert not relay.unread
