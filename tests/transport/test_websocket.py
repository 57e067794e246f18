"""The WebSocket client against peers that speak the protocol byte by byte."""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import socket
import ssl
import struct
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trustme

from avatarpool import AvatarSDKError, AvatarSDKErrorCode
from avatarpool.transport.buffers import UNSENT_BYTES
from avatarpool.transport.connecting import connect
from avatarpool.transport.websocket import Ended, WebSocket

TCP_NOTSENT_LOWAT = 25  # on Linux; Python does not name it

BINARY, TEXT, CONTINUATION, CLOSE, PING, PONG = 2, 1, 0, 8, 9, 10

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Handler:
    """Notes what it is given."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self.was_closing = False

    def message_received(self, data: memoryview | bytes) -> None:
        self.messages.append(bytes(data))

    def connection_closing(self) -> None:
        self.was_closing = self.was_closing or not self.ended.done()

    def connection_lost(self, ended: Ended) -> None:
        self.ended.set_result(ended)


def frame(kind: int, payload: bytes = b"", *, is_last: bool = True) -> bytes:
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + struct.pack("!H", size)
    return bytes([kind | (0x80 if is_last else 0)]) + length + payload


async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take the upgrade."""
    request = await reader.readuntil(b"\r\n\r\n")
    key = request.lower().split(b"sec-websocket-key: ")[1].split(b"\r\n")[0]
    key = request[request.lower().index(key) :][: len(key)]
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()  # noqa: S324
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
    )


