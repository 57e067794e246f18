"""A listener that strangers cannot use up."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiohttp import web
from proxying import Authority

from avatarpool.endpoint.accepting import Accepting
from avatarpool.endpoint.crowd import Crowd
from avatarpool.endpoint.limits import ServiceLimits
from avatarpool.endpoint.listening import Listener

PATIENCE = 10.0
ASK = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


Answer = Callable[[], Awaitable[bytes]]


async def here() -> bytes:
    return b"here"


@asynccontextmanager
async def listening(
    answer: Answer = here, *, tls: ssl.SSLContext | None = None, **limits: float
) -> AsyncIterator[tuple[int, Crowd]]:
    """A server that answers everything alike; its port and its connections."""

    async def answered(_request: web.Request) -> web.Response:
        return web.Response(body=await answer())

    app = web.Application()
    app.router.add_get("/", answered)
    listener = Listener(app, ServiceLimits(**limits), tls=tls)  # type: ignore[arg-type]
    _, port = await listener.start("127.0.0.1", 0)
    try:
        yield port, listener._crowd
    finally:
        await listener.close()


Connect = Callable[..., Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Connects to a port; hangs up in the end."""
    writers = []

    async def connected(
        port: int, **options: object
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)  # type: ignore[arg-type]
        writers.append(writer)
        return reader, writer

    yield connected
    for writer in writers:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(ASK)
    async with asyncio.timeout(PATIENCE):
        assert (await reader.readuntil(b"here")).startswith(b"HTTP/1.1 200 ")


async def is_cut(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(PATIENCE):
            return await reader.read(1) == b""
    except ConnectionError:
        return True


async def test_who_comes_when_it_is_full_takes_the_place_of_who_has_waited_longest(
    caplog, connect: Connect
):
    caplog.set_level(logging.WARNING, "avatarpool.service")
    async with listening(max_sockets=3) as (port, crowd):
        silent = [await connect(port) for _ in range(3)]
        for _ in range(3):
            await ask(*await connect(port))  # is heard all the same
        for reader, _ in silent:
            assert await is_cut(reader)
        assert len(crowd) <= 3
        assert len(caplog.messages) == 1  # and not one for each
        assert "3 connections are open, the most that there may be" in caplog.messages[0]


async def test_its_end_is_told_once_there_is_room_again(caplog, connect: Connect):
    caplog.set_level(logging.WARNING, "avatarpool.service")
    async with listening(max_sockets=4) as (port, crowd):
        streams = [await connect(port) for _ in range(6)]
        for _, writer in streams:
            writer.close()
        async with asyncio.timeout(PATIENCE):
            while len(crowd):
                await asyncio.sleep(0.002)
    assert caplog.messages[1:] == ["there is room for connections again; 2 were cut for it"]


async def test_who_is_being_answered_is_not_cut_for_a_newcomer(connect: Connect):
    begun, gate = asyncio.Event(), asyncio.Event()

    async def slow() -> bytes:
        begun.set()
        await gate.wait()
        return b"here"

    async with listening(slow, max_sockets=1) as (port, _):
        asking = asyncio.create_task(ask(*await connect(port)))
        await begun.wait()
        reader, _ = await connect(port)
        assert await is_cut(reader)
        gate.set()
        await asking


@pytest.mark.parametrize("size", [200_000, 20_000])
@pytest.mark.parametrize("hangs_up", [False, True])
async def test_who_reads_no_answer_is_cut(size: int, hangs_up: bool):
    async def large() -> bytes:
        return bytes(size)

    async with listening(large, send_timeout=0.05, http_idle_timeout=0.5) as (port, crowd):
        with socket.socket() as link:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            link.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(link, ("127.0.0.1", port))
            async with asyncio.timeout(PATIENCE):
                while not len(crowd):
                    await asyncio.sleep(0.002)
                (connection,) = crowd._idle
                while not connection._socket.get_write_buffer_size():  # type: ignore[attr-defined]
                    await loop.sock_sendall(link, ASK)
                    await asyncio.sleep(0.002)
                if hangs_up:
                    link.shutdown(socket.SHUT_WR)
                while len(crowd):
                    await asyncio.sleep(0.002)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def secret_of(authority: Authority) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.ca.issue_cert("127.0.0.1").configure_cert(context)
    return context


async def test_a_handshake_of_tls_gives_way_to_newer_ones(authority: Authority, connect: Connect):
    async with listening(tls=secret_of(authority), max_sockets=3) as (port, crowd):
        silent = [await connect(port) for _ in range(7)]
        for reader, _ in silent[:4]:
            assert await is_cut(reader)
        await ask(*await connect(port, ssl=authority.trusting()))
        assert len(crowd) == 1  # of which silent ones took no place


async def test_a_handshake_of_tls_has_its_time(authority: Authority, connect: Connect):
    async with listening(tls=secret_of(authority), handshake_timeout=0.1) as (port, _):
        reader, writer = await connect(port)
        assert await is_cut(reader)
        reader, writer = await connect(port)
        writer.write(ASK)  # and no TLS
        assert b"HTTP/1.1 200" not in await reader.read()
        await ask(*await connect(port, ssl=authority.trusting()))


async def test_without_a_file_left_it_accepts_again_once_there_is_one(caplog):
    caplog.set_level(logging.WARNING, "avatarpool.service")
    loop = asyncio.get_running_loop()
    async with listening() as (port, _):
        with socket.socket() as link:
            link.setblocking(False)
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            with socket.socket() as free:
                resource.setrlimit(resource.RLIMIT_NOFILE, (free.fileno(), hard))
            try:
                await loop.sock_connect(link, ("127.0.0.1", port))
                async with asyncio.timeout(PATIENCE):
                    while not caplog.messages:
                        await asyncio.sleep(0.002)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await loop.sock_sendall(link, ASK)
            async with asyncio.timeout(PATIENCE):
                assert (await loop.sock_recv(link, 4096)).startswith(b"HTTP/1.1 200 ")
    assert all("no connection is accepted for 1 s" in each for each in caplog.messages)
    assert len(caplog.messages) < 10  # and not one for each turn of the event loop


async def test_who_comes_as_it_stops_is_cut_and_not_lost():
    errors: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))

    async def never(_: socket.socket) -> None:
        raise AssertionError

    accepting = Accepting(never, Crowd(10))
    address = await accepting.start("127.0.0.1", 0)
    await asyncio.sleep(0)
    with socket.create_connection(address, PATIENCE) as link:
        await asyncio.sleep(0)  # the event loop has seen it, and goes on here first
        await accepting.close()
        assert await asyncio.to_thread(_is_over, link)
    assert not errors


def _is_over(link: socket.socket) -> bool:
    try:
        return link.recv(1) == b""
    except ConnectionError:
        return True


def test_there_are_fewer_connections_than_the_process_may_have_files(few_files: int):
    crowd = Crowd(4096)
    assert crowd._max_connections <= few_files - 64


async def test_without_a_file_left_it_says_that_it_cannot_listen(monkeypatch):
    listener = Listener(web.Application(), ServiceLimits())

    def no_socket(*_: object, **__: object) -> socket.socket:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "socket", no_socket)
    with pytest.raises(OSError, match=r"no socket can be opened for 127\.0\.0\.1 port 0: are too"):
        await listener.start("127.0.0.1", 0)
    monkeypatch.undo()
    await listener.close()
