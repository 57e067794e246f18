"""The aiohttp and the FastAPI application, over real HTTP; both keep the same contract."""

import asyncio
import io
import os
import socket
import sys
from contextlib import asynccontextmanager

import aiohttp
import pytest
import uvicorn
from aiohttp import web

from avatarpool import AvatarConnectionPool
from avatarpool.audio import read_audio
from avatarpool.exceptions import (
    AvatarSDKError,
    AvatarSDKErrorCode,
    PoolTimeout,
    RequestTimeout,
    SessionStateError,
)
from avatarpool.service import LocalAvatarService


@asynccontextmanager
async def aiohttp_server(example, listener):
    runner = web.AppRunner(example.create_app())
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
        (b"no audio at all", {}, "raw 16 kHz mono PCM needs Content-Type: audio/pcm"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", {}, "WAV file"),
        (b"odd", {"Content-Type": "audio/pcm"}, "3 bytes"),
        (b"", {"Content-Type": "audio/pcm"}, "empty"),
    ],
)
async def test_bad_audio_is_the_posters_fault_in_a_sentence(
    client, speech, body, headers, sentence
):
    status, answer = await post(client, body, **headers)
    assert status == 400
    assert sentence in answer["error"]
    assert (await post(client, speech))[0] == 200  # and nobody else's


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


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (PoolTimeout("pool gave no connection within 10.00 s"), 503),
        (RequestTimeout("r1", 45.0, 3), 504),
        (AvatarSDKError(AvatarSDKErrorCode.upstreamError, "later"), 502),
        (SessionStateError("the session is closed"), 500),
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
    for name in example.VARIABLES:
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
