"""A TCP proxy that does harm when a test tells it to, at run time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self


@dataclass(slots=True)
class Way:
    """One direction of a connection; its faults may be changed at any time.

    Attributes:
        passed: Bytes that arrived here so far, swallowed ones included.
        cut_at: The connection is cut once so many bytes were passed on.
        swallow_at: Bytes from this one on vanish; nobody is told.
        bytes_per_second: Bytes that pass per second; None for all.
        delay: Seconds that each piece is held up.
    """

    passed: int = 0
    cut_at: int | None = None
    swallow_at: int | None = None
    bytes_per_second: float | None = None
    delay: float = 0.0

    def take(self, data: bytes) -> bytes:
        """Count what came and return what of it is passed on."""
        begin = self.passed
        self.passed += len(data)
        ends = [end for end in (self.cut_at, self.swallow_at) if end is not None]
        return data[: max(0, min(ends) - begin)] if ends else data

    @property
    def is_cut(self) -> bool:
        """Whether the connection has come to where it is cut."""
        return self.cut_at is not None and self.passed >= self.cut_at


class Link:
    """One client's connection through the proxy.

    Attributes:
        number: How many came before it.
        up: What goes to the service.
        down: What comes from it.
        with_reset: Whether cuts at a byte position reset; otherwise they close.
    """

    def __init__(self, number: int, client: asyncio.StreamWriter) -> None:
        self.number = number
        self.up = Way()
        self.down = Way()
        self.with_reset = True
        self._client = client
        self._server: asyncio.StreamWriter | None = None
        self._is_cut = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Link {self.number} {self.up.passed} up, {self.down.passed} down>"

    def cut(self, *, reset: bool = True) -> None:
        """Break the connection: by RST, or in good order by FIN."""
        for writer in (self._client, self._server):
            if writer is None:
                continue
            if reset:
                linger = struct.pack("ii", 1, 0)  # no time to linger: close() resets
                sock = writer.get_extra_info("socket")
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
            else:
                writer.close()
        self._is_cut.set()

    def swallow(self) -> None:
        """Become a black hole, both ways: the sockets stay open, nothing arrives."""
        self.up.swallow_at = self.down.swallow_at = 0

    async def run(self, reader: asyncio.StreamReader, port: int) -> None:
        """Pass bytes on until either side ends it, or it is cut."""
        try:
            upstream, self._server = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            self.cut()
            return
        work = [
            asyncio.ensure_future(each)
            for each in (
                self._pump(reader, self._server, self.up),
                self._pump(upstream, self._client, self.down),
                self._is_cut.wait(),
            )
        ]
        try:
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in work:
                each.cancel()
            await asyncio.wait(work)
            self._client.close()
            self._server.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way
    ) -> None:
        with contextlib.suppress(ConnectionError):
            # Read on in a black hole too: a client that hangs up is still noticed.
            while data := await reader.read(16384):
                pause = way.delay
                if way.bytes_per_second is not None:
                    pause += len(data) / way.bytes_per_second
                if pause:
                    await asyncio.sleep(pause)
                writer.write(way.take(data))
                await writer.drain()
                if way.is_cut:
                    self.cut(reset=self.with_reset)
                    return


class Proxy:
    """Stands in front of a port of this machine.

    Attributes:
        port: Its own port.
        links: The connections through it that are open.
        accepted: How many there were.
        on_link: Called with each new connection, to set its faults.
        gate: While clear, new connections are accepted and then left alone.
    """

    def __init__(self, upstream_port: int) -> None:
        self.port = 0
        self.links: dict[Link, None] = {}
        self.accepted = 0
        self.on_link: Callable[[Link], object] = lambda link: None
        self.gate = asyncio.Event()
        self.gate.set()
        self._upstream_port = upstream_port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Proxy 127.0.0.1:{self.port} {len(self.links)} links>"

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.refuse()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def listen(self) -> None:
        """Accept connections (again), always on the same port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Refuse new connections."""
        assert self._server is not None
        self._server.close()

    def cut(self, *, reset: bool = True) -> None:
        """Break every connection."""
        for link in list(self.links):
            link.cut(reset=reset)

    def swallow(self) -> None:
        """Make every open connection a black hole."""
        for link in self.links:
            link.swallow()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(self.accepted, writer)
        self.accepted += 1
        self.on_link(link)
        task = asyncio.get_running_loop().create_task(self._serve(link, reader))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, link: Link, reader: asyncio.StreamReader) -> None:
        self.links[link] = None
        try:
            await self.gate.wait()
            await link.run(reader, self._upstream_port)
        finally:
            del self.links[link]
            link.cut()
