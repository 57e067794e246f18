"""Those who hand connections on: ours and its peers, with nothing behind the connections.

Every one is an async context manager that gives a function which makes the
``async with`` of a borrow. What a connection does is no part of it: the peers
have dummies for connections, and ours, whose connections are real, sends nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Self

import asyncpg
import psycopg.pq
import psycopg_pool
import sqlalchemy.pool
from clients import Ports, our_pool
from naive import NaivePool
from redis_server import redis_server, url_of
from sqlalchemy.util import greenlet_spawn

from avatarpool import AvatarPoolGroup, LocalBudget, PoolKey, RedisBudget
from avatarpool.fleet import Budget
from avatarpool.fleet.leases import Call, Notice
from avatarpool.fleet.valkey import Store

Borrow = Callable[[], AbstractAsyncContextManager[object]]


@asynccontextmanager
async def ours(ports: Ports, size: int) -> AsyncIterator[Borrow]:
    """Our pool over real sessions."""
    pool = our_pool(ports.config("burst-1"), size)
    try:
        await pool.initialize(timeout=120)
        yield pool.borrow
    finally:
        await pool.close()


@asynccontextmanager
async def _grouped(ports: Ports, size: int, budget: Budget) -> AsyncIterator[Borrow]:
    key = PoolKey("burst-1")
    # One must be left beside the warm ones.
    async with AvatarPoolGroup(
        lambda _: ports.config("burst-1"), budget=budget, warm={key: size}
    ) as group:
        await group.wait(timeout=120)
        yield partial(group.borrow, key)


@asynccontextmanager
async def group(ports: Ports, size: int) -> AsyncIterator[Borrow]:
    """Our group over real sessions, on its own."""
    async with _grouped(ports, size, LocalBudget(size + 1)) as borrow:
        yield borrow


@asynccontextmanager
async def leased(ports: Ports, size: int) -> AsyncIterator[Borrow]:
    """Our group over real sessions, leased from a Redis of its own."""
    async with redis_server() as client:
        url = url_of(client)
        store = Store(url, "bench", 15.0)
        await store.call("", Call(notice=Notice.INIT), 0)
        await store.disconnect()
        budget = RedisBudget(url, name="bench", sessions=size + 1)
        async with _grouped(ports, size, budget) as borrow:
            yield borrow


class DummySession:
    """A session that does nothing."""

    def __init__(self, **options: object) -> None:
        del options

    async def init(self) -> None:
        """Do nothing."""

    start = close = init


@asynccontextmanager
async def naive(ports: Ports, size: int) -> AsyncIterator[Borrow]:
    """`asyncio.Queue` and `wait_for`."""
    del ports
    pool = NaivePool(size, dict, DummySession)
    await pool.initialize()
    yield pool.borrow


class DummyPostgres:
    """What psycopg_pool asks of a connection."""

    def __init__(self) -> None:
        self.pgconn = SimpleNamespace(transaction_status=psycopg.pq.TransactionStatus.IDLE)
        self.autocommit = False

    @classmethod
    async def connect(cls, conninfo: str = "", **options: object) -> DummyPostgres:
        """Open nothing."""
        del conninfo, options
        return cls()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *reason: object) -> None:
        pass

    async def close(self) -> None:
        """Close nothing."""


@asynccontextmanager
async def psycopg_handoff(ports: Ports, size: int) -> AsyncIterator[Borrow]:
    """The pool of psycopg over dummies."""
    del ports
    async with psycopg_pool.AsyncConnectionPool(
        connection_class=DummyPostgres, min_size=size, max_size=size, open=False
    ) as pool:
        await pool.wait()
        yield pool.connection


class DummyAsyncpg(asyncpg.Connection):
    """What asyncpg's pool asks of a connection: its own, with nothing beneath."""

    __slots__ = ()

    def __init__(self) -> None:
        protocol = SimpleNamespace(
            queries_count=0,
            _is_cancelling=lambda: False,
            get_settings=lambda: SimpleNamespace(server_version="16.0"),
        )
        config = SimpleNamespace(statement_cache_size=0, max_cached_statement_lifetime=0)
        super().__init__(protocol, None, asyncio.get_running_loop(), "", config, None)

    def __del__(self) -> None:
        """Warn of nothing: there is nothing to close."""

    def is_closed(self) -> bool:
        """Whether it is closed: never."""
        return False

    async def reset(self, *, timeout: float | None = None) -> None:
        """Reset nothing."""

    async def close(self, *, timeout: float | None = None) -> None:
        """Close nothing."""

    def terminate(self) -> None:
        """Close nothing."""


