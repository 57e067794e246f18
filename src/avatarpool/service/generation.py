"""One request's work: audio in, animations out, a bounded step at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from functools import partial

from avatarpool.endpoint import refusals
from avatarpool.endpoint.accounts import Account
from avatarpool.lipsync import Driver
from avatarpool.protocol.keyframes import Keyframe, encode_keyframes
from avatarpool.service.decoding import AudioRefused, Decoder
from avatarpool.service.workers import Workers

# Enough for the trained driver's first keyframe, with its lookahead; short, as
# requests take turns after each step.
STEP_MS = 160


class CreditsExhausted(Exception):
    """The account has no audio left to animate."""


@dataclass(frozen=True, slots=True)
class Output:
    """What one step of a `Pipeline` gave.

    Attributes:
        animations: Serialised keyframes, one each.
        is_hungry: Whether nothing more comes before more audio is pushed.
        is_done: Whether that was all there will be.
    """

    animations: list[bytes]
    is_hungry: bool
    is_done: bool


class Pipeline:
    """Decoder and driver of one request; runs in a worker, knows no event loop.

    Args:
        decoder: For the session's audio format.
        make_driver: Makes one for the decoder's sample rate, when audio is first
            taken: it may take long, or fail.
        max_seconds: Audio that one request may have.
    """

    def __init__(
        self, decoder: Decoder, make_driver: Callable[[], Driver], max_seconds: float
    ) -> None:
        self._decoder = decoder
        self._make_driver = make_driver
        self._driver: Driver | None = None
        self._rate = decoder.sample_rate
        self._max_seconds = max_seconds
        self._has_ended = False

    @property
    def seconds(self) -> float:
        """Audio that was decoded so far, whatever became of it."""
        return self._decoder.decoded_samples / self._rate

    def step(self, data: bytes, *, end: bool) -> Output:
        """Take a piece of audio and animate a step of it.

        Raises:
            AudioRefused: The audio is too long, or not what it should be.
        """
        if self._driver is None:
            self._driver = self._make_driver()
        if data:
            self._decoder.push(data)
        if end and not self._has_ended:
            self._has_ended = True
            self._decoder.finish()
        pcm = self._decoder.pull(self._rate * STEP_MS // 1000)
        if self.seconds > self._max_seconds:
            raise AudioRefused(refusals.audio_too_long(self._max_seconds))
        keyframes = self._driver.feed(pcm) if pcm else []
        is_hungry = self._decoder.is_drained
        is_done = is_hungry and self._has_ended
        if is_done:
            keyframes += self._driver.finish()
        return Output(_encoded(keyframes), is_hungry, is_done)


def _encoded(keyframes: list[Keyframe]) -> list[bytes]:
    return [encode_keyframes((keyframe,)) for keyframe in keyframes]


class Generation:
    """Animates one request in a worker pool, one step at a time.

    At most one step of a request waits for a worker: so every request moves on
    by a step before any moves on by another.

    Args:
        pipeline: Does the work.
        workers: Where it is done.
        account: Pays for it.
        audio_taken: Set whenever less audio waits than before.
        piece_bytes: Audio that one step is given.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        workers: Workers,
        account: Account,
        audio_taken: asyncio.Event,
        piece_bytes: int,
    ) -> None:
        self._pipeline = pipeline
        self._workers = workers
        self._account = account
        self._audio_taken = audio_taken
        self._piece_bytes = piece_bytes
        self._buffer = bytearray()
        self._has_ended = False
        self._wake = asyncio.Event()  # audio, or its end, has come
        self._loop = asyncio.get_running_loop()
        self.seconds = 0.0  # of audio, charged

    @property
    def buffered_bytes(self) -> int:
        """Audio that waits to be animated."""
        return len(self._buffer)

    def push(self, audio: bytes, *, end: bool) -> None:
        """Take a message's audio."""
        self._buffer += audio
        self._has_ended = self._has_ended or end
        self._wake.set()

    async def steps(self) -> AsyncGenerator[tuple[list[bytes], bool], None]:
        """Yield ``(animations, is_done)``; the last step has an animation at least.

        It is empty if there is nothing left to show, as for a request without
        any audio. Whoever takes the steps sets the pace: the next one begins
        when the one before was taken.

        Raises:
            AudioRefused: The audio is at fault.
            CreditsExhausted: The account ran out of credits.
        """
        is_hungry, is_first = True, True
        while True:
            data, end = b"", False
            if is_hungry:
                data, end = await self._piece()
            if not self._account.has_credits and (data or not is_hungry):
                raise CreditsExhausted
            work = partial(self._step, data, end=end)
            step = await self._workers.run(work, is_first=is_first)
            is_hungry = step.is_hungry
            if step.is_done:
                yield step.animations or [b""], True
                return
            if step.animations:
                is_first = False
                yield step.animations, False

    def _step(self, data: bytes, *, end: bool) -> Output:
        """Run in a worker; have the work charged, be it refused or awaited by nobody any more."""
        try:
            return self._pipeline.step(data, end=end)
        finally:
            self._loop.call_soon_threadsafe(self._charge)

    def _charge(self) -> None:
        seconds = self._pipeline.seconds
        self._account.charge(seconds - self.seconds)
        self.seconds = seconds

    async def _piece(self) -> tuple[bytes, bool]:
        while not self._buffer and not self._has_ended:
            self._wake.clear()
            await self._wake.wait()
        piece = bytes(self._buffer[: self._piece_bytes])
        del self._buffer[: self._piece_bytes]
        self._audio_taken.set()
        return piece, self._has_ended and not self._buffer
