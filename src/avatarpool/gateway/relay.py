"""One request through the gateway: a client's audio up, the service's frames down."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from math import inf
from typing import Protocol

from avatarpool.endpoint import refusals
from avatarpool.exceptions import AvatarPoolError, AvatarSDKError, RequestTimeout
from avatarpool.gateway import failures
from avatarpool.gateway.failures import Failure
from avatarpool.gateway.writing import Onward
from avatarpool.pool import PooledConnection
from avatarpool.pool.borrowing import LentSession
from avatarpool.pool.receiving import Reception
from avatarpool.protocol.messages import AnimationFrame

log = logging.getLogger("avatarpool.gateway")

# Audio that waits for its session, or for the service to take it: half a minute at 16 kHz.
# A client that sends more is not read from meanwhile.
MAX_WAITING_BYTES = 1024 * 1024

# What is kept of a request that may be sent again.
MAX_KEPT_BYTES = 4 * 1024 * 1024

LATE_SECONDS = 60.0
"""Seconds that audio may take to come beyond those that it may last."""

_FRAME_SECONDS = 0.04

_STOP_TIMEOUT = 1.0  # seconds for an interrupt to leave; the pool ends what it does not reach

Lend = Callable[[float], AbstractAsyncContextManager[PooledConnection]]
"""Lends a session within so many seconds."""


class Answer(Protocol):
    """Who gets what comes of one request; called from the event loop, must not block or raise."""

    @property
    def onward(self) -> Onward | None:
        """Sends on what is like the last frame, but for its animation; None: it wants frames."""

    def frame(self, frame: AnimationFrame) -> None:
        """Take a frame as it came: its ids are the service's."""

    def room(self) -> None:
        """There is room for more audio again."""

    def over(self, failure: Failure | None) -> None:
        """Learn, once, that nothing more comes; None: after its last frame, or an interrupt."""


class Turn(Protocol):
    """When a request may have a session."""

    async def come(self) -> None:
        """Wait for it; cancelling gives it up."""

    def charge(self, audio_seconds: float) -> None:
        """Note what the request has come to so far."""

    def end(self, audio_seconds: float) -> None:
        """Let the next one have its turn."""


class Limits(Protocol):
    """What one request may take."""

    @property
    def queue_timeout(self) -> float:
        """Seconds to wait for a session."""

    @property
    def first_frame_timeout(self) -> float:
        """Seconds from the last audio to the first frame."""

    @property
    def request_timeout(self) -> float:
        """Seconds from the last audio, or from a client's reading on, to the last frame.

        As many may pass between two pieces of audio.
        """

    @property
    def max_audio_seconds(self) -> float:
        """Seconds of audio."""