@asynccontextmanager
async def asyncpg_handoff(ports: Ports, size: int) -> AsyncIterator[Borrow]:
    """The pool of asyncpg over dummies."""
    del ports

    async def connect(*_: object, **__: object) -> DummyAsyncpg:
        return DummyAsyncpg()

    pool = await asyncpg.create_pool(
        min_size=size, max_size=size, connect=connect, connection_class=DummyAsyncpg
    )
    yield pool.acquire


class DummyDbapi:
    """What SQLAlchemy's pool asks of a connection."""

    def close(self) -> None:
        """Close nothing."""

    rollback = commit = close


class SqlalchemyBorrow:
    """What SQLAlchemy's asyncio layer does around its pool: a greenlet per call."""

    def __init__(self, pool: sqlalchemy.pool.Pool) -> None:
        self._pool = pool

    async def __aenter__(self) -> object:
        self._connection = await greenlet_spawn(self._pool.connect)
        return self._connection

    async def __aexit__(self, *reason: object) -> None:
        await greenlet_spawn(self._connection.close)


@asynccontextmanager
async def sqlalchemy_handoff(ports: Ports, size: int) -> AsyncIterator[Borrow]:
    """SQLAlchemy's asyncio queue pool over dummies."""
    del ports
    pool = sqlalchemy.pool.AsyncAdaptedQueuePool(
        DummyDbapi, pool_size=size, max_overflow=0, timeout=60
    )
    yield lambda: SqlalchemyBorrow(pool)


class BareBorrow:
    """A deque of connections and a deque of futures, and nothing that a pool is for."""

    def __init__(self, idle: deque[object], waiters: deque[asyncio.Future[object]]) -> None:
        self._idle = idle
        self._waiters = waiters

    async def __aenter__(self) -> object:
        if self._idle:
            self._connection = self._idle.popleft()
        else:
            future = asyncio.get_running_loop().create_future()
            self._waiters.append(future)
            self._connection = await future
        return self._connection

    async def __aexit__(self, *reason: object) -> None:
        if self._waiters:
            self._waiters.popleft().set_result(self._connection)
        else:
            self._idle.append(self._connection)


@asynccontextmanager
async def bare(ports: Ports, size: int) -> AsyncIterator[Borrow]:
    """The limit: the barest hand-off that lends nothing twice."""
    del ports
    idle: deque[object] = deque(range(size))
    waiters: deque[asyncio.Future[object]] = deque()
    yield lambda: BareBorrow(idle, waiters)


class Nothing:
    """Borrows nothing."""

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *reason: object) -> None:
        pass


@asynccontextmanager
async def no_pool(ports: Ports, size: int) -> AsyncIterator[Borrow]:
    """What the measurement itself costs: tasks, ``async with`` and the loop."""
    del ports, size
    yield Nothing


HANDOFFS: dict[str, Callable[[Ports, int], AbstractAsyncContextManager[Borrow]]] = {
    "ours": ours,
    "group": group,
    "leased": leased,
    "naive": naive,
    "psycopg": psycopg_handoff,
    "asyncpg": asyncpg_handoff,
    "sqlalchemy": sqlalchemy_handoff,
    "bare": bare,
    "none": no_pool,
}


async def lend(borrow: Borrow, *, tasks: int, each: int) -> None:
    """Borrow and return in many tasks; each holds what it has for one turn of the loop.

    Without that turn no borrower would ever have to wait.
    """

    async def one_after_another() -> None:
        for _ in range(each):
            async with borrow():
                await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for _ in range(tasks):
            group.create_task(one_after_another())
