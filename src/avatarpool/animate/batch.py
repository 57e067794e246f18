"""Many clips through one pool at the same time."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import BinaryIO

from avatarpool.animate.animation import SAMPLE_RATE, Animation, Tick, request_animation
from avatarpool.animate.clips import Clip, naming
from avatarpool.audio import read_audio
from avatarpool.exceptions import AvatarPoolError, AvatarSDKError
from avatarpool.pool import AvatarConnectionPool
from avatarpool.protocol.keyframes import FRAMES_PER_SECOND

Write = Callable[[Animation, BinaryIO, Tick], None]
"""Writes an animation; blocks, and calls the tick after each message or keyframe."""

_ATTEMPTS = 3  # at a request that fails in a way that may pass
_FRAME_BYTES = 2 * SAMPLE_RATE // FRAMES_PER_SECOND


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
        on_progress: Called with the clips that are over and the parts of those
            under way, also from threads.

    Attributes:
        animated: The clips whose output is there, as they finished.
        failed: The others, each with its reason.
    """

    def __init__(
        self,
        pool: AvatarConnectionPool,
        write: Write,
        patience: float,
        on_progress: Callable[[float], object],
    ) -> None:
        self._pool = pool
        self._write = write
        self._patience = patience
        self._on_progress = on_progress
        self._parts: dict[Clip, float] = {}  # of each clip under way, what is done: up to 1
        self._is_stopping = threading.Event()
        self._writing = asyncio.Lock()  # in Python, two threads are no faster than one
        self.animated: list[Clip] = []
        self.failed: list[tuple[Clip, Exception]] = []

    async def run(self, clips: Iterable[Clip], workers: int) -> None:
        """Animate the clips, so many at the same time.

        A clip that fails stops no other one. Cancelling ends those under way and
        leaves no half output.

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
        for clip in waiting:
            self._parts[clip] = 0.0
            try:
                await self._animate(clip)
            except NoSession:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this clip's
                self.failed.append((clip, error))
            else:
                self.animated.append(clip)
            finally:
                del self._parts[clip]
            self._tell()

    async def _animate(self, clip: Clip) -> None:
        with clip.writing() as file:  # before anything is asked for: it may not be allowed
            pcm = await _reading(clip.source)
            # Half of a clip's progress is to have it animated, the other half to write it.
            animation = await self._request(clip, pcm)
            tick = self._ticking(clip, 0.5, len(animation.frames))
            async with self._writing:
                await self._in_thread(lambda: self._write(animation, file, tick))

    async def _request(self, clip: Clip, pcm: bytes) -> Animation:
        attempt = 1
        while True:
            async with AsyncExitStack() as stack:
                try:
                    conn = await stack.enter_async_context(self._pool.borrow())
                except AvatarPoolError as error:
                    raise NoSession(error) from error
                tick = self._ticking(clip, 0.0, len(pcm) / _FRAME_BYTES)
                try:
                    return await request_animation(conn, pcm, self._patience, tick)
                except AvatarSDKError as error:
                    if not error.retryable or attempt == _ATTEMPTS:
                        raise
            attempt += 1

    def _ticking(self, clip: Clip, begin: float, steps: float) -> Tick:
        """Make what follows one half of a clip's progress."""
        done = 0

        def tick() -> None:
            nonlocal done
            if self._is_stopping.is_set():
                raise _Stopped
            done += 1
            self._parts[clip] = begin + 0.5 * min(1.0, done / steps)
            self._tell()

        return tick

    def _tell(self) -> None:
        over = len(self.animated) + len(self.failed)
        self._on_progress(over + sum(list(self._parts.values())))

    async def _in_thread(self, work: Callable[[], None]) -> None:
        """Do what blocks; cancelled, stop it and wait until it has."""
        thread = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            await asyncio.shield(thread)
        except asyncio.CancelledError:
            self._is_stopping.set()
            await asyncio.gather(thread, return_exceptions=True)
            raise


def _reading(source: Path) -> asyncio.Future[bytes]:
    """Read speech in a thread that outlives nobody's patience.

    Converting a long recording takes long and cannot be stopped half way: once the
    future is cancelled, nobody waits for the thread, not even the end of the process.
    """
    reading: concurrent.futures.Future[bytes] = concurrent.futures.Future()
    reading.set_running_or_notify_cancel()

    def read() -> None:
        try:
            with naming(source):
                reading.set_result(read_audio(source, sample_rate=SAMPLE_RATE))
        except Exception as error:  # noqa: BLE001 - for whoever awaits it
            reading.set_exception(error)

    threading.Thread(target=read, name=f"reading {source.name}", daemon=True).start()
    return asyncio.wrap_future(reading)
