"""The aiohttp and the FastAPI application, over real HTTP; both keep the same contract."""

import asyncio
import io
import os
import socket
import sys
from array import array
from contextlib import asynccontextmanager

import aiohttp
import pytest
import uvicorn
from aiohttp import web

from avatarpool import AvatarConnectionPool
from avatarpool.audio import read_audio
from avatarpool.environment import VARIABLES
from avatarpool.exceptions import (
    AvatarSDKError,
    AvatarSDKErrorCode,
    ConfigurationError,
    PoolTimeout,
    RequestTimeout,
    SessionStateError,
)
from avatarpool.service import LocalAvatarService

# aiohttp's own reader of forms calls it, where a part ends amid what has come.
pytestmark = pytest.mark.filterwarnings("ignore:unread_data:DeprecationWarning")


@asynccontextmanager
async def aiohttp_server(example, listener):
    runner = web.AppRunner(example.create_app(), handler_cancellation=True)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def fastapi_server(example, listener):
    # The listener accepts from the start, so clients wait until the server is up.
    config = uvicorn.Config(example.app, lifespan="on", ws="none", log_config=None)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving


SERVERS = {"aiohttp_service": aiohttp_server, "fastapi_service": fastapi_server}


@pytest.fixture(params=SERVERS)
def example(request, load_example):
    return load_example(request.param)


@pytest.fixture
async def client(example):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        serve = SERVERS[example.__name__.removeprefix("example_")]
        async with serve(example, listener), aiohttp.ClientSession(base) as client:
            yield client


async def post(client, body, path="/animate", **headers):
    async with client.post(path, data=body, headers=headers) as response:
        return response.status, await response.json()


async def test_a_wav_file_comes_back_as_frames(client, speech):
    status, answer = await post(client, speech)
    assert status == 200
    assert answer["frames"] > 0
    assert answer["request_id"]
    assert "keyframes" not in answer


@pytest.mark.parametrize("value", ["1", "true"])
async def test_keyframes_come_when_asked_for_25_per_second(client, speech, value):
    status, answer = await post(client, speech, f"/animate?keyframes={value}")
    assert status == 200
    seconds = len(read_audio(speech)) / 2 / 16000
    assert len(answer["keyframes"]) == pytest.approx(25 * seconds, abs=1)
    assert len(answer["keyframes"][0]["jaw_pose"]) == 3
    assert [keyframe["time"] for keyframe in answer["keyframes"][:3]] == [0.0, 0.04, 0.08]


def a_file(body, *, name="speech.wav", content_type="audio/wav", before=()):
    """A form as ``curl -F file=@speech.wav`` sends it."""
    form = aiohttp.FormData()
    for field in before:
        form.add_field(field, "text")
    form.add_field("file", body, filename=name, content_type=content_type)
    return form


async def jaws(client, body, content_type):
    """How the jaw moves with it."""
    headers = {"Content-Type": content_type}
    status, answer = await post(client, body, "/animate?keyframes=1", **headers)
    assert status == 200, answer
    return [keyframe["jaw_pose"] for keyframe in answer["keyframes"]]


async def test_a_file_in_a_form_is_taken(client, speech):
    status, answer = await post(client, a_file(speech, before=["comment", "voice"]))
    assert (status, answer["frames"]) == (200, 75)


async def test_a_form_says_what_its_file_is(client, speech):
    form = a_file(read_audio(speech, sample_rate=24000), content_type="audio/pcm;rate=24000")
    status, answer = await post(client, form)
    assert (status, answer["frames"]) == (200, 75)


@pytest.mark.parametrize("rate", [8000, 24000, 48000])
async def test_raw_pcm_is_taken_at_the_rate_that_it_names(client, speech, rate):
    samples = read_audio(speech, sample_rate=rate)
    moves = await jaws(client, samples, f"audio/pcm;rate={rate}")
    assert len(moves) == 75
    assert max(jaw for jaw, *_ in moves) > 0.1


async def test_l16_is_taken_as_the_network_sends_it(client, speech):
    samples = array("h", read_audio(speech))
    little = samples.tobytes()
    samples.byteswap()
    big = samples.tobytes()
    assert await jaws(client, big, "audio/L16; rate=16000; channels=1") == await jaws(
        client, little, "audio/pcm"
    )


@pytest.mark.parametrize("content_type", ["audio/pcm", "Audio/PCM", "audio/pcm; rate=16000"])
async def test_raw_pcm_is_taken_when_it_says_so(client, speech, content_type):
    status, answer = await post(client, read_audio(speech), **{"Content-Type": content_type})
    assert status == 200
    assert answer["frames"] > 0


async def test_many_posts_at_once_share_the_pool(client, speech):
    answers = await asyncio.gather(*[post(client, speech) for _ in range(20)])
    assert [status for status, _ in answers] == [200] * 20
    assert len({answer["request_id"] for _, answer in answers}) == 20
    async with client.get("/stats") as response:
        stats = await response.json()
    assert response.status == 200
    assert stats["total_requests_served"] == 20
    assert stats["total_connections"] == 3


