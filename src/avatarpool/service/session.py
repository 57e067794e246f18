"""One connection of the service: what its conversation asks for, done over its socket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from avatarpool.endpoint import refusals
from avatarpool.endpoint.accounts import Account
from avatarpool.endpoint.conversation import (
    Audio,
    Configured,
    Conversation,
    Event,
    Over,
    Say,
    Stopped,
)
from avatarpool.endpoint.limits import ServiceLimits
from avatarpool.endpoint.refusals import Ending
from avatarpool.endpoint.scanner import Violation
from avatarpool.endpoint.socket import ServerSocket, SessionOver
from avatarpool.lipsync import DriverFactory
from avatarpool.protocol.settings import DEFAULT_SAMPLE_RATE, AudioFormat
from avatarpool.protocol.texts import shown
from avatarpool.service.decoding import AudioRefused, Decoder, PcmDecoder
from avatarpool.service.generation import (
    STEP_MS,
    CreditsExhausted,
    Generation,
    Pipeline,
)
from avatarpool.service.opus import OpusDecoder
from avatarpool.service.workers import Workers

log = logging.getLogger("avatarpool.service")

_OPUS_PIECE_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Workshop:
    """What all sessions of a service share.

    Attributes:
        limits: The service's limits.
        workers: Where audio is decoded and animated.
        driver: Makes the driver of a request, in a worker.
        seed: Given to every driver.
    """

    limits: ServiceLimits
    workers: Workers
    driver: DriverFactory
    seed: int


class ServedSession:
    """Serves one upgraded WebSocket until either side has had enough.

    Args:
        socket: The upgraded WebSocket.
        conversation: Decides what everything means.
        account: Pays for what is animated.
        workshop: What all sessions share.
    """

    def __init__(
        self,
        socket: ServerSocket,
        conversation: Conversation,
        account: Account,
        workshop: Workshop,
    ) -> None:
        self.is_closed = asyncio.Event()
        self._socket = socket
        self._conversation = conversation
        self._account = account
        self._workshop = workshop
        self._loop = asyncio.get_running_loop()
        self._generations: dict[str, tuple[Generation, asyncio.Task[None]]] = {}
        self._group = asyncio.TaskGroup()
        self._audio_taken = asyncio.Event()  # a generation's buffer has shrunk
        self._ending: Over | None = None  # told from outside
        self._stir = asyncio.Event()  # set with it, and when the deadline is another
        # Of its configuration, which may have thousands of parameters.
        self._audio_format = AudioFormat.PCM_S16LE
        self._sample_rate = DEFAULT_SAMPLE_RATE
        self._waiting_bytes = 0  # of audio for which there is no room yet

    def __repr__(self) -> str:
        return f"<ServedSession {self._conversation!r}>"

    def end(self, ending: Ending) -> None:
        """Have the session end like this, soon."""
        self._ending = Over(ending)
        self._stir.set()

    @property
    def is_ending(self) -> bool:
        """Whether it was told to end."""
        return self._ending is not None

    def end_greedy(self) -> None:
        """End a session that holds too much, and take nothing more of it."""
        self._socket.reading.stop()
        self.end(refusals.SHORT_OF_MEMORY)

    @property
    def held_bytes(self) -> int:
        """What has come and is not dealt with."""
        return self._socket.reading.unread_bytes + self._waiting_bytes + self._buffered_bytes

    async def run(self) -> None:
        """Serve until the end; cancelling cuts the connection."""
        try:
            await self._socket.close(await self._serve())
        finally:
            self._socket.cut()
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
            log.exception("session %s failed", self._conversation.connection_id)
            ending = refusals.INTERNAL_ERROR
        finally:
            self._conversation.end()
        return ending

    async def _await_ending(self) -> None:
        """Raise `SessionOver` once `end` was called, or the time of something is over."""
        over = self._ending
        while over is None:
            deadline = self._conversation.deadline
            try:
                async with asyncio.timeout_at(deadline):
                    await self._stir.wait()
            except TimeoutError:
                # uvloop counts whole milliseconds, so that it may be a bit early.
                now = max(self._loop.time(), deadline)
                over = self._conversation.expire(now, is_busy=self._buffered_bytes > 0)
            else:
                self._stir.clear()
                over = self._ending
        raise SessionOver(over.ending)

    async def _converse(self) -> None:
        while True:
            try:
                data = await self._socket.receive()
            except Violation as violation:
                raise SessionOver(self._ending_for(violation)) from violation
            await self._do(self._conversation.receive(data, self._loop.time()))

    def _ending_for(self, violation: Violation) -> Ending:
        is_too_large = violation.ending.close_code == refusals.MESSAGE_TOO_BIG
        if is_too_large and not self._conversation.is_open:
            limit = self._workshop.limits.max_configuration_bytes
            return refusals.configuration_too_large(limit)
        return violation.ending

    async def _do(self, events: Iterable[Event]) -> None:
        for event in events:
            match event:
                case Audio():
                    await self._take(event)
                case Say(message):
                    await self._socket.send(message)
                case Stopped(req_id):
                    self._drop(req_id)
                case Configured(configuration):
                    self._audio_format = configuration.audio_format
                    self._sample_rate = configuration.sample_rate
                    if self._socket.is_held_up:  # who is kept waiting may hang up
                        self._group.create_task(self._confirm())
                    else:
                        await self._confirm()
                case Over(ending):
                    raise SessionOver(ending)

    async def _confirm(self) -> None:
        await self._socket.ready()
        conversation = self._conversation
        opened = conversation.confirm(self._loop.time())
        if conversation.is_open:
            self._socket.reading.scanner.max_message_bytes = self._workshop.limits.max_message_bytes
        await self._do(opened)
        self._stir.set()
        log.info(
            "session %s opened for avatar %s", conversation.connection_id, conversation.avatar_id
        )

    # --- requests ------------------------------------------------------------------------

    async def _take(self, event: Audio) -> None:
        # Waiting here, before anything more is read, lets an interrupt overtake audio that
        # waits to be animated.
        self._waiting_bytes = len(event.audio)
        while self._buffered_bytes > self._workshop.limits.max_buffered_bytes:
            self._audio_taken.clear()
            await self._audio_taken.wait()
        self._waiting_bytes = 0
        req_id = event.req_id
        if event.is_first:
            self._begin(req_id)
        held = self._generations.get(req_id)
        if held is None:
            return  # given up meanwhile, or its generation is just ending the session
        generation, _ = held
        generation.push(event.audio, end=event.end)

    @property
    def _buffered_bytes(self) -> int:
        return sum(generation.buffered_bytes for generation, _ in self._generations.values())

    def _begin(self, req_id: str) -> None:
        workshop = self._workshop
        decoder: Decoder
        if self._audio_format is AudioFormat.OGG_OPUS:
            decoder, piece_bytes = OpusDecoder(), _OPUS_PIECE_BYTES
        else:
            decoder = PcmDecoder(self._sample_rate)
            piece_bytes = 2 * self._sample_rate * STEP_MS // 1000
        make_driver = partial(workshop.driver, decoder.sample_rate, workshop.seed)
        generation = Generation(
            Pipeline(decoder, make_driver, workshop.limits.max_request_seconds),
            workshop.workers,
            self._account,
            self._audio_taken,
            piece_bytes & ~1,
        )
        task = self._group.create_task(self._generate(req_id, generation))
        self._generations[req_id] = generation, task

    async def _generate(self, req_id: str, generation: Generation) -> None:
        conversation = self._conversation
        try:
            async with aclosing(generation.steps()) as steps:
                async for animations, is_done in steps:
                    ends = [False] * (len(animations) - 1) + [is_done]
                    await self._socket.send_frames(
                        list(zip(animations, ends, strict=True)),
                        lambda animation, end: conversation.frame(req_id, animation, end=end),
                    )
        except SessionOver:
            raise
        except CreditsExhausted:
            raise SessionOver(refusals.CREDITS_EXHAUSTED) from None
        except AudioRefused as refusal:
            await self._do(conversation.fail(req_id, refusals.INVALID_ARGUMENT, str(refusal)))
        except Exception:
            log.exception(
                "session %s: request %s failed", conversation.connection_id, shown(req_id)
            )
            why = "the request could not be animated"
            await self._do(conversation.fail(req_id, refusals.INTERNAL, why))
        finally:
            self._drop(req_id)

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
