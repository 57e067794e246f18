"""The WebSocket application: speech in pieces up, frames down, and whoever interrupts or leaves."""

import asyncio
import json
import os
import socket
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from avatarpool.audio import read_audio
from avatarpool.protocol.codec import decode

MINUTE = bytes(60 * 32000)


@pytest.fixture
def example(load_example):
    return load_example("websocket_service")


@pytest.fixture
def pcm(speech):
    return read_audio(speech)


@asynccontextmanager
async def served(example, *, send_buffer=None):
    """The application; a client of it."""
    runner = web.AppRunner(example.create_app())
    await runner.setup()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        if send_buffer is not None:  # what is accepted inherits it
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        try:
            await web.SockSite(runner, listener).start()
            base = f"http://127.0.0.1:{listener.getsockname()[1]}"
            async with aiohttp.ClientSession(base) as client:
                yield client
        finally:
            await runner.cleanup()


@pytest.fixture
async def client(example):
    async with served(example) as client:
        yield client


def url_of(client):
    return client._base_url / "speak"


async def until(client, **expected):
    """Wait until the pool's statistics say so."""
    async with asyncio.timeout(30):
        while True:
            async with client.get("/stats") as response:
                stats = await response.json()
            if expected.items() <= stats.items():
                return stats
            await asyncio.sleep(0.01)


async def receive(ws):
    """The next message: an event, or a frame."""
    message = await ws.receive(timeout=30)
    if message.type is WSMsgType.BINARY:
        return decode(message.data)
    assert message.type is WSMsgType.TEXT, message
    return json.loads(message.data)


async def answer(ws):
    """The frames up to the next event that ends them, and that event."""
    frames = []
    while True:
        message = await receive(ws)
        if not isinstance(message, dict):
            frames.append(message)
        elif message["type"] != "begin":
            return frames, message


async def first_frame(ws):
    began = await receive(ws)
    frame = await receive(ws)
    assert began == {"type": "begin", "request_id": frame.req_id}
    return frame


async def test_frames_come_while_audio_still_goes_up(client, pcm):
    async with client.ws_connect("/speak") as ws:
        await ws.send_bytes(pcm[:32000])
        early = await first_frame(ws)
        for start in range(32000, len(pcm), 3200):
            await ws.send_bytes(pcm[start : start + 3200])
        await ws.send_str("end")
        frames, event = await answer(ws)
        frames.insert(0, early)
        assert event == {"type": "done", "frames": 75}
        assert [frame.end for frame in frames] == [False] * 74 + [True]
        assert max(keyframe.jaw_pose[0] for f in frames for keyframe in f.keyframes) > 0.1
        # Lent for the utterance, not for the conversation.
        await until(client, available_connections=3)


async def test_utterances_are_answered_in_their_order(client, pcm):
    async with client.ws_connect("/speak") as ws:
        for clip in (pcm, pcm[:32000]):
            await ws.send_bytes(clip)
            await ws.send_str("end")
        for count in (75, 25):
            frames, event = await answer(ws)
            assert event == {"type": "done", "frames": count}
            assert len({frame.req_id for frame in frames}) == 1


async def test_a_barge_in_stops_the_frames_and_the_next_utterance_begins(client, pcm):
    async with client.ws_connect("/speak") as ws:
        await ws.send_bytes(MINUTE[:200_000])
        interrupted = await first_frame(ws)
        await ws.send_str("interrupt")
        await ws.send_bytes(pcm)
        await ws.send_str("end")
        frames, event = await answer(ws)
        assert event == {"type": "interrupted"}
        assert {frame.req_id for frame in frames} <= {interrupted.req_id}
        frames, event = await answer(ws)
        assert event == {"type": "done", "frames": 75}
        assert interrupted.req_id not in {frame.req_id for frame in frames}
    await until(client, available_connections=3, total_requests_served=1)


async def test_a_barge_in_drops_what_still_waits_to_be_said(client, pcm):
    async with client.ws_connect("/speak") as ws:
        for _ in range(5):
            await ws.send_bytes(pcm)
            await ws.send_str("end")
        await ws.send_str("interrupt")
        await ws.send_bytes(pcm[:32000])
        await ws.send_str("end")
        event = None
        while event != {"type": "interrupted"}:
            _, event = await answer(ws)
        assert (await answer(ws))[1] == {"type": "done", "frames": 25}


async def test_an_interrupt_of_nothing_is_answered_too(client):
    async with client.ws_connect("/speak") as ws:
        await ws.send_str("interrupt")
        assert await receive(ws) == {"type": "interrupted"}