@pytest.mark.parametrize(
    ("body", "headers", "sentence"),
    [
        (b"no audio at all", {}, "send Content-Type: audio/pcm;rate=16000"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", {}, "WAV file"),
        (b"odd", {"Content-Type": "audio/pcm"}, "3 bytes"),
        (b"", {"Content-Type": "audio/pcm"}, "empty"),
        (b"", {}, "empty"),
        (b"even", {"Content-Type": "audio/pcm;rate=11"}, "name its rate"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", {"Content-Type": "audio/pcm"}, "WAV file"),
    ],
)
async def test_bad_audio_is_the_posters_fault_in_a_sentence(
    client, speech, body, headers, sentence
):
    status, answer = await post(client, body, **headers)
    assert status == 400
    assert sentence in answer["error"]
    assert (await post(client, speech))[0] == 200  # and nobody else's


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"--b\r\n\r\n", "multipart/form-data"),
        (b"nothing", "multipart/form-data; boundary=b"),
        (b"--b\r\nno header\r\n\r\nx\r\n--b--\r\n", "multipart/form-data; boundary=b"),
        (b"--b\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", "multipart/form-data; boundary=b"),
        (
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\ntext\r\n--b--\r\n',
            "multipart/form-data; boundary=b",
        ),
    ],
)
async def test_a_form_that_is_damaged_or_has_no_file_is_told_in_a_sentence(
    client, speech, body, content_type
):
    status, answer = await post(client, body, **{"Content-Type": content_type})
    assert status == 400
    assert answer["error"]
    assert (await post(client, speech))[0] == 200


async def test_a_form_of_thousands_of_parts_is_refused_although_it_has_a_file(client, speech):
    status, answer = await post(client, a_file(speech, before=["comment"] * 2000))
    assert status == 400
    assert "more than 20 parts" in answer["error"] or "Too many fields" in answer["error"]
    assert (await post(client, a_file(speech)))[0] == 200


@pytest.mark.parametrize("value", ["0", "false", "no", "", "maybe"])
async def test_anything_else_asks_for_no_keyframes(client, speech, value):
    status, answer = await post(client, speech, f"/animate?keyframes={value}")
    assert status == 200
    assert "keyframes" not in answer


async def test_a_wrong_path_or_method_is_answered_in_the_same_shape(client):
    async with client.get("/nothing") as response:
        assert (response.status, await response.json()) == (404, {"error": "Not Found"})
    async with client.get("/animate") as response:
        assert (response.status, await response.json()) == (405, {"error": "Method Not Allowed"})
        assert response.headers["Allow"] == "POST"


async def test_audio_beyond_the_limit_is_refused(client, example):
    body = io.BytesIO(b"\0" * (example.MAX_BODY_BYTES + 2))
    status, answer = await post(client, body, **{"Content-Type": "audio/pcm"})
    assert status == 413
    assert f"larger than {example.MAX_BODY_BYTES} bytes" in answer["error"]


async def test_a_form_beyond_the_limit_is_refused(client, example):
    status, answer = await post(client, a_file(io.BytesIO(b"\0" * (example.MAX_BODY_BYTES + 2))))
    assert status == 413
    assert f"larger than {example.MAX_BODY_BYTES} bytes" in answer["error"]


@pytest.mark.parametrize("content_type", ["audio/pcm", "multipart/form-data; boundary=b"])
async def test_an_upload_that_does_not_end_is_given_up(client, example, monkeypatch, content_type):
    monkeypatch.setattr(example, "UPLOAD_TIMEOUT", 0.2)
    gone = asyncio.Event()

    async def body():
        yield b"--b\r\n"
        await gone.wait()

    status, answer = await post(client, body(), **{"Content-Type": content_type})
    gone.set()
    assert (status, answer["error"]) == (408, "Request Timeout")


async def test_more_requests_than_may_wait_are_refused_at_once(example, monkeypatch):
    monkeypatch.setattr(example, "POOL_SIZE", 1)
    monkeypatch.setattr(example, "MAX_WAITING", 1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        serve = SERVERS[example.__name__.removeprefix("example_")]
        async with serve(example, listener), aiohttp.ClientSession(base) as client:
            clips = [io.BytesIO(bytes(32000 * 60)) for _ in range(4)]
            answers = await asyncio.gather(
                *[post(client, clip, **{"Content-Type": "audio/pcm"}) for clip in clips]
            )
    assert sorted(status for status, _ in answers) == [200, 200, 503, 503]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (PoolTimeout("pool gave no connection within 10.00 s"), 503),
        (RequestTimeout("r1", 45.0, 3), 504),
        (AvatarSDKError(AvatarSDKErrorCode.upstreamError, "later"), 502),
        (SessionStateError("the session is closed"), 500),
        (ConfigurationError("reading this needs an extra", []), 400),
    ],
)
async def test_each_failure_has_a_status_that_tells_whose_turn_it_is(
    client, speech, monkeypatch, error, expected
):
    def fail(self, timeout=None):
        raise error

    monkeypatch.setattr(AvatarConnectionPool, "borrow", fail)
    async with client.post("/animate", data=speech) as response:
        assert response.status == expected
        assert ("Retry-After" in response.headers) is (expected == 503)
        assert (await response.json())["error"] == str(error)


