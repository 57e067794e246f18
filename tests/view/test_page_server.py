"""What the page's server answers, and to whom."""

import asyncio
import io
import json
import logging
import math
import socket
import threading
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web
from serving import WAV, serve, wav_of

from avatarpool import AvatarConnectionPool, Keyframe, LocalAvatarService
from avatarpool.service.faults import SessionFault, Step
from avatarpool.view import create_page, pose_of
from avatarpool.view import page as page_server
from avatarpool.view.page import MAX_FILE_BYTES


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


async def animate(http, page, body=WAV):
    """Post audio; return the status and the lines of the answer."""
    async with http.post(f"{page}animate", data=body) as response:
        text = await response.text()
        return response.status, [json.loads(line) for line in text.splitlines()]


async def test_a_clip_becomes_its_request_id_and_its_frames(http, page, pool, speech):
    status, (head, *frames) = await animate(http, page)
    async with pool.borrow() as conn:
        await conn.session.send_audio(speech, end=True)
        messages = await conn.collector.wait()
    keyframes = [keyframe for message in messages for keyframe in message.keyframes]
    assert status == 200
    assert list(head) == ["request_id"]
    assert len(frames) == len(keyframes) == 75
    for frame, keyframe in zip(frames, keyframes, strict=True):
        # The mouth depends on the audio alone.
        assert frame["pose"]["jaw"] == pytest.approx(pose_of(keyframe)["jaw"], abs=1e-4)
        assert frame["jaw_rad"] == pytest.approx(keyframe.jaw_pose[0], abs=1e-4)
        assert set(frame["pose"]) == set(pose_of(keyframe))
        assert -100 <= frame["loudness_db"] < 0


async def test_frames_leave_before_the_last_one_is_there(http, service, pool):
    service.faults.sessions = SessionFault(stalls_at=Step.FRAMES, after_frames=10)
    async with serve(pool) as page, http.post(f"{page}animate", data=WAV) as response:
        lines = [json.loads(await response.content.readline()) for _ in range(11)]
        assert [next(iter(line)) for line in lines] == ["request_id", *["pose"] * 10]


async def test_loudness_is_that_of_the_frames_own_audio(http, page):
    quiet, loud = b"\x20\x00" * 16000, (b"\x00\x40" + b"\x00\xc0") * 8000
    _, (_, *frames) = await animate(http, page, wav_of(quiet + loud))
    assert {frame["loudness_db"] for frame in frames[:25]} == {-60.2}  # 32 of 32768
    assert {frame["loudness_db"] for frame in frames[25:]} == {-6.0}  # half


class Mad:
    """A driver whose numbers are none."""

    def __init__(self, sample_rate, seed):
        pass

    def feed(self, pcm):
        return [Keyframe((math.inf,) * 3, *[(math.nan,) * 6] * 4, (math.inf, -math.inf))]

    def finish(self):
        return [Keyframe(jaw_pose=(0.5,))]


async def test_what_is_no_number_is_told_as_0(http):
    async with (
        LocalAvatarService(driver=Mad) as service,
        AvatarConnectionPool(1, service.config_factory) as pool,
        serve(pool) as page,
        http.post(f"{page}animate", data=WAV) as response,
    ):
        _, first, *_, last = (await response.text()).splitlines()
    told = json.loads(first, parse_constant=pytest.fail)  # NaN, Infinity: Python's, not JSON's
    assert (told["jaw_rad"], told["lids"]) == (0.0, 0.0)
    assert json.loads(last)["jaw_rad"] == 0.5


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "the file is empty: choose a file with speech in it"),
        (
            b"GIF89a" * 100,
            "the audio is neither WAV, Wave64, AIFF, Ogg, MP3, AAC, FLAC, M4A nor WebM: convert it",
        ),
        (WAV[:40], "the WAV file ends before its audio: export it again"),
        (WAV[:4000], "the WAV file is cut short"),
    ],
)
async def test_a_wrong_file_is_one_sentence(http, page, body, sentence):
    status, (answer,) = await animate(http, page, body)
    assert status == 400
    assert list(answer) == ["error"]
    assert answer["error"].startswith(sentence)


async def test_a_file_that_is_too_large_is_one_sentence(http, page):
    status, (answer,) = await animate(http, page, io.BytesIO(bytes(MAX_FILE_BYTES + 1)))
    assert status == 413
    assert answer == {"error": "the file is larger than 32 MiB: choose a shorter one"}


async def test_a_service_that_stalls_before_the_first_frame_is_a_504(http, service, pool):
    service.faults.sessions = SessionFault(stalls_at=Step.FRAMES)
    async with serve(pool, patience=0.2) as page:
        status, (answer,) = await animate(http, page)
    assert status == 504
    assert "gave no first frame within 0.20 s" in answer["error"]


