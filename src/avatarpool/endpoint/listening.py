"""A listener for HTTP that strangers cannot use up: its connections, and how long they may idle."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol, cast

from aiohttp import http_exceptions, web

from avatarpool.endpoint.accepting import HANDSHAKES_SHARE, Accepting
from avatarpool.endpoint.crowd import Crowd
from avatarpool.endpoint.limits import ServiceLimits


def without_request(record: logging.LogRecord) -> bool:
    """Make news of no more than INFO of a request that aiohttp cannot parse: a filter.

    The answer is 400, and what aiohttp quotes of such a request may be keys and tokens.
    """
    theirs = (http_exceptions.HttpProcessingError, web.RequestPayloadError)
    if not (record.exc_info and isinstance(record.exc_info[1], theirs)):
        return True
    record.exc_info = None
    record.levelno, record.levelname = logging.INFO, "INFO"
    return logging.getLogger(record.name).isEnabledFor(logging.INFO)


log = logging.getLogger("avatarpool.service.http")
log.addFilter(without_request)

# Seconds in which the rest of a refused body is thrown away: who is cut amid it may not hear
# of the refusal.
_LINGER = 0.5


# Where a client finds what listens everywhere.
_REACHABLE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def netloc(host: str, port: int) -> str:
    """Return what a URL has for a listener on this machine."""
    host = _REACHABLE.get(host, host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Parser(Protocol):
    """What reads a connection once it is a WebSocket."""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take bytes; return whether that was all, and what is left."""

    def feed_eof(self) -> None:
        """Take the end."""


class HeldParser(Parser, Protocol):
    """A parser that may keep some for later."""

    @property
    def is_held(self) -> bool:
        """Whether the connection must not be read from meanwhile."""

    def drained(self) -> None:
        """Go on: what is behind it takes more again."""


class Connection(web.RequestHandler):
    """One HTTP connection.

    Args:
        server: aiohttp's, whose requests are handled.
        crowd: Where it needs a place.
        send_timeout: Seconds that its client may take nothing of an answer.
        upgraded: Makes what stands before aiohttp's parser of a WebSocket; None: nothing.
        options: aiohttp's own.

    Attributes:
        reading: What was made.
        is_full: Whether aiohttp takes no more for now.
    """

    __slots__ = (
        "_crowd",
        "_patience",
        "_send_timeout",
        "_socket",
        "_upgraded_by",
        "is_full",
        "reading",
    )

    def __init__(
        self,
        server: web.Server,
        crowd: Crowd,
        send_timeout: float,
        upgraded: Callable[[Connection, Parser], HeldParser] | None,
        **options: Any,
    ) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._crowd = crowd
        self._send_timeout = send_timeout
        self._upgraded_by = upgraded
        self._socket: asyncio.Transport
        self._patience: asyncio.TimerHandle | None = None
        self.is_full = False
        self.reading: HeldParser | None = None

    def cut(self) -> None:
        """Cut it without a word."""
        self._socket.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast("asyncio.Transport", transport)  # uvloop's are none by name
        self._socket.set_write_buffer_limits(0)  # to hear of any byte that its client leaves
        if self._crowd.came(self):
            super().connection_made(transport)
        else:
            self.cut()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._crowd.left(self)
        if self._patience is not None:
            self._patience.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.reading is None:  # a session has a patience of its own
            self._patience = self._loop.call_later(self._send_timeout, self.cut)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._patience is not None:
            self._patience.cancel()

    # Two may hold reading up: aiohttp, whose queue is full, and what stands before it. It
    # goes on when neither does.

    def pause_reading(self) -> None:
        self.is_full = True
        super().pause_reading()

    def resume_reading(self, *args: Any, **options: Any) -> None:
        self.is_full = False
        if self.reading is None or not self.reading.is_held:
            super().resume_reading(*args, **options)
        else:
            self.reading.drained()

    def hold(self) -> None:
        """Read no more, until `go_on`."""
        with contextlib.suppress(RuntimeError):  # it is closed
            self._socket.pause_reading()

    def go_on(self) -> None:
        """Read on, unless aiohttp takes no more."""
        if not self.is_full:
            super().resume_reading()

    def set_parser(self, parser: Any, *args: Any, **options: Any) -> None:
        if self._upgraded_by is not None:
            parser = self.reading = self._upgraded_by(self, parser)
        super().set_parser(parser, *args, **options)


