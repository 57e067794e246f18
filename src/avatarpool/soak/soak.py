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
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from itertools import count, cycle, islice
from pathlib import Path
from time import perf_counter
from typing import Protocol

from avatarpool.fleet.stats import total
from avatarpool.pool import AvatarConnectionPool
from avatarpool.pool.factory import ConfigFactory
from avatarpool.soak.borrowers import Borrowers
from avatarpool.soak.plan import BORROW_TIMEOUT, LEFTOVER_TIMEOUT, REQUEST_TIMEOUT, SoakPlan
from avatarpool.soak.report import SoakReport
from avatarpool.soak.tally import Tally, Violation
from avatarpool.stats import PoolStats

_CALM = 0.5, 3.0  # seconds, at least and at most
_FAULT = 0.5, 2.5
_OPERATION_PAUSE = 0.3, 2.0
_POLL = 0.01
_SAMPLE_EVERY = 1.0
_SESSION_LIFE = 20.0  # so that sessions age within any soak; must hold a request
_LOGGERS = "avatarpool", "asyncio"


Trouble = Callable[[float], Awaitable[None]]
"""Makes a fault for so many seconds, and takes it back if cancelled too."""


class Middle(Protocol):
    """What stands between the pools and their service."""

    @property
    def causes(self) -> Collection[str]:
        """What failures may be called that come of it."""

    async def open(self) -> None:
        """Be there, before the pools are opened."""

    async def close(self) -> None:
        """Be gone, after they were closed."""

    def unhealed(self) -> str | None:
        """Say what of it is not whole yet."""

    def complaints(
        self, pools: Sequence[PoolStats], tally: Tally, *, was_calm: bool
    ) -> Iterable[tuple[Violation, str]]:
        """Say what of it is not as it must be.

        Args:
            pools: Of each of its clients.
            tally: What they have seen.
            was_calm: Whether there was no fault since it was asked before.
        """