@pytest.mark.parametrize("politely", [True, False])
async def test_a_client_that_leaves_gives_back_its_connection_and_its_place(
    example, monkeypatch, pcm, politely
):
    monkeypatch.setattr(example, "POOL_SIZE", 1)
    async with served(example) as client:
        speaking = await client.ws_connect("/speak")
        await speaking.send_bytes(pcm)
        await first_frame(speaking)
        waiting = await client.ws_connect("/speak")
        await waiting.send_bytes(pcm)
        await until(client, requests_waiting=1, available_connections=0)
        for ws in (waiting, speaking):
            if politely:
                await ws.close()
            else:
                ws.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
            await until(client, requests_waiting=0)
        # Long before PIECE_TIMEOUT, which would end it as well.
        await until(client, available_connections=1, total_requests_served=0)
        for ws in (waiting, speaking):
            await ws.close()


async def test_a_client_that_takes_nothing_is_cut(example, monkeypatch):
    monkeypatch.setattr(example, "SEND_TIMEOUT", 0.5)

    def narrow(address):
        made = socket.socket(*address[:3])
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        return made

    async with (
        served(example, send_buffer=8192) as client,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=narrow)) as reluctant,
    ):
        ws = await reluctant.ws_connect(url_of(client))
        for _ in range(2 * 60):
            await ws.send_bytes(MINUTE[:32000])
        await ws.send_str("end")
        await until(client, available_connections=2)
        await until(client, available_connections=3)
        with pytest.raises((AssertionError, aiohttp.ClientError)):  # it is closed before the end
            await answer(ws)
        await ws.close()


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("end", "nothing to end"),
        ("stop", "the texts are end and interrupt"),
        ('{"type": "end"}', "the texts are end and interrupt"),
    ],
)
async def test_a_text_that_means_nothing_is_told_and_the_conversation_goes_on(
    client, pcm, message, sentence
):
    async with client.ws_connect("/speak") as ws:
        await ws.send_str(message)
        event = await receive(ws)
        assert event["type"] == "error"
        assert sentence in event["error"]
        await ws.send_bytes(pcm)
        await ws.send_str("end")
        assert (await answer(ws))[1] == {"type": "done", "frames": 75}


@pytest.mark.parametrize(
    ("piece", "sentence"),
    [(b"odd", "3 bytes are no whole number"), (b"RIFF\x24\x00\x00\x00WAVEfmt ", "WAV")],
)
async def test_audio_that_cannot_be_sent_costs_its_utterance_and_no_other(
    client, pcm, piece, sentence
):
    async with client.ws_connect("/speak") as ws:
        for sent in (piece, pcm):  # the rest of it is not another one
            await ws.send_bytes(sent)
        await ws.send_str("end")
        await ws.send_bytes(pcm)
        await ws.send_str("end")
        _, event = await answer(ws)
        assert event["type"] == "error"
        assert sentence in event["error"]
        assert (await answer(ws))[1] == {"type": "done", "frames": 75}


async def test_an_utterance_that_does_not_go_on_is_given_up(client, example, monkeypatch, pcm):
    monkeypatch.setattr(example, "PIECE_TIMEOUT", 0.2)
    async with client.ws_connect("/speak") as ws:
        await ws.send_bytes(pcm)
        _, event = await answer(ws)
        assert "say end after the last piece" in event["error"]
        await until(client, available_connections=3)


async def test_an_utterance_has_an_end_however_it_goes_on(client, example, monkeypatch, pcm):
    monkeypatch.setattr(example, "UTTERANCE_TIMEOUT", 0.3)
    async with client.ws_connect("/speak") as ws:
        await ws.send_bytes(pcm)
        _, event = await answer(ws)
        assert "longer than" in event["error"]
        await until(client, available_connections=3)


async def test_no_connection_is_told_as_an_error(example, monkeypatch, pcm):
    monkeypatch.setattr(example, "POOL_SIZE", 1)
    monkeypatch.setattr(example, "BORROW_TIMEOUT", 0.2)
    async with (
        served(example) as client,
        client.ws_connect("/speak") as speaking,
        client.ws_connect("/speak") as waiting,
    ):
        await speaking.send_bytes(pcm)
        await first_frame(speaking)
        await waiting.send_bytes(pcm)
        _, event = await answer(waiting)
        assert "gave no connection within 0.20 s" in event["error"]


async def closed_with(ws):
    async with asyncio.timeout(30):
        async for _ in ws:
            pass
    return ws.close_code


async def test_a_message_beyond_the_limit_ends_the_conversation(client, example):
    async with client.ws_connect("/speak") as ws:
        await ws.send_bytes(bytes(example.MAX_MESSAGE_BYTES + 2))
        assert await closed_with(ws) == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
    await until(client, available_connections=3)


