"""One connection of the service: its handshake, its requests, its end."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from aiohttp import WSMessage, WSMsgType, web

from avatarpool.exceptions import AvatarSDKError
from avatarpool.protocol.closing import close_reason, may_carry
from avatarpool.protocol.codec import decode, encode
from avatarpool.protocol.messages import (
    AnimationFrame,
    AudioInput,
    ConfigureSession,
    ConfirmSession,
    Interrupt,
    Message,
    Pause,
    Resume,
    ServerError,
    UnknownMessage,
)
from avatarpool.protocol.settings import AudioFormat
from avatarpool.service import refusals
from avatarpool.service.accounts import Account
from avatarpool.service.configuration import refuse_configuration
from avatarpool.service.counters import ServiceCounters
from avatarpool.service.decoding import AudioRefused, Decoder, PcmDecoder
from avatarpool.service.faults import Faults, Step
from avatarpool.service.framing import framed
from avatarpool.service.generation import (
    STEP_MS,
    CreditsExhausted,
    Generation,
    Pipeline,
)
from avatarpool.service.limits import ServiceLimits
from avatarpool.service.lipsync import DriverFactory
from avatarpool.service.opus import OpusDecoder
from avatarpool.service.refusals import Ending, SessionOver
from avatarpool.service.requests import RequestRefused, RequestTable
from avatarpool.service.sabotage import Sabotage, until_closing
from avatarpool.service.workers import Workers

logger = logging.getLogger("avatarpool.service")

_OPUS_PIECE_BYTES = 1024
_SPOKEN = (WSMsgType.BINARY, WSMsgType.TEXT, WSMsgType.PING, WSMsgType.PONG)
_MESSAGES_PER_TURN = 32  # of one session, before the others have theirs


@dataclass(frozen=True, slots=True)
class Workshop:
    """What all sessions of a service share.

    Attributes:
        limits: The service's limits.
        counters: Where everything is counted.
        workers: Where audio is decoded and animated.
        driver: Makes the driver of a request, in a worker.
        seed: Given to every driver.
        faults: What to get wrong.
    """

    limits: ServiceLimits
    counters: ServiceCounters
    workers: Workers
    driver: DriverFactory
    seed: int
    faults: Faults


class ServedSession:
    """Serves one upgraded WebSocket until either side has had enough.

    Args:
        socket: The upgraded WebSocket.
        transport: What it runs over; cut if the peer does not read.
        account: Whose session it is.
        avatar_id: The avatar it animates.
        workshop: What all sessions share.
        sabotage: What it gets wrong on purpose.
    """

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport,
        account: Account,
        avatar_id: str,
        workshop: Workshop,
        *,
        sabotage: Sabotage,
    ) -> None:
        self.connection_id = f"local-{secrets.token_hex(8)}"
        self.is_closed = asyncio.Event()
        self._socket = socket
        self._transport = transport
        self._account = account
        self._avatar_id = avatar_id
        self._workshop = workshop
        limits = workshop.limits
        self._limits = limits
        self._counters = workshop.counters
        self._loop = asyncio.get_running_loop()
        self._sabotage = sabotage
        self._requests = RequestTable(
            max_open=limits.max_open_requests,
            max_id_bytes=limits.max_request_id_bytes,
            max_remembered=limits.max_remembered_requests,
        )
        self._has_slot = False  # until the handshake is done
        self._generations: dict[str, tuple[Generation, asyncio.Task[None]]] = {}
        self._group = asyncio.TaskGroup()
        self._messages_read = 0
        self._heard_at = 0.0  # when audio, or the configuration, last came
        self._audio_taken = asyncio.Event()  # a generation's buffer has shrunk
        self._answering_code = refusals.NORMAL  # to the peer's close frame
        self._is_ending = asyncio.Event()  # set with _ending, from outside
        self._ending: Ending | None = None

    def __repr__(self) -> str:
        return f"<ServedSession {self.connection_id} {len(self._requests)} open>"

    def end(self, ending: Ending) -> None:
        """Have the session end like this, soon."""
        self._ending = ending
        self._is_ending.set()

    async def run(self) -> None:
        """Serve until the end; cancelling cuts the connection."""
        try:
            await self._close(await self._serve())
        finally:
            if self._transport.get_write_buffer_size():
                self._transport.abort()  # or it would wait for a peer that does not read
            self.is_closed.set()

    async def _serve(self) -> Ending | None:
        ending: Ending | None = None
        try:
            async with self._group as group:
                group.create_task(self._await_ending())
                group.create_task(self._converse())
        except* SessionOver as overs:
            ending = _first(overs)
        except* Exception:
            logger.exception("session %s failed", self.connection_id)
            ending = refusals.INTERNAL_ERROR
        finally:
            # Before the closing handshake: who is told to come back may do so.
            self._counters.requests_open -= len(self._requests)
            if self._has_slot:
                self._account.free_slot()
        return ending

    # --- the connection ------------------------------------------------------

    async def _await_ending(self) -> None:
        """Raise `SessionOver` once `end` was called, or the session is too old."""
        try:
            async with asyncio.timeout(self._limits.max_session_duration):
                await self._is_ending.wait()
        except TimeoutError:
            raise SessionOver(refusals.session_expired(self._limits.max_session_duration)) from None
        raise SessionOver(self._ending)

    async def _await_silence(self) -> None:
        """Raise `SessionOver` once no audio came for too long."""
        patience = self._limits.idle_timeout
        while (left := self._heard_at + patience - self._loop.time()) > 0:
            await asyncio.sleep(left)
            if self._requests.is_answering or self._buffered_bytes:
                # Then it is not the client who is silent.
                self._heard_at = self._loop.time()
        raise SessionOver(refusals.idle(patience))

    async def _receive(self) -> Message:
        message = await self._read()
        match message.type:
            case WSMsgType.BINARY:
                pass
            case WSMsgType.TEXT:
                raise SessionOver(refusals.TEXT_MESSAGE)
            case WSMsgType.CLOSE:
                if message.data:  # otherwise it has no code
                    is_valid = may_carry(message.data)
                    self._answering_code = message.data if is_valid else refusals.PROTOCOL_ERROR
                raise SessionOver(None)
            case _:
                raise SessionOver(None)
        limit = self._limits.max_configuration_bytes
        if not self._has_slot and len(message.data) > limit:
            raise SessionOver(refusals.configuration_too_large(limit))
        try:
            return decode(message.data)
        except AvatarSDKError as error:
            ending = refusals.undecodable(error.message, is_first=not self._has_slot)
            raise SessionOver(ending) from error

    async def _read(self) -> WSMessage:
        """Return the next message that is no ping, which is answered here.

        aiohttp hands out what it has read without giving way, and answers
        pings likewise: thousands of small messages, a second of the loop.
        """
        while True:
            self._messages_read += 1
            if self._messages_read % _MESSAGES_PER_TURN == 0:
                await asyncio.sleep(0)
            message = await self._socket.receive()
            if self._sabotage.is_half_open and message.type in _SPOKEN:
                continue
            match message.type:
                case WSMsgType.PING:
                    await self._in_time(self._socket.pong(message.data))
                case WSMsgType.PONG:
                    pass
                case _:
                    return message

    async def _send(self, message: Message) -> None:
        """Write a message and wait while the peer's buffers are full.

        The message is written before anything is waited for, so that messages
        go out in the order of the calls.
        """
        if not self._sabotage.is_half_open:
            await self._in_time(self._socket.send_bytes(encode(message)))

    async def _in_time(self, sending: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self._limits.send_timeout):
                await sending
        except TimeoutError:
            logger.warning("session %s: the peer reads nothing, cut", self.connection_id)
            self._transport.abort()
            raise SessionOver(None) from None
        except ConnectionError:
            raise SessionOver(None) from None

    async def _close(self, ending: Ending | None) -> None:
        try:
            async with asyncio.timeout(self._limits.close_timeout):
                if self._sabotage.is_half_open:
                    await until_closing(self._transport)
                    return
                if ending is None:
                    await self._socket.close(code=self._answering_code)
                    return
                logger.info("session %s ends: %s", self.connection_id, ending.message)
                if ending.code is not None:
                    await self._send(ServerError(ending.code, ending.message, self.connection_id))
                reason = close_reason(ending.message)
                await self._socket.close(code=ending.close_code, message=reason)
        except (TimeoutError, SessionOver):
            self._transport.abort()

    # --- the conversation ----------------------------------------------------

    async def _converse(self) -> None:
        configuration = await self._handshake()
        self._heard_at = self._loop.time()
        self._group.create_task(self._await_silence())
        while True:
            message = await self._receive()
            match message:
                case AudioInput():
                    await self._take_audio(message, configuration)
                case Interrupt():
                    await self._interrupt(message.req_id)
                case Pause() | Resume() | UnknownMessage():
                    pass  # playback exists in a room alone; the unknown is ignored
                case _:
                    raise SessionOver(refusals.wrong_message(type(message).__name__))

    async def _handshake(self) -> ConfigureSession:
        try:
            async with asyncio.timeout(self._limits.handshake_timeout):
                message = await self._receive()
        except TimeoutError:
            raise SessionOver(refusals.no_configuration(self._limits.handshake_timeout)) from None
        if not isinstance(message, ConfigureSession):
            raise SessionOver(refusals.wrong_first_message(type(message).__name__))
        refusal = refuse_configuration(message)
        if refusal is not None:
            raise SessionOver(refusal)
        await self._until_ready()
        if not self._account.take_slot():
            raise SessionOver(refusals.too_many_connections(self._limits.max_connections))
        self._has_slot = True
        self._counters.sessions_total += 1
        await self._send(ConfirmSession(self.connection_id))
        self._sabotage.is_confirmed = True
        logger.info("session %s opened for avatar %s", self.connection_id, self._avatar_id)
        return message

    async def _until_ready(self) -> None:
        """Let a fault hold the confirmation up; the client may lose its patience meanwhile."""
        if self._sabotage.fault is None:
            return
        listening = self._group.create_task(self._listen())
        try:
            await self._sabotage.before(Step.HANDSHAKE)
        finally:
            listening.cancel()
            await asyncio.wait([listening])

    async def _listen(self) -> None:
        while True:
            await self._receive()

    async def _take_audio(self, message: AudioInput, configuration: ConfigureSession) -> None:
        # Waiting here and not after taking it lets an interrupt overtake audio
        # that waits to be animated.
        while self._buffered_bytes > self._limits.max_buffered_bytes:
            self._audio_taken.clear()
            await self._audio_taken.wait()
        req_id = message.req_id
        if message.audio or message.end:
            self._heard_at = self._loop.time()
        is_new = req_id not in self._requests
        try:
            is_wanted = self._requests.audio(req_id, end=message.end)
        except RequestRefused as refusal:
            await self._fail(req_id, refusals.INVALID_ARGUMENT, str(refusal))
            return
        if not is_wanted:
            return
        if is_new:
            self._counters.requests_open += 1  # as the table has it from here
            self._begin(req_id, configuration)
        held = self._generations.get(req_id)
        if held is None:
            return  # its generation has just ended the session: that is under way
        generation, _ = held
        generation.push(message.audio, end=message.end)
        if generation.received_bytes > self._limits.max_request_bytes:
            size = self._limits.max_request_bytes
            await self._fail(
                req_id, refusals.INVALID_ARGUMENT, f"request audio is larger than {size} bytes"
            )

    @property
    def _buffered_bytes(self) -> int:
        return sum(generation.buffered_bytes for generation, _ in self._generations.values())

    def _begin(self, req_id: str, configuration: ConfigureSession) -> None:
        decoder: Decoder
        if configuration.audio_format is AudioFormat.OGG_OPUS:
            decoder, piece_bytes = OpusDecoder(), _OPUS_PIECE_BYTES
        else:
            decoder = PcmDecoder(configuration.sample_rate)
            piece_bytes = 2 * configuration.sample_rate * STEP_MS // 1000
        make_driver = partial(self._workshop.driver, decoder.sample_rate, self._workshop.seed)
        generation = Generation(
            Pipeline(decoder, make_driver, self._limits.max_request_seconds),
            self._workshop.workers,
            self._account,
            self._audio_taken,
            piece_bytes & ~1,
        )
        task = self._group.create_task(self._generate(req_id, generation))
        self._generations[req_id] = generation, task

    async def _generate(self, req_id: str, generation: Generation) -> None:
        try:
            async with aclosing(generation.steps()) as steps:
                async for animations, is_done in steps:
                    await self._send_animations(req_id, animations, is_done=is_done)
        except SessionOver:
            raise
        except CreditsExhausted:
            raise SessionOver(refusals.CREDITS_EXHAUSTED) from None
        except AudioRefused as refusal:
            await self._fail(req_id, refusals.INVALID_ARGUMENT, str(refusal))
        except Exception:
            logger.exception("session %s: request %s failed", self.connection_id, req_id)
            await self._fail(req_id, refusals.INTERNAL, "the request could not be animated")
        else:
            self._counters.requests_served += 1
        finally:
            self._counters.audio_seconds += generation.seconds
            self._drop(req_id)

    async def _send_animations(
        self, req_id: str, animations: list[bytes], *, is_done: bool
    ) -> None:
        ends = [False] * (len(animations) - 1) + [is_done]
        frames = zip(animations, ends, strict=True)
        if self._sabotage.is_idle:
            await self._send_together([encode(self._record(req_id, *frame)) for frame in frames])
            return
        for animation, end in frames:
            await self._sabotage.before_frame(self._socket, self._transport, end=end)
            frame = self._record(req_id, animation, end)
            for spoilt in self._sabotage.spoil(frame):
                await self._send(spoilt)

    async def _send_together(self, messages: list[bytes]) -> None:
        """Write all but the last in one system call; with the last, wait for the peer."""
        *others, last = messages
        if others and not self._transport.is_closing():
            self._transport.write(framed(others))
        await self._in_time(self._socket.send_bytes(last))

    def _record(self, req_id: str, animation: bytes, end: bool) -> AnimationFrame:  # noqa: FBT001
        """Record a frame that is about to be sent, and return it."""
        self._requests.frame(req_id, end=end)
        self._counters.frames_sent += 1
        if end:
            self._counters.requests_open -= 1
        return self._frame(req_id, animation, end=end)

    async def _interrupt(self, req_id: str) -> None:
        is_open = req_id in self._requests
        try:
            is_owed = self._requests.interrupt(req_id)
        except RequestRefused as refusal:
            await self._fail(req_id, refusals.INVALID_ARGUMENT, str(refusal))
            return
        if not is_owed:
            return
        if is_open:
            self._counters.requests_open -= 1
            self._counters.requests_interrupted += 1
            self._drop(req_id)
        await self._send(self._frame(req_id, b"", end=True))

    async def _fail(self, req_id: str, code: int, message: str) -> None:
        """Give a request up, and say so: no frame of it follows."""
        if req_id in self._requests:
            self._requests.fail(req_id)
            self._counters.requests_open -= 1
            self._counters.requests_failed += 1
            self._drop(req_id)
        shown = req_id[: self._limits.max_request_id_bytes]
        await self._send(ServerError(code, message, self.connection_id, shown))

    def _frame(self, req_id: str, animation: bytes, *, end: bool) -> AnimationFrame:
        return AnimationFrame(req_id, end, animation, self.connection_id, self._avatar_id)

    def _drop(self, req_id: str) -> None:
        """Forget a request's generation, and stop it unless it is the caller."""
        _, task = self._generations.pop(req_id, (None, None))
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        self._audio_taken.set()


def _first(overs: BaseExceptionGroup[SessionOver]) -> Ending | None:
    first = overs.exceptions[0]
    assert isinstance(first, SessionOver)
    return first.ending
