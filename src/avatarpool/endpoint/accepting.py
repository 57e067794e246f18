"""Accepts connections: those whose TLS handshake is under way need a place, too."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable, Coroutine
from functools import partial

from avatarpool.endpoint.crowd import Crowd

log = logging.getLogger("avatarpool.service")

Connect = Callable[[socket.socket], Coroutine[object, object, object]]
"""Makes a connection of an accepted socket: its protocol's `connection_made` was called then."""

HANDSHAKES_SHARE = 0.2
"""Of a listener's files, those that handshakes under way may have."""

_BACKLOG = 100  # connections that wait to be accepted
_PER_TURN = 8  # ... and those in one turn of the event loop
_REST = 1.0  # seconds after which it is tried again, where the process has no file left


class Accepting:
    """Accepts what comes to an address.

    The servers of asyncio know of a connection once TLS is agreed on. Whoever says nothing has
    a minute until then, and a file of the process; nobody counts those. Nor is `sock_accept` of
    use: asyncio's loses a connection that comes as it is cancelled.

    Args:
        connect: Makes connections of sockets.
        handshakes: Where those need a place that are not made yet.
    """

    def __init__(self, connect: Connect, handshakes: Crowd) -> None:
        self._connect = connect
        self._handshakes = handshakes
        self._listening: dict[socket.socket, asyncio.TimerHandle | None] = {}  # with their rests
        self._tasks: set[asyncio.Task[None]] = set()  # of connections that are not made yet

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; return the address itself, as a name may stand for several.

        Raises:
            OSError: It cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        # Never served by this one, which finds and binds what a name stands for.
        server = await loop.create_server(asyncio.Protocol, host, port, start_serving=False)
        found: list[socket.socket] = []
        try:
            for each in server.sockets:
                found.append(socket.socket(fileno=os.dup(each.fileno())))  # noqa: PERF401  # closed below
        except OSError:  # there is no file for it
            while found:
                found.pop().close()
        finally:
            server.close()
        if not found:  # asyncio passes over those that it cannot make
            why = f"no socket can be opened for {host} port {port}: are too many files open?"
            raise OSError(errno.EMFILE, why)
        for each in found:
            each.setblocking(False)
            each.listen(_BACKLOG)
            self._listening[each] = None
            loop.add_reader(each, self._accept, each)
        address: tuple[str, int] = found[0].getsockname()[:2]
        return address

    def stop(self) -> None:
        """Accept nothing more, and cut what has got no further than its handshake."""
        loop = asyncio.get_running_loop()
        while self._listening:
            listening, rest = self._listening.popitem()
            loop.remove_reader(listening)
            if rest is not None:
                rest.cancel()
            listening.close()
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        """Stop; returns once no handshake is under way any more."""
        self.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_PER_TURN):
            try:
                accepted, _ = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:  # gone already
                continue
            except OSError as error:
                log.warning("no connection is accepted for %g s: %s", _REST, error)
                loop = asyncio.get_running_loop()
                loop.remove_reader(listening)
                rest = loop.call_later(_REST, self._rested, listening)
                self._listening[listening] = rest
                return
            self._took(accepted)

    def _rested(self, listening: socket.socket) -> None:
        self._listening[listening] = None
        asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _took(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        task = asyncio.create_task(self._made(accepted))
        self._tasks.add(task)
        handshake = _Handshake(task)
        task.add_done_callback(partial(self._left, handshake, accepted))
        if not self._handshakes.came(handshake):
            handshake.cut()

    def _left(
        self, handshake: _Handshake, accepted: socket.socket, task: asyncio.Task[None]
    ) -> None:
        self._tasks.discard(task)
        self._handshakes.left(handshake)
        if task.cancelled():
            accepted.close()

    async def _made(self, accepted: socket.socket) -> None:
        try:
            await self._connect(accepted)
        except Exception as error:  # noqa: BLE001  # of TLS that cannot be agreed on, and others
            log.debug("a connection was not made: %r", error)
            accepted.close()


class _Handshake:
    """A connection that is not made yet: a Member of the crowd."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def cut(self) -> None:
        """Cut it without a word."""
        self._task.cancel()
