"""What clients do that mean no good, each with a bound on what it costs the others."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import aiohttp
import pytest
from raw_client import PATIENCE, Client, ask_for_token, connected, frame, in_session

import avatarpool.service.service as module
from avatarpool.endpoint import conversation
from avatarpool.protocol.codec import decode, encode
from avatarpool.protocol.messages import AnimationFrame, ConfigureSession, ServerError
from avatarpool.protocol.settings import AudioFormat
from avatarpool.protocol.varints import prefixed
from avatarpool.service import LocalAvatarService, ServiceLimits

MAPS = b"".join(b"\x42\x05\x0a\x03%03d" % (i % 1000) for i in range(30_000))
BOMB = b"\x12" + prefixed(b"\x08\x80\x7d" + MAPS)


async def token_request(service: LocalAvatarService, *pieces: bytes) -> bytes:
    """What is answered to a request that comes in these pieces."""
    host, port = urlsplit(service.console_url).netloc.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.005)
        async with asyncio.timeout(PATIENCE):
            return await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.close()


async def closed(client: Client) -> tuple[int | None, str]:
    """How the session ends: its close code, and what is said before."""
    said = ""
    async with asyncio.timeout(PATIENCE):
        while True:
            message = await client.socket.receive()
            if message.type is not aiohttp.WSMsgType.BINARY:
                return client.socket.close_code, said
            error = decode(message.data)
            if isinstance(error, ServerError):
                said = error.message


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of messages that protobuf has made objects of."""
    sizes: list[int] = []

    def counting(data: bytes) -> object:
        sizes.append(len(data))
        return decode(data)

    monkeypatch.setattr(conversation, "decode", counting)
    return sizes


async def test_a_large_configuration_in_an_open_session_is_never_decoded(service, decoded):
    async with in_session(service) as client:
        await client.socket.send_bytes(b"\x08\x01" + BOMB)
        code, said = await closed(client)

    assert code == 1009
    assert said == "unexpected message type: it has more than 4096 bytes that are no audio"
    assert max(decoded) < 100


async def test_what_is_large_and_of_an_unknown_type_is_ignored_unread(service, decoded, syllable):
    async with in_session(service) as client:
        await client.socket.send_bytes(b"\x08\x63" + BOMB)
        await client.audio("r-1", syllable, end=True)
        assert (await client.frames("r-1"))[-1].end

    assert max(decoded) < 10_000


async def test_a_type_that_comes_after_what_is_large_is_not_looked_for(service, decoded, syllable):
    async with in_session(service) as client:
        await client.socket.send_bytes(b"\x08\x63" + BOMB + b"\x08\x01")
        await client.audio("r-1", syllable, end=True)
        assert (await client.frames("r-1"))[-1].end

    assert max(decoded) < 10_000


async def test_a_first_message_is_refused_by_the_length_that_it_announces(service):
    async with connected(service) as client:
        client.transport.write(b"\x82\xff" + (4_000_000).to_bytes(8, "big") + bytes(4))
        code, said = await closed(client)

    assert code == 1009
    assert said == "first message is larger than 65536 bytes"


async def test_what_all_sessions_hold_together_is_bounded_at_the_cost_of_who_holds_most():
    limits = ServiceLimits(max_total_buffered_bytes=3_000_000)
    async with (
        LocalAvatarService(limits=limits) as service,
        in_session(service) as modest,
        in_session(service) as greedy,
    ):
        for client, size in ((modest, 600_000), (greedy, 3_900_000)):
            client.transport.write(
                b"\x82\xff" + (4_000_000).to_bytes(8, "big") + bytes(4) + bytes(size)
            )
        code, said = await closed(greedy)
        assert code == 1013
        assert said == "the service has no room for so much audio at once, try later"
        await modest.socket.ping()
        assert service.counters.connections_open >= 1
        modest.transport.abort()


async def test_a_flood_that_comes_with_its_upgrade_is_not_read_ahead(service):
    token = urlsplit(service.ingress_url)
    async with aiohttp.ClientSession() as http:
        key = await ask_for_token(http, service)
    _, writer = await asyncio.open_connection(token.hostname, token.port)
    configuration = encode(ConfigureSession(16000, AudioFormat.PCM_S16LE))
    writer.write(
        f"GET {token.path}/websocket?id={service.avatar_ids[0]} HTTP/1.1\r\nHost: h\r\n"
        f"X-App-ID: {service.app_id}\r\nX-Session-Key: {key}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        + frame(configuration)
        + frame(b"\x08\x63") * 1_000_000
    )
    assert service._ingress is not None
    sessions = service._ingress._sessions
    try:
        async with asyncio.timeout(PATIENCE):
            while not any(session.held_bytes for session in sessions):
                await asyncio.sleep(0.002)
        for _ in range(100):
            await asyncio.sleep(0.002)
            assert sum(session.held_bytes for session in sessions) <= 2_000_000
    finally:
        writer.transport.abort()


