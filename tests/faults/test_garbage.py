"""Peers that break the protocol in the middle of a request."""

from __future__ import annotations

import asyncio
import logging
from itertools import count

import pytest
from aiohttp import web
from echo import marked_audio, marks
from faults.laboratory import SOON, answered, ids, serve, until, whole
from faults.peers import Answer, scripted, truly
from peer import confirm, peer, stop_reading

from avatarpool import (
    AvatarConnectionPool,
    AvatarSDKError,
    AvatarSDKErrorCode,
    RequestTimeout,
)
from avatarpool.client.session import MAX_MESSAGE_BYTES
from avatarpool.protocol.codec import decode, encode
from avatarpool.protocol.messages import (
    AnimationFrame,
    AudioInput,
    ConfigureSession,
    ConfirmSession,
    ServerError,
)
from avatarpool.protocol.settings import AudioFormat

Frames = list[AnimationFrame]
Socket = web.WebSocketResponse

GARBAGE: dict[str, bytes | str] = {
    "undecodable": b"\xff\xff\xff\xff",
    "cut off": encode(AnimationFrame("r", end=False, animation=b"123456"))[:-3],
    "text": "hello",
    "second confirmation": encode(ConfirmSession("c2")),
    "oversized": bytes(MAX_MESSAGE_BYTES + 1),
}


def after_first_frame(harm: bytes | str) -> Answer:
    """Answer with one frame, then with what is no answer."""

    async def answer(websocket: Socket, req_id: str, frames: Frames) -> None:
        await truly(websocket, req_id, frames[:1])
        if isinstance(harm, str):
            await websocket.send_str(harm)
        else:
            await websocket.send_bytes(harm)

    return answer


async def test_a_broken_peer_that_takes_nothing_more_is_not_kept_as_idle():
    came, sent, over = count(1), asyncio.Event(), asyncio.Event()

    async def behave(websocket: Socket) -> None:
        name = f"c{next(came)}"
        await confirm(websocket, name)
        if name == "c1":
            audio = decode(await websocket.receive_bytes())
            assert isinstance(audio, AudioInput)
            transport = stop_reading(websocket)
            await sent.wait()
            await websocket.send_bytes(encode(AnimationFrame(audio.req_id, end=True)))
            transport.write(b"\x83\x00")  # no frame of any kind
        await over.wait()

    async with peer(behave) as config, AvatarConnectionPool(1, lambda: config) as pool:
        async with pool.borrow() as conn:
            is_taken = True
            while is_taken:
                sending = asyncio.create_task(conn.session.send_audio(bytes(60_000)))
                await asyncio.sleep(0)
                is_taken = sending.done()
            sending.cancel()
            ending = asyncio.create_task(conn.session.send_audio(b"", end=True))
            await asyncio.sleep(0)
            sent.set()
            await conn.collector.wait()
            ending.cancel()
        await until(lambda: pool.get_stats()["connections_retired"] == 1)
        async with pool.borrow() as conn:
            assert conn.connection_id == "c2"
        over.set()


@pytest.mark.parametrize("harm", GARBAGE)
async def test_garbage_fails_its_request_at_once_and_costs_its_connection_alone(harm: str):
    async with scripted(after_first_frame(GARBAGE[harm])) as peer:
        async with AvatarConnectionPool(2, peer.config_factory) as pool:
            async with pool.borrow() as bystander:
                async with pool.borrow() as conn:
                    if conn.connection_id != "scripted-0":
                        conn, bystander = bystander, conn  # noqa: PLW2901
                    await bystander.session.send_audio(marked_audio(3, 4))
                    await conn.session.send_audio(marked_audio(1, 4), end=True)
                    with pytest.raises(AvatarSDKError) as caught:
                        await conn.collector.wait(SOON)
                    assert caught.value.code is AvatarSDKErrorCode.protocolError
                    assert len(conn.collector.frames) == 1
                    await bystander.session.send_audio(marked_audio(3, 4), end=True)
                    assert len(await bystander.collector.wait(SOON)) == 8
            await serve(pool, 2)
            await whole(pool, 2)
            assert "scripted-0" not in ids(pool)
            assert pool.get_stats()["connections_lost"] == 1