async def test_the_service_that_the_environment_names_is_used(example, monkeypatch, speech):
    async with LocalAvatarService() as service:
        for name, value in service.environment.items():
            monkeypatch.setenv(name, value)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            base = f"http://127.0.0.1:{listener.getsockname()[1]}"
            serve = SERVERS[example.__name__.removeprefix("example_")]
            async with serve(example, listener), aiohttp.ClientSession(base) as client:
                assert (await post(client, speech))[0] == 200
                assert service.counters.connections_open == 3
        assert service.counters.connections_open == 0


def test_an_incomplete_environment_is_named_and_exits_2(example, monkeypatch, capsys):
    monkeypatch.setenv("AVATAR_API_KEY", "key")
    with pytest.raises(SystemExit) as exit_:
        example.read_environment()
    assert exit_.value.code == 2
    assert "AVATAR_INGRESS_ENDPOINT" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "expected"), [("yes", True), ("True", True), ("0", False)])
def test_query_authentication_is_read_as_the_command_does(example, monkeypatch, text, expected):
    for name in VARIABLES:
        monkeypatch.setenv(name, "value")
    monkeypatch.setenv("AVATAR_USE_QUERY_AUTH", text)
    config = example.read_environment().session_config()
    assert config.use_query_auth is expected


@pytest.mark.parametrize(
    ("changes", "code", "sentence"),
    [
        ({"AVATAR_API_KEY": "wrong-key"}, 1, "the console refused"),
        ({"AVATAR_CONSOLE_ENDPOINT": "nope"}, 2, "must begin with http:// or https://"),
        ({"AVATAR_USE_QUERY_AUTH": "maybe"}, 2, "AVATAR_USE_QUERY_AUTH: input should be"),
    ],
)
async def test_a_service_that_cannot_be_used_ends_the_start_in_a_sentence(
    example, changes, code, sentence
):
    async with LocalAvatarService() as service:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            example.__file__,
            env={**os.environ, **service.environment, **changes},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        _, stderr = await process.communicate()
    assert process.returncode == code
    last = stderr.decode().splitlines()[-1]
    assert last.startswith("The avatar service cannot be used: ")
    assert sentence in last
    assert b"Traceback" not in stderr


# --- clients that leave -----------------------------------------------------------------


class Caller:
    """A client of its own connection, which can be cut at any moment."""

    def __init__(self, port, content_type, length, body):
        self._head = (
            f"POST /animate HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {length}\r\n\r\n"
        ).encode()
        self._port = port
        self._body = body

    async def call(self):
        _, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(self._head + self._body)
        await self._writer.drain()

    def leave(self, *, politely):
        if politely:
            self._writer.close()
        else:
            self._writer.transport.abort()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", SERVERS)
async def test_a_client_that_leaves_ends_its_request_and_leaves_no_traceback(
    start_program, speech, name
):
    program = await start_program(name)
    clip = bytes(300 * 32000)  # five minutes: nobody has to hurry
    form = b'--b\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\n' + clip[:100_000]
    async with aiohttp.ClientSession(f"http://127.0.0.1:{program.port}") as client:

        async def stats():
            async with client.get("/stats") as response:
                return await response.json()

        async def until(**expected):
            async with asyncio.timeout(60):
                while not expected.items() <= (now := await stats()).items():
                    await asyncio.sleep(0.01)
            return now

        callers = [Caller(program.port, "audio/pcm", len(clip), clip) for _ in range(5)]
        for caller in callers:  # three are answered, two wait
            await caller.call()
        await until(available_connections=0, requests_waiting=2)
        amid = [
            Caller(program.port, content_type, len(clip), body)
            for content_type, body in [
                ("audio/pcm", clip[:100_000]),
                ("multipart/form-data; boundary=b", form),
            ]
            for _ in range(2)
        ]
        for caller in amid:
            await caller.call()
        for number, caller in enumerate([*callers, *amid]):
            caller.leave(politely=number % 2)
        await until(available_connections=3, requests_waiting=0)
        async with client.post("/animate", data=speech) as response:
            assert response.status == 200
        assert (await stats())["total_requests_served"] == 1  # and nobody else's
    assert await program.stop() == 0
    assert "Traceback" not in program.stderr
    assert "rror" not in program.stderr