async def test_as_many_sessions_end_as_hold_too_much_and_none_twice():
    limits = ServiceLimits(max_total_buffered_bytes=5_000_000)
    async with LocalAvatarService(limits=limits) as service, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(in_session(service)) for _ in range(6)]
        for client in clients:
            client.transport.write(
                b"\x82\xff" + (4_000_000).to_bytes(8, "big") + bytes(4) + bytes(2_000_000)
            )
        assert service._ingress is not None
        sessions = set(service._ingress._sessions)

        def held() -> int:
            return sum(session.held_bytes for session in sessions if not session.is_ending)

        async with asyncio.timeout(PATIENCE):
            while sum(session.is_ending for session in sessions) < 3 or held() > 5_000_000:
                await asyncio.sleep(0.005)
        for client in clients:
            client.transport.abort()


@pytest.mark.parametrize(
    ("req_id", "audio"), [("i" * 200, b"ab"), ("spent", b"ab"), ("fresh", b"")], ids=str
)
async def test_audio_that_is_not_taken_keeps_no_session_alive(syllable, req_id, audio):
    limits = ServiceLimits(idle_timeout=1.0)
    async with LocalAvatarService(limits=limits) as service, in_session(service) as client:
        await client.audio("spent", syllable, end=True)
        await client.frames("spent")

        async def keep_on() -> None:
            while not client.socket.closed:
                await client.audio(req_id, audio)
                await asyncio.sleep(0.02)

        keeping_on = asyncio.create_task(keep_on())
        try:
            code, said = await closed(client)
        finally:
            keeping_on.cancel()
            await asyncio.gather(keeping_on, return_exceptions=True)
    assert (code, said) == (1000, "no audio input for 1 s")


async def test_what_a_client_calls_its_request_is_one_line_in_the_log(caplog, syllable):
    def broken(_rate: int, _seed: int) -> None:
        raise OSError(24, "too many open files")

    caplog.set_level(logging.DEBUG)
    async with LocalAvatarService(driver=broken) as service, in_session(service) as client:
        await client.audio("x failed\nCRITICAL \x1b[2J forged", syllable, end=True)
        await client.error()

    shown = [line for line in caplog.messages if "forged" in line]
    assert len(shown) == 1
    assert shown[0].endswith(r"request x failed\nCRITICAL \x1b[2J forged failed")


async def test_an_id_is_cut_to_as_many_bytes_as_it_may_have(service, syllable):
    async with in_session(service) as client:
        await client.audio("\N{SNOWMAN}" * 100, syllable)
        error = await client.error()
    assert error.req_id == "\N{SNOWMAN}" * 42


async def test_a_wrong_key_is_answered_before_its_body_is_cut_off(service):
    head = (
        b"POST /session-tokens HTTP/1.1\r\nHost: h\r\nX-Api-Key: no\r\nContent-Length: 300\r\n\r\n"
    )
    answer = await token_request(service, head, *[b"a" * 100] * 3)
    assert answer.startswith(b"HTTP/1.1 401 ")


async def test_there_is_one_guess_of_a_key_for_each_connection(service):
    head = b"POST /session-tokens HTTP/1.1\r\nHost: h\r\nX-Api-Key: no\r\nContent-Length: 0\r\n\r\n"
    answer = await token_request(service, head)
    assert b"\r\nConnection: close\r\n" in answer


async def test_a_body_that_is_compressed_is_no_json(service, caplog):
    key = service.environment["AVATAR_API_KEY"].encode()
    head = (
        b"POST /session-tokens HTTP/1.1\r\nHost: h\r\nContent-Encoding: gzip\r\n"
        b"X-Api-Key: " + key + b"\r\nContent-Length: 4\r\n\r\nabcd"
    )
    assert (await token_request(service, head)).startswith(b"HTTP/1.1 400 ")
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("http://localhost:3000", "localhost", 101),
        ("http://127.0.0.1:3000", "127.0.0.1", 101),
        ("https://evil.example", "127.0.0.1", 403),
        ("http://evil.example:8765", "evil.example", 403),  # its name points here
        ("null", "127.0.0.1", 403),
        ("http://[", "127.0.0.1", 403),
    ],
)
async def test_a_loopback_service_is_for_pages_of_this_machine(service, origin, host, status):
    port = urlsplit(service.ingress_url).port
    async with connected(service) as known, aiohttp.ClientSession() as http:
        del known
        headers = {"Origin": origin, "Host": f"{host}:{port}"}
        async with http.post(f"{service.console_url}/session-tokens", headers=headers) as answer:
            assert answer.status == (401 if status == 101 else 403)


async def test_a_service_whose_lips_cannot_be_loaded_does_not_start(monkeypatch):
    def unloadable() -> None:
        raise ImportError("libopenblas.so: cannot open shared object file: Too many open files")

    monkeypatch.setattr(module, "load_default_driver", unloadable)
    service = LocalAvatarService()
    with pytest.raises(OSError, match=r"the lips cannot be loaded: libopenblas\.so: cannot open"):
        await service.start()


async def test_an_unknown_message_of_sane_size_is_ignored_as_ever(service, syllable):
    async with in_session(service) as client:
        await client.socket.send_bytes(b"\x08\x63" + b"\xa2\x06" + prefixed(bytes(3000)))
        await client.audio("r-1", syllable, end=True)
        frames = await client.frames("r-1")
    assert all(isinstance(frame, AnimationFrame) for frame in frames)
