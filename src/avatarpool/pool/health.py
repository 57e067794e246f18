"""How opening and serving go: for the policy, the log, and whoever follows the pool."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from inspect import isawaitable

from avatarpool.pool.connection import Connection
from avatarpool.pool.events import Listeners
from avatarpool.pool.events import PoolEventKind as Kind
from avatarpool.pool.meter import Meter
from avatarpool.pool.opening import OpeningPolicy
from avatarpool.pool.options import PoolOptions
from avatarpool.pool.tasks import Tasks
from avatarpool.untrusted import awaited

log = logging.getLogger("avatarpool.pool")


class Health:
    """Learns what the service does to the pool's connections, and tells of it.

    Args:
        options: The pool's.
        tasks: Where its user is told of an outage.
        meter: What the pool has counted.
        listeners: Who follows the pool.
        pool: Gives the pool that an outage is told with, unless it is forgotten.

    Attributes:
        policy: When connections may be opened, from all of it.
    """

    def __init__(
        self,
        options: PoolOptions,
        tasks: Tasks,
        meter: Meter,
        listeners: Listeners,
        *,
        pool: Callable[[], object | None],
    ) -> None:
        self.policy = OpeningPolicy(random.Random())  # noqa: S311  # jitter, no secret
        self._name = options.name
        self._reconnect_timeout = options.reconnect_timeout
        self._reconnect_failed = options.reconnect_failed
        self._pool = pool
        self._tasks = tasks
        self._meter = meter
        self._tell = listeners.tell
        self._served_before = 0  # requests, when the latest connection died
        self._outage: asyncio.TimerHandle | None = None  # of one under way: when to tell

    def opened(self) -> None:
        """A connection was opened: an outage is over."""
        if self.policy.refusal is not None:
            self._tell(Kind.BREAKER_CLOSED)
        self.policy.succeeded()
        self.stop()

    def failed(self, error: Exception, step: int) -> None:
        """An attempt of ``step`` failed."""
        policy, now = self.policy, self._tasks.now()
        was_refused = policy.refusal is not None
        self.refused(error)
        policy.failed(error, step=step, now=now)
        self._tell_breaker(error, was_refused=was_refused)
        if self._outage is None and policy.failing_since is not None:
            due = policy.failing_since + self._reconnect_timeout
            self._outage = self._tasks.at(due, self._tell_outage)

    def refused(self, error: Exception) -> None:
        """No connection came of an attempt, which says nothing of the next one."""
        self._meter.counters.connections_errors += 1
        # One warning per outage; the attempts after it are no news.
        level = logging.WARNING if self.policy.failing_since is None else logging.INFO
        log.log(level, "pool %r could not open a connection: %s", self._name, error)
        self._tell(Kind.REFUSED, "", str(error), error=error)

    def unfit(self, error: Exception, step: int | None = None) -> None:
        """A connection did not pass the user's check: open the next one after a while.

        Several that fail in one step count once.
        """
        log.warning("pool %r: %s", self._name, error)
        self._learn_of_service()
        self.policy.unfit(error, step=step, now=self._tasks.now())

    def died(self, connection: Connection, error: Exception) -> None:
        """A connection ended by itself; the next one waits if this one was young and unused."""
        was_refused = self.policy.refusal is not None
        now = self._tasks.now()
        self._learn_of_service()
        if not connection.request_count:
            self.policy.died(error, age=now - connection.opened_at, now=now)
        self._tell_breaker(error, was_refused=was_refused)

    def stop(self) -> None:
        """Tell of no outage any more."""
        if self._outage is not None:
            self._outage.cancel()
            self._outage = None

    def _learn_of_service(self) -> None:
        if self._meter.served > self._served_before:
            self._served_before = self._meter.served
            self.policy.proved()

    def _tell_breaker(self, error: Exception, *, was_refused: bool) -> None:
        if self.policy.refusal is not None and not was_refused:
            self._tell(Kind.BREAKER_OPEN, "", str(error))

    def _tell_outage(self) -> None:
        log.warning("pool %r is failing for %.0f s", self._name, self._reconnect_timeout)
        self._tasks.have(self._call_reconnect_failed)

    async def _call_reconnect_failed(self) -> None:
        try:
            await awaited(self._tell_user())
        except Exception:
            log.exception("reconnect_failed of pool %r failed", self._name)

    async def _tell_user(self) -> None:
        result = self._user_told()
        if isawaitable(result):
            await result

    def _user_told(self) -> object:
        pool = self._pool()  # held for no longer than the call
        if self._reconnect_failed is None or pool is None:
            return None
        return self._reconnect_failed(pool)