async def test_a_service_that_stalls_later_ends_the_stream_with_a_sentence(http, service, pool):
    service.faults.sessions = SessionFault(stalls_at=Step.FRAMES, after_frames=3)
    async with serve(pool, patience=0.5) as page:
        status, (_, *frames, last) = await animate(http, page)
    assert (status, len(frames)) == (200, 3)
    assert "gave no next frame within 0.50 s (3 frames so far)" in last["error"]


async def test_a_session_that_breaks_amid_a_clip_is_a_sentence(http, service, pool):
    service.faults.sessions = SessionFault(after_frames=3, close_code=4002)
    async with serve(pool) as page:
        _, (_, *frames, last) = await animate(http, page)
    assert len(frames) == 3
    assert last["error"].startswith("sessionDurationExceeded: ")


async def test_a_pool_that_is_closed_is_a_503(http, pool):
    async with serve(pool) as page:
        await pool.close()
        status, (answer,) = await animate(http, page)
    assert status == 503
    assert "error" in answer


async def test_many_pages_share_the_pool(http, page, pool):
    answers = await asyncio.gather(*(animate(http, page) for _ in range(6)))
    assert [(status, len(lines)) for status, lines in answers] == [(200, 76)] * 6
    assert len({lines[0]["request_id"] for _, lines in answers}) == 6
    assert pool.get_stats()["total_connections"] == 2


async def test_a_page_that_goes_amid_a_clip_gives_its_session_back(http, service, pool, caplog):
    service.faults.sessions = SessionFault(stalls_at=Step.FRAMES, after_frames=3)
    with caplog.at_level(logging.ERROR):
        async with serve(pool, patience=100.0) as page:
            response = await http.post(f"{page}animate", data=WAV)
            for _ in range(4):  # the id and what comes before the service falls silent
                assert await response.content.readline()
            assert pool.available_count == 1
            response.close()
            while pool.available_count < 2:
                await asyncio.sleep(0.01)
    assert not caplog.records


async def test_a_page_that_takes_no_frames_is_cut_off(pool):
    wav = wav_of(WAV[44:] * 10)
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
        head = f"POST /animate HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(wav)}\r\n\r\n"
        await loop.sock_sendall(client, head.encode() + wav)
        while not pool.get_stats()["requests_num"] or pool.available_count < 2:
            await asyncio.sleep(0.01)
        async with asyncio.timeout(10):  # and the connection is not kept for it
            while await loop.sock_recv(client, 65536):
                pass
        await runner.cleanup()


async def test_a_page_that_takes_frames_slowly_is_cut_off_as_well(http, service, monkeypatch):
    waits = 0

    async def write(response, line):
        nonlocal waits
        waits += 1
        await asyncio.sleep(0.1)  # a tenth of the patience, each time

    async with (
        AvatarConnectionPool(1, service.config_factory) as pool,
        serve(pool, patience=1.0) as page,
    ):
        monkeypatch.setattr(web.StreamResponse, "write", write)
        with pytest.raises(aiohttp.ClientError):
            await animate(http, page)
    assert waits <= 11


async def test_a_clip_that_nobody_waits_for_keeps_its_place_while_it_is_converted(
    http, pool, monkeypatch
):
    told, second_has_begun = [], threading.Event()

    def convert(_file, *, sample_rate):
        told.append("begins")
        if len(told) == 1:
            loop.call_soon_threadsafe(first_has_begun.set)
            second_has_begun.wait(0.5)  # which it must not
        else:
            second_has_begun.set()
        told.append("ends")
        return bytes(2 * sample_rate)

    loop, first_has_begun = asyncio.get_running_loop(), asyncio.Event()
    monkeypatch.setattr(page_server, "MAX_FILES", 1)
    monkeypatch.setattr(page_server, "read_audio", convert)
    async with serve(pool) as page:
        first = asyncio.create_task(animate(http, page))
        await first_has_begun.wait()
        first.cancel()
        status, _ = await animate(http, page)
    assert status == 200
    assert told == ["begins", "ends"] * 2


def upload(page, announced, body):
    """Begin a POST whose body stops amid what was announced."""
    port = urlsplit(page).port
    client = socket.create_connection(("127.0.0.1", port))
    head = f"POST /animate HTTP/1.1\r\nHost: localhost\r\nContent-Length: {announced}\r\n\r\n"
    client.sendall(head.encode() + body)
    return client


@pytest.fixture
def read_so_far(monkeypatch):
    """Set whenever an upload's bytes have been read; and the bytes."""
    told, has_come = bytearray(), asyncio.Event()
    read = aiohttp.StreamReader._read_nowait

    def reading(stream, size):
        chunk = read(stream, size)
        if chunk:
            told.extend(chunk)
            has_come.set()
        return chunk

    monkeypatch.setattr(aiohttp.StreamReader, "_read_nowait", reading)
    return told, has_come


