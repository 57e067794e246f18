"""The threads that decode and animate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import TypeVar

from avatarpool.service.turns import Turns

T = TypeVar("T")


class Workers:
    """Threads that carry out steps, by turns.

    Args:
        count: Threads.
    """

    def __init__(self, count: int) -> None:
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="avatarpool-lipsync")
        self._turns: Turns[Callable[[], None]] = Turns()
        self._lock = Lock()  # around the turns

    async def run(self, step: Callable[[], T], *, is_first: bool) -> T:
        """Return what a step returns, or raise what it raises.

        A step is left out if this is cancelled before its turn has come.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._turns.add(partial(_carry_out, step, future), is_first=is_first)
        self._threads.submit(self._take_turn)
        return await future

    def close(self) -> None:
        """Leave out what waits, and wait for what is under way."""
        self._threads.shutdown(cancel_futures=True)

    def _take_turn(self) -> None:
        with self._lock:
            carry_out = self._turns.take()
        carry_out()


def _carry_out(step: Callable[[], T], future: asyncio.Future[T]) -> None:
    if future.cancelled():
        return
    settle: Callable[[], None]
    try:
        settle = partial(future.set_result, step())
    except BaseException as error:  # noqa: BLE001  # it is raised where the step is awaited
        settle = partial(future.set_exception, error)
    future.get_loop().call_soon_threadsafe(_settle, future, settle)


def _settle(future: asyncio.Future[T], settle: Callable[[], None]) -> None:
    if not future.done():
        settle()
