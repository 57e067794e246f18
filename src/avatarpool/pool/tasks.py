"""The tasks and timers of one pool: in its event loop, in its own context, and owned."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

log = logging.getLogger("avatarpool.pool")

T = TypeVar("T")

# Seconds that cut-off work may take to end: ours takes none.
_CUT_TIMEOUT = 1.0

# Seconds that cancelled work may take at the pool's end: a vendor's session takes 12 to close.
_STUBBORN_TIMEOUT = 15.0


class Tasks:
    """Owns every task of a pool, and knows its event loop.

    Args:
        pool: The pool's name, for log lines.

    Attributes:
        loop: The pool's event loop; None: it is not initialized yet.
        now: Its time.
        new_future: Makes a future of its own, from `start` on.
    """

    def __init__(self, pool: str) -> None:
        self._pool = pool
        self.loop: asyncio.AbstractEventLoop | None = None
        self.now: Callable[[], float] = float  # nothing has a time before
        self.new_future: Callable[[], asyncio.Future[Any]]
        self._context = contextvars.Context()
        self._workers: set[asyncio.Task[Any]] = set()  # that open, clean and check
        self._closers: set[asyncio.Task[Any]] = set()

    def start(self) -> None:
        """Belong to this event loop and to this context from now on."""
        self.loop = asyncio.get_running_loop()
        self.now, self.new_future = self.loop.time, self.loop.create_future
        # What the pool does by itself is done in the context that it was initialized in, and
        # not in that of whichever request came by.
        self._context = contextvars.copy_context()

    def is_here(self) -> bool:
        """Whether this is called in the pool's own event loop and process."""
        try:
            return asyncio.get_running_loop() is self.loop
        except RuntimeError:  # in a child process that was forked from within the loop
            return False

    def have(self, work: Callable[..., Coroutine[object, object, None]], *args: object) -> None:
        """Have work done that closing the pool cancels; its failure is logged."""
        self._own(self._workers, _quietly(work, *args))

    def finish(self, work: Callable[..., Coroutine[object, object, None]], *args: object) -> None:
        """Have work done that closing the pool waits for; its failure is logged."""
        self._own(self._closers, _quietly(work, *args))

    def run(self, work: Coroutine[object, object, T]) -> asyncio.Task[T]:
        """Have work done that closing the pool cancels, for whoever waits for it."""
        return self._own(self._workers, work)

    def inside(self, act: Callable[..., object], *args: object) -> None:
        """Do something at once, in the pool's own context and not in the caller's."""
        self.new_context().run(act, *args)

    def new_context(self) -> contextvars.Context:
        """Return a copy of the pool's own context: that itself may be entered already."""
        return self._context.copy()

    def at(self, when: float, act: Callable[..., object], *args: object) -> asyncio.TimerHandle:
        """Have something done at a time of the event loop's clock."""
        return self._home.call_at(when, act, *args, context=self._context)

    def stop(self) -> None:
        """Cancel all but what closes."""
        for task in self._workers:
            task.cancel()

    async def close(self) -> None:
        """Wait until everything that is being closed is closed, or will not be; `cut` does not."""
        while self._workers or self._closers:
            waited_for = self._closers or self._workers
            _, left = await asyncio.wait(waited_for, timeout=_STUBBORN_TIMEOUT)
            if left and (waited_for is self._closers or not self._closers):
                log.warning(
                    "pool %r closes without %d tasks that do not end",
                    self._pool,
                    len(left),
                )
                break

    async def cut(self) -> None:
        """Cut off what still opens, cleans and closes, and see it end."""
        await asyncio.sleep(0)  # who is cancelled before its first step closes nothing
        tasks = self._workers | self._closers
        for task in tasks:
            task.cancel()
        if tasks:  # they are over in a moment; a vendor's may not be
            await asyncio.wait(tasks, timeout=_CUT_TIMEOUT)

    @property
    def _home(self) -> asyncio.AbstractEventLoop:
        assert self.loop is not None  # nothing is done before the pool is initialized
        return self.loop

    def _own(
        self, owner: set[asyncio.Task[Any]], work: Coroutine[object, object, T]
    ) -> asyncio.Task[T]:
        task = self._home.create_task(work, context=self.new_context())  # what it sets is its own
        owner.add(task)
        task.add_done_callback(owner.discard)
        return task


async def _quietly(work: Callable[..., Coroutine[object, object, None]], *args: object) -> None:
    """Run work whose failure nobody waits for: it is logged.

    It is called here: a coroutine of a task that is cancelled before it runs would
    complain that nobody awaited it.
    """
    try:
        await work(*args)
    except Exception:
        log.exception("a task of the pool failed")