class Soak:
    """One soak of a pool, or of a pool for each client: `run` it, then `finish` it in any case.

    Args:
        plan: What to do.
        config_factories: Each pool's; their service must echo, as `MarkedRequest` says.
        troubles: The faults, by the names that the report gives them.
        unfinished: Asked once the pool is idle; says what its service still works on.
        on_tick: Called about once a second with the tally and the seconds so far.
        middle: What stands between the pools and their service.
        pool_class: What is soaked.
    """

    def __init__(
        self,
        plan: SoakPlan,
        config_factories: Sequence[ConfigFactory],
        troubles: Mapping[str, Trouble],
        *,
        unfinished: Callable[[], str | None] = lambda: None,
        on_tick: Callable[[Tally, float], object] | None = None,
        middle: Middle | None = None,
        pool_class: type[AvatarConnectionPool] = AvatarConnectionPool,
    ) -> None:
        self.tally = Tally(None if middle is None else middle.causes)
        self._plan = plan
        self._troubles = troubles
        self._unfinished = unfinished
        self._on_tick = on_tick
        self._rng = random.Random(plan.seed)  # noqa: S311  # no secret
        self._middle = middle
        self._pools = [
            pool_class(
                plan.connections,
                config_factory,
                timeout=BORROW_TIMEOUT,
                request_timeout=REQUEST_TIMEOUT,
                max_lifetime=_SESSION_LIFE,
                max_idle=2.0,
                quarantine_timeout=1.0,
                name="soak",
            )
            for config_factory in config_factories
        ]
        self._sizes = dict.fromkeys(self._pools, plan.connections)  # at present
        self._tasks_before: set[asyncio.Task[object]] = set()
        self._sockets_before: int | None = None
        self._began: float | None = None  # from run() on, once the pool is open
        self._seconds = 0.0
        self._log = _ErrorLog(self.tally)

    async def run(self) -> None:
        """Open the pools, and soak them until the time is over.

        Cancelling ends the soak; all borrowers give back what they hold.

        Raises:
            PoolError: No connection could be opened.
        """
        plan, rng = self._plan, self._rng
        for name in _LOGGERS:
            logging.getLogger(name).addHandler(self._log)
        self._tasks_before = asyncio.all_tasks()
        self._sockets_before = open_sockets()
        if self._middle is not None:
            await self._middle.open()
        await asyncio.gather(*(pool.initialize(plan.heal_timeout) for pool in self._pools))
        self._began = perf_counter()
        numbers = count(1)
        borrowers = [Borrowers(pool, self.tally, rng, numbers) for pool in self._pools]
        try:
            async with asyncio.timeout(plan.seconds), asyncio.TaskGroup() as group:
                group.create_task(self._watch())
                group.create_task(self._operate())
                group.create_task(self._make_weather())
                for those in islice(cycle(borrowers), plan.borrowers):
                    group.create_task(those.run())
        except TimeoutError:
            pass
        except ExceptionGroup as errors:  # of on_tick, or a fault that cannot be made
            raise errors.exceptions[0] from errors
        finally:
            self._seconds = perf_counter() - self._began

    async def finish(self, *, was_interrupted: bool = False) -> SoakReport:
        """Let the pools heal, close them, look for what is left, and report."""
        tally = self.tally
        try:
            if self._began is not None:
                tally.calm = None
                if await self._heal(is_idle=True):
                    await self._until_finished()
            stats = self._stats()
        finally:
            await asyncio.gather(*(pool.close() for pool in self._pools))
            if self._middle is not None:
                await self._middle.close()
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

    def _stats(self) -> PoolStats:
        """Return the numbers of all pools together."""
        return total([pool.get_stats() for pool in self._pools], [p.meter for p in self._pools])

    async def _make_weather(self) -> None:
        tally, rng = self.tally, self._rng
        is_whole = True
        while True:
            if is_whole:
                tally.calm_begins()
                await asyncio.sleep(rng.uniform(*_CALM))
                self._look_at_middle(was_calm=True)
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
                while self._unhealed(is_idle=is_idle) is not None:  # noqa: ASYNC110  # as a user does
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            self.tally.found(
                Violation.NOT_HEALED,
                f"{self._plan.heal_timeout:.1f} s after the last fault "
                f"({self.tally.fault or 'none'}): {self._unhealed(is_idle=is_idle)}",
            )
            return False
        self.tally.healed(perf_counter() - began)
        self.tally.check_counters(self._stats())
        self._look_at_middle(was_calm=False)
        return True

    def _unhealed(self, *, is_idle: bool) -> str | None:
        """Say what is not whole yet."""
        for pool, size in self._sizes.items():
            is_whole = pool.total_count >= size and not pool.get_stats()["connections_opening"]
            if not is_whole or (is_idle and pool.available_count != pool.total_count):
                return (
                    f"{pool!r}, {size} connections wanted; the last opening failed with "
                    f"{pool.last_open_error}"
                )
        return None if self._middle is None else self._middle.unhealed()

    def _look_at_middle(self, *, was_calm: bool) -> None:
        if self._middle is not None:
            pools = [pool.get_stats() for pool in self._pools]
            for complaint in self._middle.complaints(pools, self.tally, was_calm=was_calm):
                self.tally.found(*complaint)

    async def _operate(self) -> None:
        """Use the pools' own operations, which must fail no request."""
        rng, tally = self._rng, self.tally
        full = self._plan.connections
        while True:
            await asyncio.sleep(rng.uniform(*_OPERATION_PAUSE))
            pool = rng.choice(self._pools)
            if rng.random() < 0.5:
                tally.operations["drain"] += 1
                pool.drain()
                continue
            tally.operations["resize"] += 1
            self._sizes[pool] = size = rng.randint(1, full)
            pool.resize(size, rng.randint(size, full))
            try:
                await asyncio.sleep(rng.uniform(*_OPERATION_PAUSE))
            finally:
                self._sizes[pool] = full
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