@asynccontextmanager
async def server(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield f"{'wss' if tls else 'ws'}://127.0.0.1:{port}/websocket"


async def dial(
    url: str,
    handler: Handler,
    *,
    timeout: float = 20.0,
    ping_interval: float | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> WebSocket:
    return await connect(
        url,
        handler,
        headers={"X-Session-Key": "secret"},
        secret="secret",
        timeout=timeout,
        max_message_bytes=1000,
        ping_interval=ping_interval,
        ping_timeout=ping_interval or 1.0,
        ssl_context=ssl_context,
    )


def certified() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context, and a client's that trusts it."""
    authority = trustme.CA()
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(serving)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return serving, trusting


def tcp_of(websocket: WebSocket) -> socket.socket:
    """The socket below a WebSocket."""
    assert websocket._transport is not None
    sock: socket.socket = websocket._transport.underlying_transport.get_extra_info("socket")
    return sock


def says(*data: bytes) -> Talk:
    """Accept, say this, and wait for the peer to go."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        for piece in data:
            writer.write(piece)
        await reader.read()

    return talk


async def test_fragments_become_one_message():
    talk = says(
        frame(BINARY, b"one", is_last=False),
        frame(CONTINUATION, b"two", is_last=False),
        frame(9, b"ping"),  # control frames may come in between
        frame(CONTINUATION, b"three"),
        frame(BINARY, b"next"),
        frame(CLOSE, struct.pack("!H", 1000)),
    )
    handler = Handler()
    async with server(talk) as url:
        await dial(url, handler)
        ended = await handler.ended
    assert handler.messages == [b"onetwothree", b"next"]
    assert ended == Ended(1000, "")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ([frame(TEXT, b"hello")], "text message"),
        ([frame(BINARY, b"x" * 1001)], "exceeding max"),
        ([frame(BINARY, b"x" * 600, is_last=False), frame(CONTINUATION, b"x" * 600)], "over 1000"),
        ([frame(CONTINUATION, b"x")], "out of order"),
        ([frame(BINARY, b"x", is_last=False), frame(BINARY, b"x")], "out of order"),
        ([b"\xff\xff\xff\xff"], ""),
        ([frame(TEXT, b"a"), frame(TEXT, b"b")], "text message"),
        ([frame(BINARY, is_last=False), *[frame(CONTINUATION, is_last=False)] * 3000], "tiny"),
        ([frame(PONG)] * 3000, "tiny"),
    ],
)
async def test_a_peer_that_breaks_the_protocol_is_told_and_cut(data: list[bytes], reason: str):
    handler = Handler()
    async with server(says(b"".join(data))) as url:
        websocket = await dial(url, handler)
        ended = await handler.ended
        assert ended.is_violation
        assert reason in ended.reason
        assert not websocket.is_open
        assert repr(websocket) == "<WebSocket ended>"
        websocket.fail(1002, "again")  # harmless
        await websocket.close(timeout=1.0)
    assert handler.messages == []


async def test_a_message_that_is_too_big_is_not_handed_over_while_its_sender_is_told():
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        writer.write(frame(BINARY, b"x" * 1001))
        await reader.readexactly(2)  # of the close frame: picows reads on for 10 ms
        writer.write(frame(BINARY, b"next"))
        await reader.read()

    handler = Handler()
    async with server(talk) as url:
        await dial(url, handler)
        assert (await handler.ended).is_violation
    assert handler.messages == []


async def test_nothing_complains_of_a_broken_peer_that_was_cut(caplog: pytest.LogCaptureFixture):
    handler = Handler()
    async with server(says(b"\x83\x00")) as url:
        websocket = await dial(url, handler)
        while websocket.is_open:
            await asyncio.sleep(0)
        websocket.abort()  # before picows does it
        await handler.ended
        await asyncio.sleep(0.02)  # a timer of picows' holds its error for 10 ms
    del websocket
    gc.collect()
    assert "never retrieved" not in caplog.text


@pytest.mark.parametrize(
    ("close", "ended"),
    [
        (frame(CLOSE, struct.pack("!H", 4002) + b"too old"), Ended(4002, "too old")),
        (frame(CLOSE), Ended(1005, "")),
        (b"", Ended()),
    ],
)
async def test_the_end_is_told_as_the_peer_said_it(close: bytes, ended: Ended):
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        writer.write(close)
        if close:
            await reader.read()

    handler = Handler()
    async with server(talk) as url:
        await dial(url, handler)
        assert await handler.ended == ended


async def test_a_ping_is_answered_with_its_payload():
    answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        writer.write(frame(PING, b"are you there"))
        head = await reader.readexactly(2 + 4)
        masked = await reader.readexactly(head[1] & 0x7F)
        payload = bytes(byte ^ head[2 + i % 4] for i, byte in enumerate(masked))
        answer.set_result(bytes([head[0] & 0x0F]) + payload)

    async with server(talk) as url:
        await dial(url, handler := Handler())
        assert await answer == bytes([PONG]) + b"are you there"
        await handler.ended


async def test_pings_of_a_peer_that_reads_nothing_are_not_answered_without_end():
    pings = 100_000
    last = b"the last" + bytes(100)
    answers: list[bytes] = []
    may_read = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(pings // 100):
            writer.write(frame(PING, bytes(108)) * 100)
            await writer.drain()
        writer.write(frame(PING, last) + frame(BINARY, b"all sent"))
        await may_read.wait()
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        while not answers or answers[-1] != last:
            head = await reader.readexactly(2 + 4)
            masked = await reader.readexactly(head[1] & 0x7F)
            answers.append(bytes(byte ^ head[2 + i % 4] for i, byte in enumerate(masked)))

    async with server(talk) as url:
        websocket = await dial(url, handler := Handler())
        while not handler.messages:
            await asyncio.sleep(0.001)
        assert websocket._transport is not None
        waiting = websocket._transport.underlying_transport.get_write_buffer_size()
        assert waiting < 1_000_000, "bytes of pongs that nobody reads"
        may_read.set()
        await handler.ended
    assert len(answers) < pings


async def test_closing_shakes_hands():
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        await reader.readexactly(2)
        writer.write(frame(CLOSE, struct.pack("!H", 1000)))
        await reader.read()

    handler = Handler()
    async with server(talk) as url:
        websocket = await dial(url, handler)
        assert repr(websocket) == "<WebSocket open>"
        await websocket.close(timeout=5.0)
        ended = await handler.ended
    assert (ended.code, ended.is_local) == (1000, True)


@pytest.mark.parametrize("last", [frame(CLOSE, struct.pack("!H", 1001)), frame(TEXT, b"hello")])
async def test_that_no_more_can_be_sent_is_told_before_the_end(last: bytes):
    handler = Handler()
    async with server(says(last)) as url:
        await dial(url, handler)
        await handler.ended
    assert handler.was_closing


async def test_a_peer_that_does_not_shake_hands_is_cut():
    handler = Handler()
    async with server(says()) as url:
        websocket = await dial(url, handler)
        await websocket.close(timeout=0.05)
        assert handler.was_closing
        assert (await handler.ended).is_local
        websocket.abort()  # harmless


async def test_cancelling_a_close_cuts():
    handler = Handler()
    async with server(says()) as url:
        websocket = await dial(url, handler)
        closing = asyncio.create_task(websocket.close(timeout=60.0))
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        assert (await handler.ended).is_local


async def test_something_that_is_no_websocket_server_is_connection_failed():
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-nothing of the kind\r\n\r\n")

    async with server(talk) as url:
        with pytest.raises(AvatarSDKError) as caught:
            await dial(url, Handler())
    assert caught.value.code is AvatarSDKErrorCode.connectionFailed


async def test_a_redirect_is_not_followed_with_the_credentials():
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:1/\r\n\r\n")

    async with server(talk) as url:
        with pytest.raises(AvatarSDKError) as caught:
            await dial(url, Handler())
    assert caught.value.http_status == 302


async def test_a_peer_that_never_answers_the_upgrade_is_given_up():
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with server(talk) as url:
        with pytest.raises(AvatarSDKError, match=r"no WebSocket connection within 0\.05 s"):
            await dial(url, Handler(), timeout=0.05)


async def test_a_refusal_that_repeats_the_secret_shows_in_no_traceback():
    async def repeat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nno header, but a secret\r\n\r\n")
        writer.close()

    async with server(repeat) as url:
        with pytest.raises(AvatarSDKError, match="did not answer as a WebSocket") as caught:
            await dial(url, Handler())
    assert "but a secret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("is_trusted", [True, False])
async def test_tls_is_verified(*, is_trusted: bool):
    tls, trusting = certified()
    handler = Handler()
    async with server(says(frame(BINARY, b"hello")), tls) as url:
        if is_trusted:
            websocket = await dial(url, handler, ssl_context=trusting)
            while not handler.messages:
                await asyncio.sleep(0.001)
            await websocket.close(timeout=0.05)
            await handler.ended
        else:
            with pytest.raises(AvatarSDKError, match="certificate") as caught:
                await dial(url, handler)
            assert caught.value.phase == "websocket_connect"


over_either = pytest.mark.parametrize("is_tls", [False, True], ids=["ws", "wss"])


@over_either
async def test_frames_that_come_one_by_one_arrive_within_a_small_read_buffer(*, is_tls: bool):
    size, number = 600, 4000

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        for _ in range(number // 4):
            for _ in range(4):  # each is a segment of its own
                writer.write(frame(BINARY, bytes(size)))
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(frame(BINARY, bytes(size)) * number)  # and all that there is at once
        writer.write(frame(CLOSE))
        await reader.read()

    serving, trusting = certified() if is_tls else (None, None)
    handler = Handler()
    async with server(talk, serving) as url:
        websocket = await dial(url, handler, ssl_context=trusting)
        await handler.ended
        assert handler.messages == [bytes(size)] * 2 * number
        assert websocket._pulse._reads._size <= 16 * 1024


@over_either
async def test_the_windows_of_a_connection_are_the_systems_own(
    monkeypatch: pytest.MonkeyPatch, *, is_tls: bool
):
    given: list[tuple[object, ...]] = []
    setsockopt = socket.socket.setsockopt

    def noted(sock: socket.socket, *option: Any) -> None:
        given.append(option)
        setsockopt(sock, *option)

    serving, trusting = certified() if is_tls else (None, None)
    handler = Handler()
    async with server(says(frame(BINARY, b"hello")), serving) as url:
        monkeypatch.setattr(socket.socket, "setsockopt", noted)
        websocket = await dial(url, handler, ssl_context=trusting)
        monkeypatch.undo()
        with socket.create_connection(tcp_of(websocket).getpeername()) as plain:
            for window in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                # They grow by themselves, unless somebody sets them.
                ours = tcp_of(websocket).getsockopt(socket.SOL_SOCKET, window)
                assert ours >= plain.getsockopt(socket.SOL_SOCKET, window)
                assert window not in {
                    option[1] for option in given if option[0] == socket.SOL_SOCKET
                }
        if sys.platform == "linux":
            assert (socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_BYTES) in given
            assert tcp_of(websocket).getsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT) == 65536
        await websocket.close(timeout=0.05)
        await handler.ended


@over_either
async def test_an_unanswered_ping_ends_a_websocket(*, is_tls: bool):
    serving, trusting = certified() if is_tls else (None, None)
    handler = Handler()
    async with server(says(), serving) as url:
        await dial(url, handler, ping_interval=0.05, ssl_context=trusting)
        async with asyncio.timeout(20):
            ended = await handler.ended
    assert ended == Ended(None, "no answer to a ping within 0.05 s")
    assert handler.was_closing


@over_either
async def test_what_is_written_to_a_peer_that_takes_nothing_is_no_progress_of_its(*, is_tls: bool):
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await may_end.wait()

    may_end = asyncio.Event()
    serving, trusting = certified() if is_tls else (None, None)
    handler = Handler()
    async with server(talk, serving) as url:
        websocket = await dial(url, handler, ssl_context=trusting)
        pulse = websocket._pulse
        before = -1
        while pulse._taken_now() > before or not websocket.is_held_back:
            before = pulse._taken_now()
            websocket.write(bytes(1 << 20))
            await asyncio.sleep(0.01)  # for the kernels to agree on what has been taken
        taken = pulse._taken_now()
        for size in (0, 1, 125, 126, 3200, 65535, 65536):
            for _ in range(10):
                websocket.write(bytes(size))
            assert pulse._taken_now() <= taken
            if not is_tls:  # which adds what it adds
                assert pulse._taken_now() == taken
        websocket.abort()
        may_end.set()
        await handler.ended


async def test_a_tls_peer_that_hangs_up_is_told_as_one():
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    async with server(talk) as url:
        with pytest.raises(AvatarSDKError, match=r"could not be reached: .*(hung up|reset)"):
            await dial(url.replace("ws:", "wss:"), Handler())