class GuardedRunner(web.AppRunner):
    """An `AppRunner` whose connections are a crowd's; it logs no query, and so no token.

    Args:
        application: Whose requests are answered.
        limits: How many connections there may be, and how long they may take and idle.
        upgraded: Makes what stands before aiohttp's parser of a WebSocket; left out, it is
            aiohttp's alone.
        logger: Where aiohttp tells of what fails.
        auto_decompress: Whether bodies may be compressed.
        share: Of the process's files, as of a `Crowd`.
        options: An `AppRunner`'s.
    """

    def __init__(
        self,
        application: web.Application,
        limits: ServiceLimits,
        *,
        upgraded: Callable[[Connection, Parser], HeldParser] | None = None,
        logger: logging.Logger = log,
        auto_decompress: bool = False,
        share: float = 1.0,
        **options: Any,
    ) -> None:
        self.crowd = Crowd(limits.max_sockets, share)
        self._connection = partial(
            Connection,
            crowd=self.crowd,
            send_timeout=limits.send_timeout,
            upgraded=upgraded,
            access_log=None,
            logger=logger,
            keepalive_timeout=limits.http_idle_timeout,
            lingering_time=_LINGER,
            auto_decompress=auto_decompress,
        )
        application.middlewares.insert(0, _places(self.crowd))
        super().__init__(application, **options)

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        return cast("web.Server", _Guarded(server, self._connection))


class _Guarded:
    """aiohttp's server, but for the connections that it makes."""

    def __init__(self, server: web.Server, connection: Callable[[web.Server], Connection]) -> None:
        self._server = server
        self._connection = connection

    def __call__(self) -> Connection:
        return self._connection(self._server)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)


class Listener:
    """Serves an application within limits.

    Args:
        application: Whose requests are answered.
        limits: How many connections there may be, and how long they may take and idle.
        upgraded: As of a `GuardedRunner`.
        tls: Encrypts its connections; None: they are in the clear.
        handler_cancellation: Whether who leaves cancels what answers him.
        share: Of the process's files, where there are other listeners.
    """

    def __init__(
        self,
        application: web.Application,
        limits: ServiceLimits,
        *,
        upgraded: Callable[[Connection, Parser], HeldParser] | None = None,
        tls: ssl.SSLContext | None = None,
        handler_cancellation: bool = False,
        share: float = 1.0,
    ) -> None:
        self._tls = tls
        self._handshake_timeout = limits.handshake_timeout
        self._runner = GuardedRunner(
            application,
            limits,
            upgraded=upgraded,
            shutdown_timeout=limits.close_timeout,
            handler_cancellation=handler_cancellation,
            share=share * (1 - HANDSHAKES_SHARE),
        )
        self._crowd = self._runner.crowd
        handshakes = Crowd(limits.max_sockets, share * HANDSHAKES_SHARE)
        self._accepting = Accepting(self._connect, handshakes)

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; return the address itself, as a name may stand for several.

        Raises:
            OSError: It cannot be listened on.
        """
        await self._runner.setup()
        return await self._accepting.start(host, port)

    async def _connect(self, accepted: socket.socket) -> None:
        assert self._runner.server is not None
        await asyncio.get_running_loop().connect_accepted_socket(
            self._runner.server,
            accepted,
            ssl=self._tls,
            ssl_handshake_timeout=self._handshake_timeout if self._tls else None,
        )

    def stop(self) -> None:
        """Listen no more."""
        self._accepting.stop()

    async def close(self) -> None:
        """Stop, and end all connections within the limits' ``close_timeout``."""
        self.stop()
        await self._runner.cleanup()
        await self._accepting.close()


def _places(crowd: Crowd) -> Any:
    """Return the middleware that tells a crowd who has asked for something."""

    @web.middleware
    async def placed(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, Connection)
        crowd.asked(connection)
        try:
            return await handler(request)
        finally:
            crowd.answered(connection)

    return placed