@pytest.mark.parametrize(("pieces", "size"), [(1500, 2), (20, 3200)])
async def test_audio_is_not_kept_without_end(example, monkeypatch, pcm, pieces, size):
    monkeypatch.setattr(example, "POOL_SIZE", 1)
    monkeypatch.setattr(example, "MAX_HEARD_BYTES", 50_000)
    async with (
        served(example) as client,
        client.ws_connect("/speak") as speaking,
        client.ws_connect("/speak") as waiting,
    ):
        await speaking.send_bytes(pcm[:3200])
        await until(client, available_connections=0)
        for _ in range(pieces):
            await waiting.send_bytes(bytes(size))
        event = await receive(waiting)
        assert "more audio came than is kept" in event["error"]
        assert await closed_with(waiting) == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


async def test_clients_are_counted_and_pages_of_other_hosts_refused(example, monkeypatch):
    monkeypatch.setattr(example, "MAX_CLIENTS", 1)

    async def status(client, **headers):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect("/speak", headers=headers)
        return refused.value.status

    async with served(example) as client:
        assert await status(client, Origin="http://elsewhere.example") == 403
        origin = str(client._base_url.origin())
        async with client.ws_connect("/speak", headers={"Origin": origin}):
            assert await status(client) == 503
        async with client.get("/speak") as response:
            assert response.status == 400  # no WebSocket
        async with client.ws_connect("/speak") as ws:
            await ws.send_str("interrupt")
            assert await receive(ws) == {"type": "interrupted"}


async def test_whoever_floods_holds_up_nobody_else(client):
    turns = 0

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with client.ws_connect("/speak") as ws, asyncio.timeout(120):
        for _ in range(3000):
            await ws.send_str("nonsense")
        busy = asyncio.create_task(others())
        for _ in range(3000):
            assert (await receive(ws))["type"] == "error"
        busy.cancel()
    assert turns > 2000


async def run_client(example, client, *arguments, **variables):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        Path(example.__file__).with_name("client.py"),
        "--url",
        str(url_of(client).with_scheme("ws")),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | variables,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode().splitlines(), err.decode()


async def test_the_client_shows_when_frames_come(client, example):
    code, lines, err = await run_client(example, client)
    assert (code, err) == (0, "")
    assert lines[0].startswith("first frame after ")
    assert ": 75 frames, the jaw open up to 0." in lines[1]
    assert len(lines) == 2


async def test_the_client_interrupts_and_begins_again(client, example, tmp_path, speech):
    file = tmp_path / "speech.wav"
    file.write_bytes(speech)
    code, lines, err = await run_client(example, client, str(file), "--barge-in", "0.5")
    assert (code, err) == (0, "")
    assert any(line.startswith("interrupted after ") for line in lines)
    assert lines[-1].startswith("done after ")
    assert "75 frames" in lines[-1]


async def test_the_client_tells_in_a_sentence_what_fails(client, example, monkeypatch):
    code, _, err = await run_client(example, client, "nothing.wav")
    assert (code, err.count("\n")) == (2, 1)
    monkeypatch.setattr(example, "BORROW_TIMEOUT", 0.0)
    monkeypatch.setattr(example, "MAX_CLIENTS", 0)
    code, _, err = await run_client(example, client)
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("failed: 503")


@pytest.mark.timeout(120)
async def test_ctrl_c_says_goodbye_and_nobody_leaves_a_traceback(start_program, pcm):
    program = await start_program("websocket_service")
    async with aiohttp.ClientSession(f"http://127.0.0.1:{program.port}") as client:
        for number in range(4):  # three are answered, one waits
            ws = await client.ws_connect("/speak")
            await ws.send_bytes(pcm)
            if number < 3:
                await first_frame(ws)
            ws.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
            await ws.close()
        await until(client, available_connections=3)
        async with client.ws_connect("/speak") as ws:
            await ws.send_bytes(pcm)
            await first_frame(ws)
            code, close_code = await asyncio.gather(program.stop(), closed_with(ws))
            assert close_code == aiohttp.WSCloseCode.GOING_AWAY
    assert code == 0
    assert "Traceback" not in program.stderr


async def test_the_client_says_which_extra_a_file_needs(client, example, tmp_path):
    (tmp_path / "av.py").write_text("raise ImportError")  # as good as not installed
    file = tmp_path / "speech.mp3"
    file.write_bytes(b"ID3\4\0\0\0\0\0\0")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    code, _, err = await run_client(example, client, str(file), PYTHONPATH=path)
    assert code == 2
    assert err.startswith(f"{file} cannot be used: this is an MP3 file: install avatarpool[audio]")
    assert err.count("\n") == 1
