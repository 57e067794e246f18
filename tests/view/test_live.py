"""What the page's server makes of a live microphone, and of whoever pretends to be one."""

import asyncio
import logging
import socket
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from serving import serve

from avatarpool import AudioError, AvatarConnectionPool
from avatarpool.service.faults import SessionFault, Step
from avatarpool.view import create_page, live, pose_of
from avatarpool.view.live import MAX_SECONDS, Intake

PIECE = 1280  # 40 ms, as the page sends them


@asynccontextmanager
async def speaking(page, **options):
    """A WebSocket to the page's server that may speak."""
    async with aiohttp.ClientSession() as http:
        async with http.ws_connect(f"{page}live", **options) as microphone:
            assert await told(microphone) == {"is_ready": True}
            yield microphone


async def told(microphone):
    async with asyncio.timeout(30):
        return await microphone.receive_json()


async def rest(microphone):
    """All that is still told; the server must close in good order after it."""
    said = []
    async with asyncio.timeout(30):
        async for message in microphone:
            assert message.type is WSMsgType.TEXT
            said.append(message.json())
    assert microphone.close_code == 1000
    return said


async def speak(microphone, pcm):
    for start in range(0, len(pcm) // PIECE * PIECE, PIECE):
        await microphone.send_bytes(pcm[start : start + PIECE])


async def until_whole(pool):
    """Wait until both sessions of the pool can be lent."""
    async with asyncio.timeout(30):
        while pool.available_count < 2:
            await asyncio.sleep(0.01)


async def test_frames_come_while_somebody_speaks_and_the_rest_after_the_end(page, pool, speech):
    async with speaking(page) as microphone:
        await speak(microphone, speech[:32000])
        first = [await told(microphone) for _ in range(11)]
        assert pool.available_count == 1
        await speak(microphone, speech[32000:])
        await microphone.send_str("end")
        head, *frames = [*first, *await rest(microphone)]
    async with pool.borrow() as conn:
        await conn.session.send_audio(speech[: len(speech) // PIECE * PIECE], end=True)
        messages = await conn.collector.wait()
    keyframes = [keyframe for message in messages for keyframe in message.keyframes]
    assert list(head) == ["request_id"]
    assert len(frames) == len(keyframes)
    for frame, keyframe in zip(frames, keyframes, strict=True):
        assert list(frame) == ["pose", "jaw_rad", "lids"]
        assert frame["pose"]["jaw"] == pytest.approx(pose_of(keyframe)["jaw"], abs=1e-4)
    await until_whole(pool)


@pytest.mark.parametrize("is_polite", [True, False])
async def test_who_leaves_amid_speech_gives_the_session_back(
    service, pool, speech, caplog, is_polite
):
    service.faults.sessions = SessionFault(stalls_at=Step.FRAMES, after_frames=3)
    with caplog.at_level(logging.ERROR):
        async with serve(pool, patience=100.0) as page, speaking(page) as microphone:
            await speak(microphone, speech[:32000])
            for _ in range(4):
                await told(microphone)
            assert pool.available_count == 1
            if is_polite:
                await microphone.close()
            else:
                microphone._response.connection.transport.abort()
            await until_whole(pool)
    assert not caplog.records


async def test_who_leaves_after_the_end_gives_the_session_back(service, pool, speech):
    service.faults.sessions = SessionFault(stalls_at=Step.FRAMES, after_frames=3)
    async with serve(pool, patience=100.0) as page, speaking(page) as microphone:
        await speak(microphone, speech[:32000])
        await microphone.send_str("end")
        for _ in range(4):
            await told(microphone)
        await microphone.close()
        await until_whole(pool)


async def test_a_pool_that_is_busy_is_a_sentence(service):
    async with (
        AvatarConnectionPool(1, service.config_factory, timeout=0.1) as pool,
        serve(pool) as page,
        pool.borrow(),
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{page}live") as microphone,
    ):
        (said,) = await rest(microphone)
    assert "gave no connection within 0.10 s" in said["error"]


async def test_a_pool_that_is_closed_is_a_sentence(pool):
    async with serve(pool) as page, aiohttp.ClientSession() as http:
        await pool.close()
        async with http.ws_connect(f"{page}live") as microphone:
            (said,) = await rest(microphone)
    assert "is closed" in said["error"]


async def test_a_session_that_breaks_amid_speech_is_a_sentence(service, pool, speech):
    service.faults.sessions = SessionFault(after_frames=3, close_code=4002)
    async with serve(pool) as page, speaking(page) as microphone:
        await speak(microphone, speech[:32000])
        said = await rest(microphone)
    assert said[-1]["error"].startswith("sessionDurationExceeded: ")


async def test_a_service_that_stalls_is_a_sentence(service, pool, speech):
    service.faults.sessions = SessionFault(stalls_at=Step.FRAMES)
    async with serve(pool, patience=0.2) as page, speaking(page) as microphone:
        await speak(microphone, speech[:32000])
        (said,) = await rest(microphone)
    assert "gave no first frame within 0.20 s" in said["error"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://127.0.0.1:{port}"}, None),
        ({"Origin": "http://site.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "rebound.example:{port}"}, 403),
    ],
)
async def test_no_foreign_page_opens_it(page, pool, headers, status):
    port = urlsplit(page).port
    headers = {name: value.format(port=port) for name, value in headers.items()}
    if status is None:
        async with speaking(page, headers=headers):
            return
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with speaking(page, headers=headers):
            pass
    assert refused.value.status == status
    assert pool.available_count == 2


async def test_what_is_no_websocket_is_a_sentence(page):
    async with aiohttp.ClientSession() as http, http.get(f"{page}live") as response:
        assert (response.status, await response.json()) == (400, {"error": "bad request"})


async def test_a_huge_message_ends_it(page, pool):
    async with speaking(page) as microphone:
        with suppress(ConnectionError):  # cut amid it
            await microphone.send_bytes(bytes(4_000_000))
        async with asyncio.timeout(30):
            message = await microphone.receive()
        assert message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.ERROR)
    await until_whole(pool)


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        ([bytes(20000)], "a piece of 20000 bytes came of the microphone: send 320 to 16000"),
        ([b"\0\0"], "a piece of 2 bytes came of the microphone: send 320 to 16000"),
        ([bytes(321)], "321 bytes are no whole number of 16-bit samples"),
        ([b"RIFF\0\0\0\0WAVE" + bytes(400)], "raw PCM was expected and a WAV file came"),
        (["stop"], "a microphone sends pieces of audio, and 'end' at last"),
        (["end"], "a request needs audio"),
        ([bytes(PIECE), "end", bytes(PIECE)], "the microphone was stopped: nothing may follow"),
        ([bytes(16000)] * 30, "the microphone's audio comes faster than it can be spoken"),
    ],
)
async def test_what_no_microphone_sends_is_a_sentence(service, pool, sent, sentence):
    service.faults.sessions = SessionFault(stalls_at=Step.FRAMES)
    async with serve(pool) as page, speaking(page) as microphone:
        for piece in sent:
            await (microphone.send_str if isinstance(piece, str) else microphone.send_bytes)(piece)
        (said,) = await rest(microphone)
        assert said["error"].startswith(sentence)
        await until_whole(pool)


async def test_a_microphone_that_falls_silent_without_an_end_ends_it(page, pool, monkeypatch):
    monkeypatch.setattr(live, "_PIECE_TIMEOUT", 0.05)
    async with speaking(page) as microphone:
        (said,) = await rest(microphone)
    assert said["error"] == "nothing comes of the microphone any more: start it again"
    await until_whole(pool)


async def test_a_microphone_that_is_never_stopped_is_ended(page, pool, monkeypatch):
    monkeypatch.setattr(live, "MAX_SECONDS", 0.2)
    async with speaking(page) as microphone:
        for _ in range(6):
            await microphone.send_bytes(bytes(PIECE))
        *_, said = await rest(microphone)
    assert said["error"] == "the microphone was on for 0.2 s: start it again"
    await until_whole(pool)


async def test_a_page_that_reads_nothing_is_cut_off(pool, speech, monkeypatch):
    # Frames enough to fill all buffers, without waiting for as much speech.
    monkeypatch.setattr(live, "MAX_SECONDS", 10_000.0)
    monkeypatch.setattr(live, "_MAX_AHEAD", 10_000.0)
    loop = asyncio.get_running_loop()
    with socket.socket() as server, socket.socket() as client:
        # Small buffers, or the kernel takes it all in the page's place.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        server.bind(("127.0.0.1", 0))
        runner = create_page(pool, patience=0.2)
        await runner.setup()
        await web.SockSite(runner, server).start()
        await loop.sock_connect(client, server.getsockname())
        upgrade = (
            b"GET /live HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await loop.sock_sendall(client, upgrade)
        # Masked with zeros, which leave the audio as it is.
        piece = b"\x82\xfe" + PIECE.to_bytes(2, "big") + bytes(4) + speech[:PIECE]
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(30):
                while True:
                    await loop.sock_sendall(client, piece)
                    await asyncio.sleep(0.001)
        await until_whole(pool)
        await runner.cleanup()


def test_audio_may_come_in_bursts_but_not_much_faster_than_it_is_spoken():
    intake = Intake(100.0)
    for _ in range(10):
        assert intake.take(bytes(16000), 100.0)
    assert intake.take(bytes(16000), 100.5)
    with pytest.raises(AudioError, match="faster"):
        intake.take(bytes(16000), 100.5)


def test_what_trickles_has_an_end_as_well():
    intake = Intake(100.0)
    assert intake.patience(100.0) == 5.0
    assert intake.patience(100.0 + MAX_SECONDS + 4.0) == 1.0
    assert intake.patience(100.0 + MAX_SECONDS + 6.0) < 0.0
    intake.take("end", 100.0)
    assert intake.patience(100.0 + MAX_SECONDS) is None


def test_a_microphone_may_be_on_for_two_minutes_and_no_longer():
    intake = Intake(0.0)
    for spoken in range(240):
        assert intake.take(bytes(16000), spoken / 2)
    with pytest.raises(AudioError, match="on for 120 s"):
        intake.take(bytes(16000), 120.0)