async def test_garbage_to_an_idle_connection_replaces_it():
    async def answer(websocket: Socket, req_id: str, frames: Frames) -> None:
        await truly(websocket, req_id, frames)
        await websocket.send_bytes(b"\xff\xff\xff")

    async with scripted(answer) as peer, AvatarConnectionPool(1, peer.config_factory) as pool:
        await serve(pool, 1)
        await until(lambda: ids(pool) == {"scripted-1"})
        assert await serve(pool, 2) == "scripted-1"
        await whole(pool, 1)


async def test_a_frame_of_a_request_that_was_never_made_fails_the_current_one(
    caplog: pytest.LogCaptureFixture,
):
    async def answer(websocket: Socket, req_id: str, frames: Frames) -> None:
        await truly(websocket, req_id, frames[:2])
        for _ in range(50):
            await websocket.send_bytes(encode(AnimationFrame("x" * 1000, end=True)))

    async with scripted(answer) as peer, AvatarConnectionPool(1, peer.config_factory) as pool:
        async with pool.borrow() as conn:
            await conn.session.send_audio(marked_audio(1, 4), end=True)
            with pytest.raises(AvatarSDKError, match="never made") as caught:
                await conn.collector.wait(SOON)
            assert caught.value.code is AvatarSDKErrorCode.protocolError
            assert marks(conn.collector.frames) == [1, 1]
            assert len(str(caught.value)) < 200
        assert await serve(pool, 2) == "scripted-1"
        assert pool.get_stats()["protocol_errors"] == 1
        assert len(caplog.records) == 1
        await whole(pool, 1)


async def test_messages_of_unknown_type_and_those_of_a_client_change_nothing():
    async def answer(websocket: Socket, req_id: str, frames: Frames) -> None:
        await websocket.send_bytes(b"\x08\x63")  # type 99
        await websocket.send_bytes(encode(ConfigureSession(16000, AudioFormat.PCM_S16LE)))
        await truly(websocket, req_id, frames)

    async with scripted(answer) as peer, AvatarConnectionPool(1, peer.config_factory) as pool:
        await serve(pool, 1)
        await whole(pool, 1)
        assert pool.get_stats()["connections_lost"] == 0


async def test_a_duplicate_end_costs_its_connection_and_no_request(
    caplog: pytest.LogCaptureFixture,
):
    async def answer(websocket: Socket, req_id: str, frames: Frames) -> None:
        await truly(websocket, req_id, [*frames, frames[-1]])
        await truly(websocket, req_id, [frames[0], frames[-1]])

    async with scripted(answer) as peer, AvatarConnectionPool(1, peer.config_factory) as pool:
        async with pool.borrow() as conn:
            await answered(conn, 1)
            await until(lambda: pool.get_stats()["frames_dropped"] == 3)
            peer.answers.clear()
            await answered(conn, 2)  # the borrower may go on
        assert await serve(pool, 3) == "scripted-1"
        await whole(pool, 1)
        assert pool.get_stats()["protocol_errors"] == 3
        assert pool.get_stats()["requests_errors"] == 0
        assert len(caplog.records) == 1


async def test_a_duplicate_end_to_an_idle_connection_replaces_it():
    gate = asyncio.Event()

    async def answer(websocket: Socket, req_id: str, frames: Frames) -> None:
        await truly(websocket, req_id, frames)
        await gate.wait()
        await truly(websocket, req_id, frames[-1:])

    async with scripted(answer) as peer, AvatarConnectionPool(1, peer.config_factory) as pool:
        await serve(pool, 1)
        gate.set()
        await until(lambda: ids(pool) == {"scripted-1"})
        await whole(pool, 1)