async def test_a_slow_upload_holds_no_place(http, pool, monkeypatch, read_so_far):
    monkeypatch.setattr(page_server, "MAX_FILES", 1)
    async with serve(pool) as page:
        with upload(page, 100_000, b"RIFF"), upload(page, 100_000, b"RIFF"):
            while len(read_so_far[0]) < 8:
                await read_so_far[1].wait()
                read_so_far[1].clear()
            status, lines = await animate(http, page)
        assert (status, len(lines)) == (200, 76)


async def test_what_all_uploads_hold_is_bounded(http, pool, monkeypatch, read_so_far):
    monkeypatch.setattr(page_server, "MAX_HELD_BYTES", len(WAV) + 1000)
    async with serve(pool) as page:
        with upload(page, 100_000, bytes(1001)) as slow:
            while len(read_so_far[0]) < 1001:
                await read_so_far[1].wait()
                read_so_far[1].clear()
            status, (answer,) = await animate(http, page)
            assert status == 503
            assert answer == {"error": "too many files are being sent at once: try again"}
            slow.close()
        for _ in range(3):  # and what is over, ended, broken or refused, holds nothing
            await animate(http, page, b"GIF89a" * 100)
            status, lines = await animate(http, page)
            assert (status, len(lines)) == (200, 76)


async def test_an_upload_that_does_not_come_is_not_waited_for(pool, monkeypatch):
    monkeypatch.setattr(page_server, "_UPLOAD_TIMEOUT", 0.05)
    async with serve(pool) as page:
        reader, writer = await asyncio.open_connection(sock=upload(page, 100_000, b"RIFF"))
        async with asyncio.timeout(10):
            assert (await reader.readline()).split()[1] == b"408"
        writer.close()


@pytest.mark.parametrize("head", [b"", b"G", b"GET / HTTP/1.1\r\nHost: "])
async def test_an_unfinished_head_is_not_waited_for(pool, monkeypatch, head):
    monkeypatch.setattr(page_server, "IDLE_TIMEOUT", 0.05)
    async with serve(pool) as page:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(page).port)
        writer.write(head)
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()


async def test_a_body_that_cannot_be_unpacked_is_one_sentence_and_no_traceback(http, page, caplog):
    async with http.post(
        f"{page}animate", data=WAV, headers={"Content-Encoding": "gzip"}
    ) as response:
        assert response.status == 400
        answer = {"error": "the file did not come whole: send it again"}
        assert await response.json() == answer
    assert not caplog.records


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:{port}"}, 200),
        ({"Host": "[::1]:{port}"}, 200),
        ({"Host": "rebound.example:{port}"}, 403),
        ({"Host": "127.0.0.1.example"}, 403),
        ({"Host": "[::1"}, 403),
        ({"Origin": "http://127.0.0.1:{port}"}, 200),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "https://127.0.0.1:{port}"}, 403),
        ({"Origin": "http://site.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
async def test_only_this_machines_own_page_is_answered(http, page, headers, status):
    port = urlsplit(page).port
    headers = {name: value.format(port=port) for name, value in headers.items()}
    async with http.get(page, headers=headers) as response:
        assert response.status == status
    async with http.post(f"{page}animate", data=b"", headers=headers) as response:
        assert response.status == {200: 400, 403: 403}[status]


@pytest.mark.parametrize(
    "head",
    [b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"a" * 9000 + b"\r\n\r\n", b"?\n\n"],
)
async def test_what_is_no_http_is_a_400_and_leaves_no_traceback(page, caplog, head):
    address = urlsplit(page)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(head)
    assert (await reader.readline()).split()[1] == b"400"
    writer.close()
    assert not caplog.records


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("", "text/html"),
        ("page.css", "text/css"),
        ("page.js", "text/javascript"),
        ("avatar-face.js", "text/javascript"),
        ("rig.json", "application/json"),
        ("face.svg", "image/svg+xml"),
        ("speech.wav", "audio/wav"),
    ],
)
async def test_the_pages_files_come_under_a_strict_policy(http, page, path, content_type):
    async with http.get(page + path) as response:
        assert response.status == 200
        assert response.content_type == content_type
        assert await response.read()
        policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; ")
        assert "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("method", "path", "answer"),
    [
        ("GET", "secrets", (404, {"error": "not found"})),
        ("GET", "animate", (405, {"error": "method not allowed"})),
        ("DELETE", "", (405, {"error": "method not allowed"})),
    ],
)
async def test_what_there_is_not_is_one_sentence(http, page, method, path, answer):
    async with http.request(method, page + path) as response:
        assert (response.status, await response.json()) == answer
