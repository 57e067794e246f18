"""A listener that strangers cannot use up."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web

from avatarpool.endpoint.listening import Connection, Crowd, HeldParser, Parser, listen, places

PATIENCE = 10.0
ASK = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


def unused(connection: Connection, parser: Parser) -> HeldParser:
    raise AssertionError((connection, parser))


@asynccontextmanager
async def listening(
    crowd: Crowd, *, body: bytes = b"here", **options: object
) -> AsyncIterator[int]:
    """A server that answers everything with the same; its port."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body)

    app = web.Application(middlewares=[places(crowd)])
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    assert runner.server is not None
    settings = {"send_timeout": PATIENCE, "upgraded": unused, "access_log": None, **options}
    server = await listen(runner.server, "127.0.0.1", 0, crowd, **settings)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await runner.cleanup()


Connect = Callable[[int], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Connects to a port; hangs up in the end."""
    writers = []

    async def connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
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
    crowd = Crowd(3)
    async with listening(crowd) as port:
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
    crowd = Crowd(4)
    async with listening(crowd) as port:
        streams = [await connect(port) for _ in range(6)]
        for _, writer in streams:
            writer.close()
        async with asyncio.timeout(PATIENCE):
            while len(crowd):
                await asyncio.sleep(0.002)
    assert caplog.messages[1:] == ["there is room for connections again; 2 were cut for it"]


async def test_who_is_being_answered_is_not_cut_for_a_newcomer(connect: Connect):
    crowd, begun, gate = Crowd(1), asyncio.Event(), asyncio.Event()

    async def slow(_request: web.Request) -> web.Response:
        begun.set()
        await gate.wait()
        return web.Response(body=b"here")

    app = web.Application(middlewares=[places(crowd)])
    app.router.add_get("/", slow)
    runner = web.AppRunner(app)
    await runner.setup()
    assert runner.server is not None
    server = await listen(
        runner.server, "127.0.0.1", 0, crowd, send_timeout=1, upgraded=unused, access_log=None
    )
    port = server.sockets[0].getsockname()[1]
    asking = asyncio.create_task(ask(*await connect(port)))
    await begun.wait()

    reader, _ = await connect(port)
    assert await is_cut(reader)
    gate.set()
    await asking
    server.close()
    await runner.cleanup()


async def test_who_reads_no_answer_is_cut():
    crowd = Crowd(10)
    async with listening(crowd, body=bytes(200_000), send_timeout=0.05) as port:
        with socket.socket() as link:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            link.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(link, ("127.0.0.1", port))
            await loop.sock_sendall(link, ASK * 100)
            async with asyncio.timeout(PATIENCE):
                while not len(crowd):
                    await asyncio.sleep(0.002)
                while len(crowd):
                    await asyncio.sleep(0.002)


@pytest.fixture
def few_files() -> Iterator[int]:
    """As few files as a process may open, for as long as a test lasts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    yield 256
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_there_are_fewer_connections_than_the_process_may_have_files(few_files: int):
    crowd = Crowd(4096)
    assert crowd._max_connections + crowd.backlog <= few_files - 64


async def test_without_a_file_left_it_says_that_it_cannot_listen(monkeypatch):
    crowd = Crowd(10)

    def no_socket(*_: object) -> socket.socket:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "socket", no_socket)
    with pytest.raises(OSError, match=r"no socket can be opened for 127\.0\.0\.1 port 0: are too"):
        await listen(
            web.Server(lambda _: web.Response()),  # type: ignore[arg-type, return-value]
            "127.0.0.1",
            0,
            crowd,
            send_timeout=1,
            upgraded=unused,
        )
