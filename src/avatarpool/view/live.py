"""``GET /live``: a microphone over a WebSocket, its audio up and its frames down as they come."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import aclosing, suppress

from aiohttp import WSMsgType, web

from avatarpool.exceptions import AudioError, AvatarPoolError
from avatarpool.pool import AvatarConnectionPool
from avatarpool.pool.borrowing import LentSession
from avatarpool.view.outlet import patient
from avatarpool.view.speech import SAMPLE_RATE, Emit, relay

MAX_SECONDS = 120
"""Seconds of audio that one live request may have; the page stops the microphone then."""

_BYTES_PER_SECOND = 2 * SAMPLE_RATE
_MIN_PIECE_BYTES = _BYTES_PER_SECOND // 100  # as many messages a second as nobody minds
_MAX_PIECE_BYTES = _BYTES_PER_SECOND // 2
_MAX_AHEAD = 5.0  # seconds of audio before the clock: what a page held up sends at once
_PIECE_TIMEOUT = 5.0  # seconds for each piece: a microphone that is quiet sends silence
_CLOSE_TIMEOUT = 1.0  # seconds for the page's half of the closing handshake
_END = "end"


class Intake:
    """Judges what comes of a microphone: it speaks no faster than people, and not for ever.

    Args:
        now: When its first piece may come, in seconds of the clock of `take`.
    """

    def __init__(self, now: float) -> None:
        self._began = now
        self._bytes = 0
        self._has_ended = False

    def take(self, data: bytes | str, now: float) -> bytes | None:
        """Return a piece of audio; None is the end.

        Raises:
            AudioError: It is not what a microphone sends.
        """
        if self._has_ended:
            raise AudioError("the microphone was stopped: nothing may follow")
        if isinstance(data, str):
            if data != _END:
                raise AudioError(f"a microphone sends pieces of audio, and {_END!r} at last")
            self._has_ended = True
            return None
        if not _MIN_PIECE_BYTES <= len(data) <= _MAX_PIECE_BYTES:
            raise AudioError(
                f"a piece of {len(data)} bytes came of the microphone: "
                f"send {_MIN_PIECE_BYTES} to {_MAX_PIECE_BYTES}"
            )
        self._bytes += len(data)
        seconds = self._bytes / _BYTES_PER_SECOND
        if seconds > MAX_SECONDS:
            raise AudioError(f"the microphone was on for {MAX_SECONDS:g} s: start it again")
        if seconds > now - self._began + _MAX_AHEAD:
            raise AudioError("the microphone's audio comes faster than it can be spoken")
        return data

    def patience(self, now: float) -> float | None:
        """Return the seconds in which something must come: what trickles ends, too.

        None after the end: nothing more is to come, and the last frames may take their time.
        """
        if self._has_ended:
            return None
        return min(_PIECE_TIMEOUT, self._began + MAX_SECONDS + _MAX_AHEAD - now)


class Live:
    """``GET /live``.

    Args:
        pool: Lends the sessions.
        patience: Seconds in which each frame must come, and for which the page may
            leave frames unread, all in all.
    """

    def __init__(self, pool: AvatarConnectionPool, patience: float) -> None:
        self._pool = pool
        self._patience = patience

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Animate what the page's microphone hears, until it is stopped or the page has gone."""
        socket = web.WebSocketResponse(
            timeout=_CLOSE_TIMEOUT, max_msg_size=2 * _MAX_PIECE_BYTES, compress=False
        )
        await socket.prepare(request)
        emit = patient(socket.send_json, request, self._patience)
        with suppress(ConnectionResetError):  # the page has gone
            # Over the socket: a browser tells no page how an upgrade was refused.
            try:
                await self._animate(socket, emit)
            except AvatarPoolError as error:
                await emit({"error": str(error)})
            await socket.close()
        return socket

    async def _animate(self, socket: web.WebSocketResponse, emit: Emit) -> None:
        async with self._pool.borrow() as conn:
            await emit({"is_ready": True})  # what is said before would come late, all of it
            try:
                async with (
                    aclosing(conn.collector.stream(math.inf, self._patience)) as frames,
                    asyncio.TaskGroup() as group,
                ):
                    hearing = group.create_task(_hear(socket, conn.session))
                    await relay(frames, emit)
                    hearing.cancel()
            except ExceptionGroup as group_of_one:
                raise group_of_one.exceptions[0] from None


async def _hear(socket: web.WebSocketResponse, session: LentSession) -> None:
    """Send the microphone's audio; go on until cancelled, to notice when the page goes."""
    now = asyncio.get_running_loop().time
    intake = Intake(now())
    while True:
        piece = intake.take(await _received(socket, intake, now), now())
        await session.send_audio(piece or b"", end=piece is None)


async def _received(
    socket: web.WebSocketResponse, intake: Intake, now: Callable[[], float]
) -> bytes | str:
    try:
        async with asyncio.timeout(intake.patience(now())):
            message = await socket.receive()
    except TimeoutError:
        raise AudioError("nothing comes of the microphone any more: start it again") from None
    if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
        raise ConnectionResetError("the page has gone")
    data: bytes | str = message.data
    return data