async def test_a_last_frame_that_crosses_an_interrupt_is_no_offence():
    async def answer(websocket: Socket, req_id: str, frames: Frames) -> None:
        await truly(websocket, req_id, frames)

    async with scripted(answer) as peer, AvatarConnectionPool(1, peer.config_factory) as pool:
        async with pool.borrow() as conn:
            await answered(conn, 1)
            await conn.session.interrupt()  # the peer answers it with one more last frame
            await until(lambda: pool.get_stats()["frames_dropped"] == 1)
            await answered(conn, 2)
        assert await serve(pool, 3) == "scripted-0"
        assert pool.get_stats()["protocol_errors"] == 0


async def test_an_end_that_never_comes_is_asked_for_by_an_interrupt():
    async def answer(websocket: Socket, req_id: str, frames: Frames) -> None:
        await truly(websocket, req_id, frames[:-1])

    async with scripted(answer) as peer, AvatarConnectionPool(1, peer.config_factory) as pool:
        async with pool.borrow() as conn:
            await conn.session.send_audio(marked_audio(1, 5), end=True)
            await until(lambda: len(conn.collector.frames) == 4)
            with pytest.raises(RequestTimeout) as caught:
                await conn.collector.wait(0.2)
            assert caught.value.frames == 4
        # The interrupt's answer is the end, so that the connection serves on.
        peer.answers.clear()
        async with pool.borrow() as conn:
            assert conn.connection_id == "scripted-0"
        await whole(pool, 1)


async def test_an_error_of_one_request_fails_it_and_keeps_the_connection():
    async def answer(websocket: Socket, req_id: str, frames: Frames) -> None:
        if len(frames) == 4:
            await truly(websocket, req_id, frames[:1])
            await websocket.send_bytes(encode(ServerError(13, "upstream failed", "", req_id)))
            await truly(websocket, req_id, frames[1:])  # late ones
        else:
            await truly(websocket, req_id, frames)

    async with scripted(answer) as peer, AvatarConnectionPool(1, peer.config_factory) as pool:
        async with pool.borrow() as conn:
            await conn.session.send_audio(marked_audio(1, 4), end=True)
            with pytest.raises(AvatarSDKError) as caught:
                await conn.collector.wait(SOON)
            assert caught.value.code is AvatarSDKErrorCode.upstreamError
            await answered(conn, 2, frames=5)
        assert await serve(pool, 3) == "scripted-0"
        await whole(pool, 1)


async def test_an_error_of_an_unknown_request_harms_nobody():
    async def answer(websocket: Socket, req_id: str, frames: Frames) -> None:
        await websocket.send_bytes(encode(ServerError(3, "no such request", "", "unknown")))
        await truly(websocket, req_id, frames)

    async with scripted(answer) as peer, AvatarConnectionPool(1, peer.config_factory) as pool:
        assert await serve(pool, 1) == await serve(pool, 2) == "scripted-0"
        await whole(pool, 1)


async def test_a_flood_of_garbage_is_logged_once_per_connection(caplog: pytest.LogCaptureFixture):
    async def answer(websocket: Socket, req_id: str, frames: Frames) -> None:
        for _ in range(100):
            await websocket.send_bytes(b"\xff\xff\xff")

    with caplog.at_level(logging.WARNING, "avatarpool"):
        async with scripted(answer) as peer, AvatarConnectionPool(1, peer.config_factory) as pool:
            with pytest.raises(AvatarSDKError):
                await serve(pool, 1)
            await whole(pool, 1)
    assert [record.name for record in caplog.records] == ["avatarpool.pool"]


async def test_peers_that_all_break_the_protocol_harm_only_their_own_requests():
    harms = [after_first_frame(harm) for harm in GARBAGE.values()]
    async with scripted(*harms) as peer:
        async with AvatarConnectionPool(len(harms), peer.config_factory) as pool:

            async def request(mark: int) -> bool:
                try:
                    await serve(pool, mark, frames=7)
                except AvatarSDKError:
                    return False
                return True

            outcomes = await asyncio.gather(*(request(mark) for mark in range(1, 41)))
            assert outcomes.count(False) == len(harms)
            await whole(pool, len(harms))
