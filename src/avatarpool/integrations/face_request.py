"""The face of one turn: a request over a session that is borrowed for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from itertools import groupby
from operator import itemgetter
from typing import Protocol

import numpy as np

from avatarpool.audio.resample import Resampler
from avatarpool.audio.samples import Samples, to_mono
from avatarpool.exceptions import AudioError, AvatarPoolError, PoolError
from avatarpool.pool import LentSession, PooledConnection
from avatarpool.pool.receiving import Reception
from avatarpool.protocol.frames import AnimationFrame
from avatarpool.protocol.keyframes import FRAMES_PER_SECOND, count_keyframes
from avatarpool.protocol.refusals import protocol_violation
from avatarpool.untrusted import words

# Audio that may wait for a session, or for the service to take it: over four minutes at
# 16 kHz, 87 s at 48. Where more does, the turn has no face.
_MAX_WAITING_BYTES = 8 * 1024 * 1024

# Of keyframes and messages, what a service may give beyond its audio: one that gives more
# without end would fill the memory.
_MOST_EXTRA = 10 * FRAMES_PER_SECOND

_PIECE_TIMEOUT = 10.0  # seconds until the next audio, or its end: then the session goes back
_STOP_TIMEOUT = 1.0  # seconds for an interrupt to leave; the pool ends what it does not reach


class Answer(Protocol):
    """Who gets what comes of a request; called from the event loop, must not block or raise."""

    def frame(self, frame: AnimationFrame, keyframes: int) -> None:
        """Take a frame as it came, which has so many keyframes."""

    def over(self, error: Exception | None) -> None:
        """Learn, once, that nothing more comes; an error is why that is too early."""


class FaceRequest:
    """A turn's request from its first audio to its last frame.

    It borrows, sends, receives and returns in a task of its own, as fast as the service
    lets it; `push` and `end` wait for nothing.

    Args:
        lend: Borrows its session.
        answer: Who gets what comes of it.
        before: Another request, which returns its session first.

    Attributes:
        task: Its task; when that is done, the session was returned.
    """

    doubt: Exception | None = None  # of a Reception

    def __init__(
        self,
        lend: Callable[[], AbstractAsyncContextManager[PooledConnection]],
        answer: Answer,
        before: FaceRequest | None,
    ) -> None:
        self._lend = lend
        self._answer = answer
        self._before = before
        self._pieces: list[tuple[Samples, int]] = []  # not sent yet, and their rate
        self._waiting_bytes = 0
        self._has_ended = False  # the audio
        self._stirred = asyncio.Event()  # more audio, or the request's end
        self._audio_seconds = 0.0
        self._keyframes = 0
        self._frames = 0
        self._is_over = False
        self._is_stopped = False
        loop = asyncio.get_running_loop()
        self._outcome: asyncio.Future[None] = loop.create_future()
        self.task = loop.create_task(self._run())

    def __repr__(self) -> str:
        return f"<FaceRequest {'over' if self._is_over else f'{self._waiting_bytes} bytes wait'}>"

    def push(self, audio: bytes, sample_rate: int, channels: int) -> None:
        """Take a piece of the turn's audio: whole samples of 16 bits."""
        if self._is_over:
            return
        samples = to_mono(memoryview(audio), "<i2", channels)
        self._pieces.append((samples, sample_rate))
        self._waiting_bytes += samples.nbytes
        self._audio_seconds += len(samples) / sample_rate
        self._stirred.set()
        if self._waiting_bytes > _MAX_WAITING_BYTES:
            self._fail(AudioError(f"over {_MAX_WAITING_BYTES} bytes of audio waited to be sent"))

    def end(self) -> None:
        """The turn's audio is complete."""
        if not (self._is_over or self._has_ended):
            self._has_ended = True
            self._stirred.set()

    def stop(self) -> None:
        """Stop at once: nothing more of it comes, and the service is told."""
        if not self._is_stopped:  # or the telling would be cancelled
            self._is_over = self._is_stopped = True
            self._pieces.clear()
            self.task.cancel()

    # --- its task -------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            if self._before is not None:
                await asyncio.wait([self._before.task])
                self._before = None
            await self._attempt()
        except Exception as failure:  # noqa: BLE001  # the voice goes on, whatever it is
            self._over(_told(failure))

    async def _attempt(self) -> None:
        async with self._lend() as conn:
            conn.deliver_to(self)
            try:
                await self._speak(conn.session)
                await self._outcome
            except AvatarPoolError as failure:
                self._over(failure)  # before the return, which would be another reason
            except asyncio.CancelledError:
                # The service may be told, if it has heard of the request.
                with contextlib.suppress(AvatarPoolError, TimeoutError):
                    async with asyncio.timeout(_STOP_TIMEOUT):
                        await conn.session.interrupt()
                raise

    async def _speak(self, session: LentSession) -> None:
        rate = _ToRate(session.sample_rate)
        while not self._outcome.done():
            is_last = self._has_ended
            waited = self._waiting_bytes
            pieces, self._pieces = self._pieces, []
            # Those of one rate as one: resampling costs by the piece more than by its length.
            audio = b"".join(
                rate.of(np.concatenate([samples for samples, _ in alike]), from_rate)
                for from_rate, alike in groupby(pieces, itemgetter(1))
            )
            if is_last:
                audio += rate.rest()
            if audio or is_last:
                await session.send_audio(audio, is_last)
            self._waiting_bytes -= waited
            if is_last:
                return
            self._stirred.clear()
            if not self._pieces and not self._has_ended:
                await self._more()

    async def _more(self) -> None:
        try:
            async with asyncio.timeout(_PIECE_TIMEOUT):
                await self._stirred.wait()
        except TimeoutError:
            raise AudioError(f"no audio of the turn came for {_PIECE_TIMEOUT:.0f} s") from None

    # --- its end --------------------------------------------------------------------------

    def _over(self, error: Exception | None) -> None:
        if not self._is_over:
            self._is_over = True
            self._pieces.clear()
            self._answer.over(error)

    def _fail(self, error: Exception) -> None:
        self._over(error)
        self.task.cancel()

    # --- Receiver, Reception --------------------------------------------------------------

    def begin(self, req_id: str) -> Reception:
        """The service's request begins; as of a `Receiver`."""
        del req_id
        return self

    def add(self, frame: AnimationFrame) -> Exception | None:
        """Pass a frame on; as of a `Reception`."""
        if self._is_over:
            return None
        try:
            keyframes = count_keyframes(frame.animation)
        except AvatarPoolError as error:
            return error
        self._frames += 1
        self._keyframes += keyframes
        wanted = int(self._audio_seconds * FRAMES_PER_SECOND)
        if max(self._frames, self._keyframes) > wanted + _MOST_EXTRA:
            return protocol_violation(
                f"{self._keyframes} keyframes in {self._frames} messages came where {wanted} do",
                req_id=frame.req_id,
            )
        self._answer.frame(frame, keyframes)
        return None

    def finish(self, error: Exception | None = None) -> None:
        """Learn how the service's request ended; as of a `Reception`."""
        if not self._outcome.done():
            self._over(error or (None if self._frames else self.doubt))
            self._outcome.set_result(None)
            self._stirred.set()


class _ToRate:
    """Makes audio of any rates that of a session."""

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._from_rate = sample_rate
        self._resampler: Resampler | None = None  # of audio that comes at another rate

    def of(self, samples: Samples, sample_rate: int) -> bytes:
        """Return what is certain by now of what came; the rest comes with what follows."""
        before = b""
        if sample_rate != self._from_rate:
            before = self.rest()
            self._from_rate = sample_rate
            if sample_rate != self._sample_rate:
                self._resampler = Resampler(sample_rate, self._sample_rate)
        return before + _pcm(self._resampler.feed(samples) if self._resampler else samples)

    def rest(self) -> bytes:
        """Return what is left of what came."""
        resampler, self._resampler = self._resampler, None
        return b"" if resampler is None else _pcm(resampler.end())


def _pcm(samples: Samples) -> bytes:
    return samples.astype("<i2", copy=False).tobytes()


def _told(failure: Exception) -> AvatarPoolError:
    if isinstance(failure, AvatarPoolError):
        return failure
    error = PoolError(words(failure))
    error.__cause__ = failure
    return error
