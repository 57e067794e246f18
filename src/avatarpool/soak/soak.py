"""A soak: random faults against random load, for as long as one likes.

Calm and faults take turns. While it is calm no request may fail; while there is a
fault, and until the pool is whole again, requests may fail and nothing else.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from time import perf_counter

from avatarpool.pool import AvatarConnectionPool
from avatarpool.pool.factory import ConfigFactory
from avatarpool.soak.borrowers import Borrowers
from avatarpool.soak.plan import BORROW_TIMEOUT, LEFTOVER_TIMEOUT, REQUEST_TIMEOUT, SoakPlan
from avatarpool.soak.report import SoakReport
from avatarpool.soak.tally import Tally, Violation

_CALM = 0.5, 3.0  # seconds, at least and at most
_FAULT = 0.5, 2.5
_OPERATION_PAUSE = 0.3, 2.0
_POLL = 0.01
_SAMPLE_EVERY = 1.0
_SESSION_LIFE = 20.0  # so that sessions age within any soak; must hold a request
_LOGGERS = "avatarpool", "asyncio"


Trouble = Callable[[float], Awaitable[None]]
"""Makes a fault for so many seconds, and takes it back if cancelled too."""


class Soak:
    """One soak of one pool: `run` it, then `finish` it in any case.

    Args:
        plan: What to do.
        config_factory: The pool's; its service must echo, as `MarkedRequest` says.
        troubles: The faults, by the names that the report gives them.
        unfinished: Asked once the pool is idle; says what its service still works on.
        on_tick: Called about once a second with the tally and the seconds so far.
        pool_class: What is soaked.
    """

    def __init__(
        self,
        plan: SoakPlan,
        config_factory: ConfigFactory,
        troubles: Mapping[str, Trouble],
        *,
        unfinished: Callable[[], str | None] = lambda: None,
        on_tick: Callable[[Tally, float], object] | None = None,
        pool_class: type[AvatarConnectionPool] = AvatarConnectionPool,
    ) -> None:
        self.tally = Tally()
        self._plan = plan
        self._troubles = troubles
        self._unfinished = unfinished
        self._on_tick = on_tick
        self._rng = random.Random(plan.seed)  # noqa: S311  # no secret
        self._size = plan.connections  # the pool's at present
        self._pool = pool_class(
            plan.connections,
            config_factory,
            timeout=BORROW_TIMEOUT,
            request_timeout=REQUEST_TIMEOUT,
            max_lifetime=_SESSION_LIFE,
            max_idle=2.0,
            quarantine_timeout=1.0,
            name="soak",
        )
        self._tasks_before: set[asyncio.Task[object]] = set()
        self._sockets_before: int | None = None
        self._began: float | None = None  # from run() on, once the pool is open
        self._seconds = 0.0
        self._log = _ErrorLog(self.tally)

    async def run(self) -> None:
        """Open the pool, and soak it until the time is over.

        Cancelling ends the soak; all borrowers give back what they hold.

        Raises:
            PoolError: No connection could be opened.
        """
        plan, rng = self._plan, self._rng
        for name in _LOGGERS:
            logging.getLogger(name).addHandler(self._log)
        self._tasks_before = asyncio.all_tasks()
        self._sockets_before = open_sockets()
        await self._pool.initialize(plan.heal_timeout)
        self._began = perf_counter()
        borrowers = Borrowers(self._pool, self.tally, rng)
        try:
            async with asyncio.timeout(plan.seconds), asyncio.TaskGroup() as group:
                group.create_task(self._watch())
                group.create_task(self._operate())
                group.create_task(self._make_weather())
                for _ in range(plan.borrowers):
                    group.create_task(borrowers.run())
        except TimeoutError:
            pass
        except ExceptionGroup as errors:  # of on_tick, or a fault that cannot be made
            raise errors.exceptions[0] from errors
        finally:
            self._seconds = perf_counter() - self._began

    async def finish(self, *, was_interrupted: bool = False) -> SoakReport:
        """Let the pool heal, close it, look for what is left, and report."""
        pool, tally = self._pool, self.tally
        try:
            if self._began is not None:
                tally.calm = None
                if await self._heal(is_idle=True):
                    await self._until_finished()
            stats = pool.get_stats()
        finally:
            await pool.close()
            tasks, sockets = await self._leftovers()
            for name in _LOGGERS:
                logging.getLogger(name).removeHandler(self._log)
        tally.check_memory()
        return SoakReport(self._plan, self._seconds, tally, stats, tasks, sockets, was_interrupted)

    async def _until_finished(self) -> None:
        """Wait until the service of an idle pool has nothing to do."""
        try:
            async with asyncio.timeout(LEFTOVER_TIMEOUT):
                while self._unfinished() is not None:  # noqa: ASYNC110  # likewise
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            self.tally.found(Violation.UNFINISHED, f"the pool is idle, and {self._unfinished()}")

    async def _make_weather(self) -> None:
        tally, rng = self.tally, self._rng
        is_whole = True
        while True:
            if is_whole:
                tally.calm_begins()
                await asyncio.sleep(rng.uniform(*_CALM))
            if self._troubles:
                name = rng.choice(list(self._troubles))
                tally.fault_begins(name)
                await self._troubles[name](rng.uniform(*_FAULT))
                is_whole = await self._heal()

    async def _heal(self, *, is_idle: bool = False) -> bool:
        """Wait until the pool is at its size; then its counters must add up."""
        began = perf_counter()
        try:
            async with asyncio.timeout(self._plan.heal_timeout):
                while not self._is_whole(is_idle=is_idle):  # noqa: ASYNC110  # as a user sees it
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            self.tally.found(
                Violation.NOT_HEALED,
                f"{self._plan.heal_timeout:.1f} s after the last fault "
                f"({self.tally.fault or 'none'}): {self._pool!r}, {self._size} connections "
                f"wanted; the last opening failed with {self._pool.last_open_error}",
            )
            return False
        self.tally.healed(perf_counter() - began)
        self.tally.check_counters(self._pool.get_stats())
        return True

    def _is_whole(self, *, is_idle: bool) -> bool:
        pool, size = self._pool, self._size
        if pool.total_count < size or (is_idle and pool.available_count != pool.total_count):
            return False
        return not pool.get_stats()["connections_opening"]

    async def _operate(self) -> None:
        """Use the pool's own operations, which must fail no request."""
        pool, rng, tally = self._pool, self._rng, self.tally
        full = self._plan.connections
        while True:
            await asyncio.sleep(rng.uniform(*_OPERATION_PAUSE))
            if rng.random() < 0.5:
                tally.operations["drain"] += 1
                pool.drain()
                continue
            tally.operations["resize"] += 1
            self._size = rng.randint(1, full)
            pool.resize(self._size, rng.randint(self._size, full))
            try:
                await asyncio.sleep(rng.uniform(*_OPERATION_PAUSE))
            finally:
                self._size = full
                pool.resize(full)

    async def _watch(self) -> None:
        assert self._began is not None
        while True:
            memory = resident_bytes()
            if memory is not None:
                self.tally.memory.append(memory)
            if self._on_tick is not None:
                self._on_tick(self.tally, perf_counter() - self._began)
            await asyncio.sleep(_SAMPLE_EVERY)

    async def _leftovers(self) -> tuple[int, int | None]:
        """Count what closing left behind, once it had its time to end."""
        gc.collect()  # a task whose failure nobody took says so when it is collected
        deadline = perf_counter() + LEFTOVER_TIMEOUT
        while True:
            tasks = asyncio.all_tasks() - self._tasks_before
            tasks.discard(asyncio.current_task())
            now = open_sockets()
            before = self._sockets_before
            sockets = None if now is None or before is None else max(0, now - before)
            if not (tasks or sockets) or perf_counter() > deadline:
                break
            await asyncio.sleep(_POLL)
        if tasks:
            one = next(iter(tasks))
            self.tally.found(Violation.TASKS, f"{len(tasks)} tasks are left, such as {one!r}")
        if sockets:
            self.tally.found(Violation.SOCKETS, f"{sockets} sockets more than before are open")
        return len(tasks), sockets


class _ErrorLog(logging.Handler):
    """Takes every logged error for a violation: the pool logs what its tasks raise."""

    def __init__(self, tally: Tally) -> None:
        super().__init__(logging.ERROR)
        self._tally = tally

    def emit(self, record: logging.LogRecord) -> None:
        why = record.exc_info[1] if record.exc_info else None
        self._tally.found(
            Violation.LOGGED,
            f"{record.name}: {record.getMessage()}" + (f": {why!r}" if why else ""),
        )


def resident_bytes() -> int | None:
    """Return the process's resident memory; None where there is no ``/proc``."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def open_sockets() -> int | None:
    """Return how many sockets the process has open; None where there is no ``/proc``."""
    try:
        descriptors = list(Path("/proc/self/fd").iterdir())
    except OSError:
        return None
    return sum(_is_socket(descriptor) for descriptor in descriptors)


def _is_socket(descriptor: Path) -> bool:
    try:
        return str(descriptor.readlink()).startswith("socket:")
    except OSError:  # the listing's own, closed since
        return False
