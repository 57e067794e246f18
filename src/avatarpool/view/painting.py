"""Portraits by all cores (the extra ``render``).

Painting holds Python's lock and takes long, so that processes do it. Each has a
pipe of its own and gets every so-manieth pose: portraits take about the same time,
and come back in order without any bookkeeping.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Self

from PIL import Image

from avatarpool.view.face import Pose
from avatarpool.view.portrait import WIDTH, portrait

_AHEAD = 2  # poses that a process has at most: one to paint and one that waits for it


@dataclass(frozen=True, slots=True)
class _Painter:
    """A process that paints, and our end of its pipe."""

    process: SpawnProcess
    pipe: Connection


class Painters:
    """Processes that paint portraits; a context manager that ends them.

    They start with the first portrait. Signals from a terminal do not reach them;
    they end with the process that they paint for, however that ends.

    Args:
        count: How many; one for each core that this process may use, if left out.
    """

    def __init__(self, count: int | None = None) -> None:
        self._count = count or _cores()
        self._painters: list[_Painter] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def paint(self, poses: Iterable[Pose], width: int = WIDTH) -> Generator[Image.Image]:
        """Paint one portrait after another, in order; close it to stop amid them.

        Poses are taken as they are painted, a few ahead for each process. One call
        at a time.

        Raises:
            ChildProcessError: A process was killed. The next call starts others.
        """
        waiting: deque[_Painter] = deque()
        try:
            if not self._painters:
                self._start()
            for number, pose in enumerate(poses):
                if len(waiting) == _AHEAD * self._count:
                    yield _take(waiting.popleft())
                painter = self._painters[number % self._count]
                _give(painter, pose, width)
                waiting.append(painter)
            while waiting:
                yield _take(waiting.popleft())
        except BaseException:
            self.close()  # at once, with what they are at
            raise

    def kill(self) -> None:
        """Have a `paint` that another thread waits for fail at once."""
        for painter in list(self._painters):
            with suppress(ValueError):  # closed meanwhile
                painter.process.kill()

    def close(self) -> None:
        """End the processes at once."""
        painters, self._painters = self._painters, []
        for painter in painters:
            painter.process.kill()  # they have nothing to clean up
        for painter in painters:
            painter.process.join()
            painter.process.close()
            painter.pipe.close()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads hold
        if os.name == "posix":  # before signals are held: it lets them through as it starts
            resource_tracker.ensure_running()
        with _signals_held():
            for number in range(self._count):
                ours, theirs = context.Pipe()
                with theirs:
                    process = context.Process(
                        target=_paint, args=(theirs,), name=f"painter {number}", daemon=True
                    )
                    process.start()
                self._painters.append(_Painter(process, ours))


def _give(painter: _Painter, pose: Pose, width: int) -> None:
    try:
        painter.pipe.send((pose, width))
    except OSError:
        raise _killed(painter) from None


def _take(painter: _Painter) -> Image.Image:
    try:
        size, pixels = painter.pipe.recv()
    except (EOFError, OSError):
        raise _killed(painter) from None
    return Image.frombytes("RGB", size, pixels)


def _killed(painter: _Painter) -> ChildProcessError:
    painter.process.join()
    code = painter.process.exitcode or 0
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return ChildProcessError(
        f"a process that paints {how}: see whether memory is short, and try again"
    )


def _paint(pipe: Connection) -> None:
    """Paint what comes, until nobody is there any more: a process's whole life."""
    with suppress(EOFError, OSError):
        while True:
            pose, width = pipe.recv()
            picture = portrait(pose, width)
            pipe.send((picture.size, picture.tobytes()))


@contextmanager
def _signals_held() -> Iterator[None]:
    """Keep signals from what is started meanwhile: it inherits what this thread lets through.

    A terminal's Ctrl-C goes to all processes; those that paint are ended by theirs.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _cores() -> int:
    """Those that this process may use, where the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