class Relay:
    """A request from its first audio to its end.

    Args:
        lend: Where its session comes from.
        turn: When it may have one.
        answer: Who gets what comes of it.
        limits: What it may take.
        bytes_per_second: Of its audio; 0: it is compressed, and only its frames tell.
        is_resent: Whether it is sent again, once, if its session is lost before any frame.
        ended: Called once with its seconds of audio and what it failed of.

    Attributes:
        is_over: Whether its answer was told of its end.
        was_resent: Whether it was sent again.
        had_turn: Whether it was its turn to have a session.
        upstream_id: What the service knows it by, once it does.
    """

    __slots__ = (
        "_alarm",
        "_answer",
        "_audio_bytes",
        "_audio_due",
        "_bytes_per_second",
        "_ended",
        "_frames",
        "_has_ended",
        "_is_interrupted",
        "_is_paused",
        "_kept",
        "_kept_bytes",
        "_lend",
        "_limits",
        "_loop",
        "_odd",
        "_onward",
        "_outcome",
        "_pieces",
        "_session",
        "_stirred",
        "_turn",
        "_waiting_bytes",
        "doubt",
        "had_turn",
        "is_over",
        "task",
        "upstream_id",
        "was_resent",
    )

    def __init__(
        self,
        lend: Lend,
        turn: Turn,
        answer: Answer,
        limits: Limits,
        *,
        bytes_per_second: int,
        is_resent: bool,
        ended: Callable[[Relay, Failure | None], object],
    ) -> None:
        self._lend = lend
        self._turn = turn
        self._answer = answer
        self._limits = limits
        self._bytes_per_second = bytes_per_second
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._pieces: deque[tuple[bytes, bool]] = deque()  # not sent yet
        self._kept: list[tuple[bytes, bool]] | None = [] if is_resent else None  # that were
        self._kept_bytes = 0
        self._odd = b""  # half a sample, whose other half comes with the next piece
        self._audio_bytes = 0
        self._waiting_bytes = 0
        self._onward = answer.onward
        self._frames = 0  # that were read
        self._stirred = asyncio.Event()  # more audio, or the request's end
        self._outcome: asyncio.Future[Exception | None]  # of the present attempt
        self.doubt: Exception | None = None  # as of a `Reception`
        self.upstream_id = ""
        self._session: LentSession | None = None
        self._audio_due = inf  # by when the last audio must be there, from the first session on
        self._alarm: asyncio.TimerHandle | None = None  # once all audio is sent
        self._is_paused = False
        self._is_interrupted = False
        self._has_ended = False  # the audio
        self.is_over = False
        self.was_resent = False
        self.had_turn = False
        self.task = self._loop.create_task(self._run())
        self.task.add_done_callback(self._done)

    def __repr__(self) -> str:
        return f"<Relay {self.seconds:.1f} s {self.frames} frames>"

    @property
    def seconds(self) -> float:
        """Of its audio, as far as it is known."""
        if self._bytes_per_second:
            return self._audio_bytes / self._bytes_per_second
        return self.frames * _FRAME_SECONDS

    @property
    def frames(self) -> int:
        """That came so far."""
        return self._frames + (0 if self._onward is None else self._onward.frames)

    @property
    def waiting_bytes(self) -> int:
        """Of audio that is held here."""
        return self._waiting_bytes + self._kept_bytes

    # --- asked by the client --------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """Whether no more audio is to come until `Answer.room`."""
        return self._waiting_bytes > MAX_WAITING_BYTES

    def push(self, audio: bytes, *, end: bool) -> None:
        """Take a piece of the request's audio."""
        if self.is_over:
            return
        self._audio_bytes += len(audio)
        if end and not self._audio_bytes:  # nothing to animate, and no session needed for it
            self._answer.frame(AnimationFrame("", end=True))
            self.interrupt()
            return
        if self._bytes_per_second:
            audio = self._whole_samples(audio)
        if self.seconds > self._limits.max_audio_seconds:
            self.give_up(failures.audio_too_long(self._limits.max_audio_seconds))
        elif end and self._odd:
            self.give_up(failures.invalid(refusals.ODD_AUDIO))
        elif audio or end:
            self._pieces.append((audio, end))
            self._waiting_bytes += len(audio)
            self._turn.charge(self.seconds)
            self._stirred.set()

    def _whole_samples(self, audio: bytes) -> bytes:
        """Cut PCM at a sample's end, wherever its client has cut it."""
        if self._odd or len(audio) % 2:
            audio = self._odd + audio
            self._odd = audio[-1:] if len(audio) % 2 else b""
            audio = audio[: len(audio) & ~1]
        return audio

    def interrupt(self) -> None:
        """Stop at once: nothing more of it comes, and the service is told."""
        if not self.is_over:
            self._is_interrupted = True
            self._over(None)
        self.task.cancel()

    def give_up(self, failure: Failure) -> None:
        """End it for a reason of the gateway's own."""
        self._over(failure)
        self._is_interrupted = True
        self.task.cancel()

    def pause(self) -> None:
        """Read no more frames: the client is slower than they come."""
        if not self._is_paused:
            self._is_paused = True
            self._disarm()
            if self._session is not None:
                self._session.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._is_paused:
            self._is_paused = False
            if self._session is not None:
                self._session.resume_reading()
                if self._has_ended:
                    self._arm()

    # --- its task -------------------------------------------------------------------------

    async def _run(self) -> None:
        failure: Failure | None = None
        try:
            failure = await self._serve()
        except Exception as error:
            failure = failures.of(error)
            if failure is failures.INTERNAL:
                log.exception("a request failed in the gateway")
        if failure is not None:
            self._over(failure)

    def _done(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            self._over(failures.CLOSING)  # unless it was interrupted
        self._disarm()

    async def _serve(self) -> Failure | None:
        deadline = self._loop.time() + self._limits.queue_timeout
        try:
            async with asyncio.timeout_at(deadline):
                await self._turn.come()
        except TimeoutError:
            return failures.waited_too_long(self._limits.queue_timeout)
        self.had_turn = True
        try:
            while True:
                failure = await self._attempt(deadline)
                if not self._may_send_again(failure):
                    return failures.of(failure) if failure is not None else None
                log.info("a request whose session was lost is sent again: %s", failure)
        finally:
            self._turn.end(self.seconds)

    async def _attempt(self, deadline: float) -> Exception | None:
        """Send all audio, and wait for the end; return what the request failed of."""
        self._outcome = self._loop.create_future()
        async with self._lend(max(0.0, deadline - self._loop.time())) as conn:
            conn.deliver_to(self)
            self._session = conn.session
            late = self._limits.max_audio_seconds + LATE_SECONDS
            self._audio_due = min(self._audio_due, self._loop.time() + late)
            try:
                if self._is_paused:
                    self._session.pause_reading()
                await self._speak(self._session)
                return await self._outcome
            except AvatarSDKError as error:
                return error
            except asyncio.CancelledError:
                if self._is_interrupted:
                    await self._stop(self._session)
                raise
            finally:
                self._session = None
                self._disarm()

    async def _stop(self, session: LentSession) -> None:
        """Tell the service, if it has heard of the request; or else nothing is to be stopped."""
        with contextlib.suppress(AvatarPoolError, TimeoutError):
            async with asyncio.timeout(_STOP_TIMEOUT):
                await session.interrupt()

    async def _speak(self, session: LentSession) -> None:
        while not (self._outcome.done() or self._has_ended):
            while self._pieces and not self._outcome.done():
                audio, end = self._pieces.popleft()
                self._keep(audio, end=end)
                try:
                    await session.send_audio(audio, end)
                finally:
                    self._taken(len(audio))
                if end:
                    self._has_ended = True
                    self._arm()
                    return
            self._stirred.clear()
            if not self._outcome.done():
                await self._more()

    async def _more(self) -> None:
        """Wait for more audio: a client that stops, or dribbles, keeps a session from others."""
        seconds, now = self._limits.request_timeout, self._loop.time()
        try:
            async with asyncio.timeout_at(min(now + seconds, self._audio_due)):
                await self._stirred.wait()
        except TimeoutError:
            late = self._limits.max_audio_seconds + LATE_SECONDS
            is_late = self._audio_due < now + seconds
            self.give_up(failures.audio_late(late) if is_late else failures.audio_stopped(seconds))
            await asyncio.sleep(0)  # where that cancels it

    def _taken(self, size: int) -> None:
        was_full = self.is_full
        self._waiting_bytes -= size
        if was_full and not self.is_full and not self.is_over:
            self._answer.room()

    def _keep(self, audio: bytes, *, end: bool) -> None:
        if self._kept is not None:
            self._kept.append((audio, end))
            self._kept_bytes += len(audio)
            if self._kept_bytes > MAX_KEPT_BYTES:
                self._forget()

    def _forget(self) -> None:
        """Keep nothing: the request is not sent again."""
        self._kept, self._kept_bytes = None, 0

    def _may_send_again(self, failure: Exception | None) -> bool:
        """Whether a lost request is sent again; then all of its audio waits once more."""
        if self._kept is None or self.is_over:
            return False
        if not failures.is_loss(failure):
            return False
        self.was_resent = True
        self._waiting_bytes += self._kept_bytes
        self._pieces.extendleft(reversed(self._kept))
        self._forget()
        self._has_ended = False
        return True

    # --- its end --------------------------------------------------------------------------

    def _arm(self) -> None:
        """Give the service its time, from now on."""
        self._disarm()
        if self._is_paused:
            return
        limits = self._limits
        seconds = limits.request_timeout if self._frames else limits.first_frame_timeout
        self._alarm = self._loop.call_later(seconds, self._took_too_long, seconds)

    def _disarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _took_too_long(self, seconds: float) -> None:
        awaited = "last frame" if self._frames else "first frame"
        self.finish(self.doubt or RequestTimeout("?", seconds, self.frames, awaited))

    def _over(self, failure: Failure | None) -> None:
        if self.is_over:
            return
        self.is_over = True
        if self._onward is not None:
            self._onward.end()
        self._ended(self, failure)
        self._answer.over(failure)

    # --- Receiver, Reception --------------------------------------------------------------

    def begin(self, req_id: str) -> Reception:
        """The service's request begins; as of a `Receiver`."""
        self.upstream_id = req_id
        self.doubt = None
        return self

    def add(self, frame: AnimationFrame) -> Exception | None:
        """Pass a frame on; as of a `Reception`."""
        if self.is_over or self._outcome.done():
            return None
        self._frames += 1
        self._forget()
        if self._frames == 1 and self._has_ended:
            self._arm()
        self._answer.frame(frame)
        if self._onward is not None and self._session is not None:
            self._session.forward(frame, self._onward)
        return None

    def finish(self, error: Exception | None = None) -> None:
        """Learn how the service's request ended; as of a `Reception`."""
        if self._outcome.done():
            return
        if self._onward is not None:
            self._onward.end()
        if error is None:
            self._over(None)
        self._outcome.set_result(error)
        self._stirred.set()
