"""Ctrl-C and SIGTERM as the cancellation of one block of code."""

from __future__ import annotations

import asyncio
import signal
from types import FrameType, TracebackType
from typing import Self


class Interruptible:
    """Cancels its block at the first signal and goes on after it.

    ``async with Interruptible() as scope:``; afterwards ``scope.was_interrupted``
    tells how the block ended. Inside, the signal is an ordinary cancellation.
    After the block the previous handlers are back, so that a second Ctrl-C
    ends what is still closing.

    Args:
        is_told: Whether the block's end is still to be told of: then the first signal
            after a block that ended by itself is let pass, and the second is the one
            that ends what is still closing.
    """

    def __init__(self, *, is_told: bool = False) -> None:
        self._is_told = is_told
        self.was_interrupted = False
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0  # cancellations from elsewhere, which are not ours to absorb
        self._previous: dict[int, object] = {}

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancelling = task, task.cancelling()

        def on_signal(_number: int, _frame: FrameType | None) -> None:
            if self._task is None:
                self._put_back()
            else:
                loop.call_soon_threadsafe(self._interrupt)

        # signal.signal and not loop.add_signal_handler: it works on every
        # platform and loop, and can put back what was there before.
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, on_signal)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        task, self._task = self._task, None
        if self.was_interrupted or exc_type is not None or not self._is_told:
            self._put_back()
        if not self.was_interrupted or task is None:
            return False
        is_ours_alone = task.uncancel() <= self._cancelling
        return exc_type is asyncio.CancelledError and is_ours_alone

    def _put_back(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _interrupt(self) -> None:
        # A signal that came as the block ended finds no task, and nothing to stop.
        if self._task is not None and not self.was_interrupted:
            self.was_interrupted = True
            self._task.cancel()
