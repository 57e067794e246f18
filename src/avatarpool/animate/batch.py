"""Many clips through one pool at the same time."""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import BinaryIO

from avatarpool.animate.animation import Animation, Tick, request_animation
from avatarpool.animate.clips import SAMPLE_RATE, Clip
from avatarpool.exceptions import AvatarPoolError, AvatarSDKError
from avatarpool.pool import AvatarConnectionPool
from avatarpool.protocol.keyframes import FRAMES_PER_SECOND

Write = Callable[[Animation, BinaryIO, Tick], None]
"""Writes an animation; blocks, and calls the tick after each message or keyframe."""

_ATTEMPTS = 3  # at a request that fails in a way that may pass
_FRAME_BYTES = 2 * SAMPLE_RATE // FRAMES_PER_SECOND
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Animated:
    """A clip whose output is there.

    Attributes:
        clip: The clip.
        frames: Its keyframes.
        seconds: How long its speech is.
    """

    clip: Clip
    frames: int
    seconds: float


class NoSession(Exception):
    """The pool lends nothing, which concerns all clips.

    Attributes:
        reason: What it said.
    """

    def __init__(self, reason: AvatarPoolError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class _Stopped(Exception):
    """Ends the work of a thread."""


class Batch:
    """Clips on their way, and what has become of them so far.

    Args:
        pool: Lends the sessions, of `SAMPLE_RATE`; whoever opened it closes it.
        write: Makes each output, in a thread.
        patience: Seconds in which each frame must come.
        on_progress: Called with the number of clips that are over, and with the same
            and the parts of those under way; also from threads.
        writing_share: Of a clip's progress, what its writing is, of 0 to 1; the rest
            is to have it animated.
        stop: Called when the batch is cancelled amid a ``write``, which should end then,
            also where it waits; what it raises counts for nothing.

    Attributes:
        animated: The clips whose output is there, as they finished.
        failed: The others, each with its reason.
    """

    def __init__(
        self,
        pool: AvatarConnectionPool,
        write: Write,
        patience: float,
        on_progress: Callable[[int, float], object],
        *,
        writing_share: float = 0.5,
        stop: Callable[[], object] = lambda: None,
    ) -> None:
        self._pool = pool
        self._write = write
        self._patience = patience
        self._on_progress = on_progress
        self._writing_share = writing_share
        self._stop = stop
        self._parts: dict[Clip, float] = {}  # of each clip under way, what is done: up to 1
        self._is_stopping = threading.Event()
        self._writing = asyncio.Lock()  # in Python, two threads are no faster than one
        self._is_full = False  # the disk; then nothing more is asked for
        self.animated: list[Animated] = []
        self.failed: list[tuple[Clip, Exception]] = []

    async def run(self, clips: Iterable[Clip], workers: int) -> None:
        """Animate the clips, so many at the same time.

        A clip that fails stops no other one, but for a disk that is full: none is begun
        any more. Cancelling ends those under way and leaves no half output.

        Raises:
            NoSession: The pool lends none.
        """
        waiting = iter(clips)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(self._work(waiting))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _work(self, waiting: Iterator[Clip]) -> None:
        while not self._is_full and (clip := next(waiting, None)) is not None:
            self._parts[clip] = 0.0
            try:
                self.animated.append(await self._animate(clip))
            except NoSession:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this clip's
                self.failed.append((clip, error))
                self._is_full |= isinstance(error, OSError) and error.errno in _FULL
            finally:
                del self._parts[clip]
            self._tell()

    async def _animate(self, clip: Clip) -> Animated:
        with clip.writing() as file:  # before anything is asked for: it may not be allowed
            animation = await self._request(clip, *await _reading(clip))
            animation = replace(animation, name=str(clip.source))
            share = self._writing_share
            tick = self._ticking(clip, 1 - share, share, len(animation.frames))

            def write() -> int:
                self._write(animation, file, tick)
                return sum(1 for _ in animation.keyframes())

            async with self._writing:
                count = await self._in_thread(write)
        return Animated(clip, count, animation.seconds)

    async def _request(self, clip: Clip, pcm: bytes, mark: str) -> Animation:
        share = 1 - self._writing_share
        attempt = 1
        while True:
            async with AsyncExitStack() as stack:
                try:
                    conn = await stack.enter_async_context(self._pool.borrow())
                except AvatarPoolError as error:
                    raise NoSession(error) from error
                tick = self._ticking(clip, 0.0, share, len(pcm) / _FRAME_BYTES)
                try:
                    return await request_animation(conn, pcm, mark, self._patience, tick)
                except AvatarSDKError as error:
                    if not error.retryable or attempt == _ATTEMPTS:
                        raise
            attempt += 1

    def _ticking(self, clip: Clip, begin: float, share: float, steps: float) -> Tick:
        """Make what follows one share of a clip's progress."""
        done = 0

        def tick() -> None:
            nonlocal done
            if self._is_stopping.is_set():
                raise _Stopped
            done += 1
            self._parts[clip] = begin + share * min(1.0, done / steps)
            self._tell()

        return tick

    def _tell(self) -> None:
        over = len(self.animated) + len(self.failed)
        self._on_progress(over, over + sum(list(self._parts.values())))

    async def _in_thread(self, work: Callable[[], int]) -> int:
        """Do what blocks; cancelled, stop it and wait until it has."""
        thread = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            return await asyncio.shield(thread)
        except asyncio.CancelledError:
            self._is_stopping.set()
            self._stop()
            await asyncio.gather(thread, return_exceptions=True)
            raise


def _reading(clip: Clip) -> asyncio.Future[tuple[bytes, str]]:
    """Read speech in a thread that outlives nobody's patience.

    Converting a long recording takes long and cannot be stopped half way: once the
    future is cancelled, nobody waits for the thread, not even the end of the process.
    """
    reading: concurrent.futures.Future[tuple[bytes, str]] = concurrent.futures.Future()
    reading.set_running_or_notify_cancel()

    def read() -> None:
        try:
            reading.set_result(clip.read())
        except Exception as error:  # noqa: BLE001 - for whoever awaits it
            if isinstance(error, OSError) and error.filename is None and error.errno is not None:
                error.filename = str(clip.source)  # an error amid the reading names none
            reading.set_exception(error)

    threading.Thread(target=read, name=f"reading {clip.source.name}", daemon=True).start()
    return asyncio.wrap_future(reading)
