"""One host-mode client's connection: its speeches, one after the other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from avatarpool.endpoint import refusals
from avatarpool.endpoint.limits import ServiceLimits
from avatarpool.endpoint.refusals import Ending
from avatarpool.endpoint.scanner import Violation
from avatarpool.endpoint.socket import ServerSocket, SessionOver
from avatarpool.fleet import PoolKey
from avatarpool.gateway import failures, host_messages
from avatarpool.gateway.clients import Client
from avatarpool.gateway.exchange import Exchange
from avatarpool.gateway.failures import Failure
from avatarpool.gateway.host_messages import Interrupt, Misspoken, Spoken, Start, Written
from avatarpool.gateway.outbox import Outbox
from avatarpool.gateway.records import BrokenFrame
from avatarpool.protocol.readdressing import Readdressing
from avatarpool.protocol.request_ids import generate_log_id

log = logging.getLogger("avatarpool.gateway")


class HostConnection:
    """One client's connection: one speech after the other.

    Args:
        socket: Its WebSocket.
        client: Whose it is.
        exchange: Serves its speeches.
        limits: What it may take.
        default_avatar: The avatar if it names none; empty: it must.
        frames: What its frames are told as: see `host_messages.Written`.

    Attributes:
        is_closed: Set once it has ended.
    """

    def __init__(
        self,
        socket: ServerSocket,
        client: Client,
        exchange: Exchange,
        limits: ServiceLimits,
        *,
        default_avatar: str,
        frames: Callable[[Readdressing], Written],
    ) -> None:
        self._frames = frames
        self.client = client
        self.is_closed = asyncio.Event()
        self._socket = socket
        self._exchange = exchange
        self._limits = limits
        self._default_avatar = default_avatar
        self._loop = asyncio.get_running_loop()
        self._ends_at = self._loop.time() + limits.max_session_duration
        self._key: PoolKey | None = None  # once it has started
        self._speech: Outbox | None = None
        self._has_ended = False  # the speech's audio
        self._writer: asyncio.Task[None] | None = None  # of the speech's frames
        self._ending: Ending | None = None  # why it is ended from outside
        self._reader: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<HostConnection {self._socket.name} of {self.client.name!r}>"

    # --- a Holder -------------------------------------------------------------------------------

    @property
    def is_ending(self) -> bool:
        """Whether it was told to end."""
        return self._ending is not None

    @property
    def held_bytes(self) -> int:
        """What has come and is not dealt with."""
        relay = None if self._speech is None else self._speech.relay
        return self._socket.reading.unread_bytes + (0 if relay is None else relay.waiting_bytes)

    def end_greedy(self) -> None:
        """End it, as it holds too much, and take nothing more of it."""
        self._socket.reading.stop()
        self.end(refusals.SHORT_OF_MEMORY)

    def end(self, ending: Ending) -> None:
        """End it, for a reason of the gateway's."""
        if self._ending is None:
            self._ending = ending
            if self._reader is not None:
                self._reader.cancel()

    # --- its life -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve it to its end; cancelling interrupts what is under way."""
        self._reader = asyncio.create_task(self._read())
        try:
            await asyncio.wait([self._reader])
            ending = self._why()
            self._stop()
            await self._say_goodbye(ending)
        finally:
            self._reader.cancel()
            self._stop()
            self._socket.cut()
            self.is_closed.set()
            tasks = [task for task in (self._reader, self._writer) if task is not None]
            await asyncio.wait(tasks)

    def _why(self) -> Ending | None:
        """Why its reader is done; None: the client has closed, or gone."""
        assert self._reader is not None
        if self._reader.cancelled():
            return self._ending or refusals.SERVICE_CLOSED
        error = self._reader.exception()
        match error:
            case SessionOver():
                return error.ending
            case Violation():
                return error.ending
            case Misspoken():
                return Ending(refusals.POLICY_VIOLATION, refusals.INVALID_ARGUMENT, str(error))
        log.error("a host connection failed", exc_info=error)
        return refusals.INTERNAL_ERROR

    async def _say_goodbye(self, ending: Ending | None) -> None:
        if ending is not None and ending.code is not None:
            told = Failure("invalidRequest", ending.message, ending.code, 400)
            try:
                await self._socket.send_bytes(host_messages.error(told))
            except SessionOver:
                ending = None
        closing = None if ending is None else Ending(ending.close_code, None, ending.message)
        await self._socket.close(closing)

    def _stop(self) -> None:
        if self._speech is not None:
            self._speech.interrupt()
        if self._writer is not None:
            self._writer.cancel()

    # --- what it says -----------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            message = await self._next()
            match host_messages.read(message):
                case Start() as start:
                    await self._start(start)
                case Interrupt():
                    await self._interrupt()
                case Spoken(audio, end):
                    await self._hear(audio, end=end)

    async def _next(self) -> bytes | str:
        limits = self._limits
        patience = limits.handshake_timeout if self._key is None else limits.idle_timeout
        while True:
            until = self._loop.time() + patience
            if not self._is_answered:
                until = min(until, self._ends_at)
            try:
                async with asyncio.timeout_at(until):
                    return await self._socket.receive_any()
            except TimeoutError:
                if not self._is_answered:
                    raise SessionOver(self._timed_out(patience)) from None

    @property
    def _is_answered(self) -> bool:
        """Whether it is the client that waits, for as long as its request may take."""
        return self._has_ended and self._writer is not None and not self._writer.done()

    def _timed_out(self, patience: float) -> Ending:
        if self._loop.time() >= self._ends_at:
            return refusals.session_expired(self._limits.max_session_duration)
        if self._key is None:
            return Ending(refusals.POLICY_VIOLATION, 0, f"no start came within {patience:g} s")
        return refusals.idle(patience)

    async def _start(self, start: Start) -> None:
        await self._settled("start")
        self._speech = None
        avatar_id = start.avatar_id or self._default_avatar
        if not avatar_id:
            raise Misspoken("start names no avatar_id")
        refusal = self._exchange.refusal(self.client, avatar_id)
        if refusal is not None:
            await self._socket.send_bytes(host_messages.error(self.client.refuse(refusal)))
            return
        self._key = PoolKey(avatar_id, start.sample_rate)
        self._socket.reading.scanner.max_message_bytes = self._limits.max_message_bytes
        await self._socket.send_bytes(host_messages.metadata(self._key, self._socket.name))

    async def _interrupt(self) -> None:
        speech, self._speech = self._speech, None
        if speech is not None and self._writer is not None:
            speech.interrupt()
            await asyncio.wait([self._writer])  # which tells of the end

    async def _hear(self, audio: bytes, *, end: bool) -> None:
        if self._key is None:
            raise Misspoken('audio came before {"action": "start"}')
        speech = self._speech
        if speech is not None and not self._has_ended and speech.failure is not None:
            self._has_ended = end  # the rest of what has failed
            return
        if speech is None or self._has_ended:
            await self._settled("audio")
            if not audio:
                await self._socket.send_bytes(host_messages.error(_NO_AUDIO))
                return
            speech = self._begin(self._key)
        self._has_ended = end
        if not speech.is_over:
            await speech.push(audio, end=end)

    async def _settled(self, what: str) -> None:
        """Wait until a speech that is over is told to its end."""
        if self._speech is not None and not self._speech.is_complete:
            raise Misspoken(f"{what} came before a speech's last frame: wait, or interrupt it")
        if self._writer is not None:
            await asyncio.wait([self._writer])

    def _begin(self, key: PoolKey) -> Outbox:
        self._speech = speech = Outbox()
        begun = self._exchange.begin(self.client, key, speech)
        if isinstance(begun, Failure):
            speech.over(begun)
        else:
            speech.relay = begun
        self._writer = asyncio.create_task(self._tell(speech))
        return speech

    # --- what it is told ----------------------------------------------------------------------

    async def _tell(self, speech: Outbox) -> None:
        """Send a speech's frames as they come, and how it ended."""
        written = self._frames(Readdressing(self._socket.name, generate_log_id()))
        try:
            is_told = False
            while frames := await speech.take():
                is_told = frames[-1].end
                await self._socket.send_bytes(written(frames, frames[-1].end))
            if speech.failure is not None:
                await self._socket.send_bytes(host_messages.error(speech.failure))
            elif not is_told:  # it was interrupted
                await self._socket.send_bytes(written([], True))
        except BrokenFrame:
            speech.interrupt()
            await self._socket.send_bytes(host_messages.error(failures.UNREADABLE))
        except SessionOver:  # its reader learns of that too
            speech.interrupt()


_NO_AUDIO = Failure("invalidAudio", "a speech has no audio", refusals.INVALID_ARGUMENT, 400)
