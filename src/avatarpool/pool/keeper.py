"""The pool's tasks: they open, drain and close what `PoolState` has decided."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from inspect import isawaitable
from typing import Any, TypeVar

from avatarpool.exceptions import AvatarPoolError, AvatarSDKError, AvatarSDKErrorCode, PoolError
from avatarpool.pool.borrowing import PooledConnection
from avatarpool.pool.connection import Connection
from avatarpool.pool.events import PoolEventKind as Kind
from avatarpool.pool.meter import Meter
from avatarpool.pool.opening import OpeningPolicy
from avatarpool.pool.state import PoolState
from avatarpool.untrusted import Interrupted, awaited, ours, words

log = logging.getLogger("avatarpool.pool")

T = TypeVar("T")

# Seconds that cut-off work may take to end: ours takes none.
_CUT_TIMEOUT = 1.0

# Seconds that cancelled work may take at the pool's end: a vendor's session takes 12 to close.
_STUBBORN_TIMEOUT = 15.0

# Seconds after which what cleans is given up though its connection is long replaced.
_SPARE_TIMEOUT = 1.0


class Keeper:
    """Acts on the pool's state; owns every task that does.

    Args:
        name: The pool's, for its log lines.
        state: What to act on.
        meter: Where to count what was done.
        new_connection: Opens one connection; raises if it cannot.
        joined: Told of each connection that opened, and how many seconds it took.
        opening_failed: Told of each attempt that failed.
        swept: Told of each look at ages.
        tell: Passes on an event: its kind, connection id and reason.
        num_workers: Connections opened at the same time, at the most.
        reconnect_timeout: Seconds of failing after which `reconnect_failed` is called.
        reconnect_failed: Called once per outage.
        look_interval: Seconds between looks at ages.
        drain_interval: Seconds between looks at those in quarantine; no longer.
    """

    def __init__(
        self,
        name: str,
        state: PoolState[Connection, PooledConnection],
        meter: Meter,
        *,
        new_connection: Callable[[], Awaitable[Connection]],
        joined: Callable[[Connection, float], None],
        opening_failed: Callable[[], None],
        swept: Callable[[], None],
        tell: Callable[[Kind, str, str], None],
        num_workers: int,
        reconnect_timeout: float,
        reconnect_failed: Callable[[], object],
        look_interval: float,
        drain_interval: float,
    ) -> None:
        self.policy = OpeningPolicy(random.Random())  # noqa: S311  # jitter, no secret
        self._name = name
        self._state = state
        self._meter = meter
        self._new_connection = new_connection
        self._joined = joined
        self._opening_failed = opening_failed
        self._swept = swept
        self._tell = tell
        self._num_workers = num_workers
        self._reconnect_timeout = reconnect_timeout
        self._reconnect_failed = reconnect_failed
        self._look_interval = look_interval
        self._drain_interval = drain_interval
        self._look_at = 0.0
        self._served_before = 0  # requests, when the latest connection died
        self._loop = asyncio.get_running_loop()
        # What the pool does by itself is done in the context that it was made in, and not
        # in that of whichever request came by.
        self._context = contextvars.copy_context()
        self._workers: set[asyncio.Task[Any]] = set()  # that open, clean and check
        self._closers: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None  # the next sweep
        self._retry: asyncio.TimerHandle | None = None  # the next opening step
        self._retry_due = 0.0  # when; uvloop's handles do not know it if it is now
        self._outage: asyncio.TimerHandle | None = None  # of one under way: when to tell

    def start(self) -> None:
        """Begin to keep the pool at its size."""
        self._sweep()

    def act(self) -> None:
        """Do what the state has decided: close what is to be closed, open what is missing."""
        state = self._state
        if state.to_close:
            self.inside(self._retire)
        free = self._num_workers - state.opening
        now = self._loop.time()
        if state.waiting:
            self.policy.hurry(now)
        missing = min(state.missing, free)
        for _ in range(self.policy.take(now, missing, state.opening)):
            state.opening += 1
            self.have(self._open, self.policy.step)
        if state.missing and self.policy.next_at > now:
            self._retry_at(self.policy.next_at)

    def _retire(self) -> None:
        to_close = self._state.to_close
        while to_close:
            connection = to_close.pop()
            self._meter.counters.connections_retired += 1
            log.info(
                "pool %r retires connection %s: %s",
                self._name,
                connection.connection_id,
                connection.why,
            )
            self._tell(Kind.RETIRED, connection.connection_id, connection.why)
            self._own(self._closers, _quietly(self._close, connection))

    def clean(
        self,
        connection: Connection,
        work: Callable[[], Awaitable[object]],
        done: Callable[[Connection], None],
    ) -> None:
        """Have a returned connection cleaned; it is in quarantine meanwhile."""
        connection.is_cleaning = True
        self.have(self._clean, connection, work, done)

    def have(self, work: Callable[..., Coroutine[object, object, None]], *args: object) -> None:
        """Have work done that closing the pool cancels; its failure is logged."""
        self._own(self._workers, _quietly(work, *args))

    def finish(self, work: Callable[..., Coroutine[object, object, None]]) -> None:
        """Have work done after the pool's end."""
        self._own(self._closers, _quietly(work))

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
        return self._loop.call_at(when, act, *args, context=self._context)

    def stop(self) -> None:
        """Open and clean nothing any more."""
        for handle in (self._timer, self._retry, self._outage):
            if handle is not None:
                handle.cancel()
        for task in self._workers:
            task.cancel()

    async def close(self) -> None:
        """Wait until everything that is being closed is closed; `cut` does not wait."""
        while self._workers or self._closers:
            if self._closers:
                await asyncio.wait(self._closers)
                continue
            _, left = await asyncio.wait(self._workers, timeout=_STUBBORN_TIMEOUT)
            if left and not self._closers:
                log.warning(
                    "pool %r closes without %d tasks that take no notice of being cancelled",
                    self._name,
                    len(left),
                )
                break
        # An attempt that was cancelled before its first step could not say so.
        self._state.opening = 0

    async def cut(self) -> None:
        """Cut off what still opens, cleans and closes, and see it end."""
        await asyncio.sleep(0)  # who is cancelled before its first step closes nothing
        tasks = self._workers | self._closers
        for task in tasks:
            task.cancel()
        if tasks:  # they are over in a moment; a vendor's may not be
            await asyncio.wait(tasks, timeout=_CUT_TIMEOUT)

    def _own(
        self, owner: set[asyncio.Task[Any]], work: Coroutine[object, object, T]
    ) -> asyncio.Task[T]:
        task = self._loop.create_task(work, context=self.new_context())  # what it sets is its own
        owner.add(task)
        task.add_done_callback(owner.discard)
        return task

    async def _open(self, step: int) -> None:
        policy = self.policy
        began = self._loop.time()
        try:
            connection = await self._attempt()
        except AvatarPoolError as error:
            self._failed(error, step)
        except asyncio.CancelledError:
            if not self._state.is_closed:  # what we called has cancelled its own task
                self._failed(_cancelled_from_within(), step)
            raise
        else:
            seconds = self._loop.time() - began
            self._meter.counters.connections_ms += seconds * 1000.0
            if policy.refusal is not None:
                self._tell(Kind.BREAKER_CLOSED, "", "")
            policy.succeeded()
            if self._outage is not None:
                self._outage.cancel()
                self._outage = None
            self._joined(connection, seconds)
        self.act()

    async def _attempt(self) -> Connection:
        """Open one connection; it counts as being opened until here, whatever comes."""
        self._meter.counters.connections_num += 1
        try:
            return await awaited(self._new_connection())
        except AvatarPoolError as error:
            raise ours(error)  # noqa: B904  # it is most often the same
        except Interrupted as error:  # an SDK's own doing, which may not last
            raise _cancelled_from_within() from error
        except Exception as error:
            raise PoolError(f"opening failed: {words(error)}") from error
        finally:
            self._state.opening -= 1

    def _failed(self, error: Exception, step: int) -> None:
        policy, now = self.policy, self._loop.time()
        self._meter.counters.connections_errors += 1
        # One warning per outage; the attempts after it are no news.
        level = logging.WARNING if policy.failing_since is None else logging.INFO
        log.log(level, "pool %r could not open a connection: %s", self._name, error)
        was_refused = policy.refusal is not None
        policy.failed(error, step=step, now=now)
        self._tell(Kind.REFUSED, "", str(error))
        self._tell_breaker(error, was_refused=was_refused)
        self._opening_failed()
        if self._outage is None and policy.failing_since is not None:
            due = policy.failing_since + self._reconnect_timeout
            self._outage = self.at(due, self._tell_outage)

    async def _close(self, connection: Connection) -> None:
        await connection.session.close()
        self.policy.slot_freed(self._loop.time())
        self.act()

    async def _clean(
        self,
        connection: Connection,
        work: Callable[[], Awaitable[object]],
        done: Callable[[Connection], None],
    ) -> None:
        try:
            # A look at those in quarantine has replaced it by then.
            async with asyncio.timeout(self._state.quarantine_timeout + _SPARE_TIMEOUT):
                await awaited(work())
        except Exception as error:  # noqa: BLE001
            self._spoilt(connection, error)
            self.act()
        except asyncio.CancelledError:
            if not self._state.is_closed:  # a hook that has cancelled its own task
                self._spoilt(connection, Interrupted("it was cancelled from within"))
            raise
        else:
            connection.is_cleaning = False
            done(connection)

    def _spoilt(self, connection: Connection, error: Exception) -> None:
        why = error if isinstance(error, AvatarPoolError) else words(error)
        log.warning("pool %r could not clean %s: %s", self._name, connection, why)
        self._state.retire(connection, "cannot be cleaned")

    def check_failed(self, error: Exception, step: int | None = None) -> None:
        """A connection did not pass the user's check: open the next one after a while.

        Several that fail in one step count once.
        """
        log.warning("pool %r: %s", self._name, error)
        self._learn_of_service()
        self.policy.unfit(error, step=step, now=self._loop.time())

    def died(self, connection: Connection, error: Exception) -> None:
        """A connection ended by itself; the next one waits if this one was young and unused."""
        was_refused = self.policy.refusal is not None
        now = self._loop.time()
        self._learn_of_service()
        if not connection.request_count:
            self.policy.died(error, age=now - connection.opened_at, now=now)
        self._tell_breaker(error, was_refused=was_refused)

    def _learn_of_service(self) -> None:
        if self._meter.served > self._served_before:
            self._served_before = self._meter.served
            self.policy.proved()

    def _tell_breaker(self, error: Exception, *, was_refused: bool) -> None:
        if self.policy.refusal is not None and not was_refused:
            self._tell(Kind.BREAKER_OPEN, "", str(error))

    def _tell_outage(self) -> None:
        log.warning("pool %r is failing for %.0f s", self._name, self._reconnect_timeout)
        self.have(self._call_reconnect_failed)

    async def _call_reconnect_failed(self) -> None:
        try:
            await awaited(_result_of(self._reconnect_failed))
        except Exception:
            log.exception("reconnect_failed of pool %r failed", self._name)

    def _sweep(self) -> None:
        now = self._loop.time()
        if now >= self._look_at:  # at every member: they may be thousands
            self._look_at = now + self._look_interval
            self._state.sweep(now)
            self._swept()
        else:
            self._state.sweep_draining(now)
        self.act()
        self._timer = self.at(now + self._drain_interval, self._sweep)

    def _retry_at(self, when: float) -> None:
        if self._retry is not None:
            if self._retry_due == when:
                return
            self._retry.cancel()
        self._retry_due = when
        self._retry = self.at(when, self._retry_now)

    def _retry_now(self) -> None:
        self._retry = None
        self.act()


async def _result_of(call: Callable[[], object]) -> object:
    result = call()
    return await result if isawaitable(result) else result


def _cancelled_from_within() -> AvatarSDKError:
    # Of a kind that may not last.
    return AvatarSDKError(AvatarSDKErrorCode.connectionFailed, "opening was cancelled from within")


async def _quietly(work: Callable[..., Coroutine[object, object, None]], *args: object) -> None:
    """Run work whose failure nobody waits for: it is logged.

    It is called here: a coroutine of a task that is cancelled before it runs would
    complain that nobody awaited it.
    """
    try:
        await work(*args)
    except Exception:
        log.exception("a task of the pool failed")
