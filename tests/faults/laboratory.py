"""A service behind two proxies, a pool in front of them, and what must hold afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from echo import EchoDriver, marked_audio, marks
from faults.proxy import Proxy

from avatarpool import AvatarConnectionPool, PooledConnection, SessionConfig
from avatarpool.endpoint.refusals import Ending
from avatarpool.service import LocalAvatarService, ServiceLimits

# Far above what anything here takes, far below any timeout of the pool that a
# failure must not wait for.
SOON = 15.0


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until a condition holds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


class Laboratory:
    """What a scenario works with.

    Attributes:
        service: The local service; its frames carry the marks of their audio.
        console: The way to its token requests.
        ingress: The way to its sessions.
    """

    def __init__(self, service: LocalAvatarService, console: Proxy, ingress: Proxy) -> None:
        self.service = service
        self.console = console
        self.ingress = ingress
        self.overrides: dict[str, object] = {"close_timeout": 0.2}

    def config_factory(self) -> SessionConfig:
        """Return a configuration that leads through the proxies."""
        urls = {
            "console_endpoint_url": _through(self.console, self.service.console_url),
            "ingress_endpoint_url": _through(self.ingress, self.service.ingress_url),
        }
        return self.service.config_factory(**{**urls, **self.overrides})

    def pool(self, size: int = 3, **options: Any) -> AvatarConnectionPool:
        """Return a pool of so many connections, whose limits are far away."""
        return AvatarConnectionPool(size, self.config_factory, **options)

    def end_sessions(self, ending: Ending) -> None:
        """Have the service end every session like this."""
        assert self.service._ingress is not None
        for session in self.service._ingress._sessions:
            session.end(ending)


def _through(proxy: Proxy, url: str) -> str:
    return urlunsplit(urlsplit(url)._replace(netloc=f"127.0.0.1:{proxy.port}"))


def port_of(url: str) -> int:
    """Return the port that a URL names."""
    return urlsplit(url).port or 0


@asynccontextmanager
async def laboratory(limits: ServiceLimits | None = None) -> AsyncIterator[Laboratory]:
    """Set one up; at its end nothing of the pool may be left open."""
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(
            LocalAvatarService(driver=EchoDriver, limits=limits)
        )
        port = port_of(service.console_url)
        console = await stack.enter_async_context(Proxy(port))
        ingress = await stack.enter_async_context(Proxy(port))
        yield Laboratory(service, console, ingress)
        for proxy in (console, ingress):
            proxy.gate.set()
            await until(lambda: not proxy.links)  # noqa: B023  # awaited in its turn
        await until(lambda: service.counters.connections_open == 0)
        assert service.counters.requests_open == 0


async def answered(conn: PooledConnection, mark: int, frames: int = 5) -> None:
    """Send a request on a connection; its answer must be its own and whole."""
    await conn.session.send_audio(marked_audio(mark, frames), end=True)
    assert marks([*await conn.collector.wait(SOON)]) == [mark] * frames


async def serve(pool: AvatarConnectionPool, mark: int, frames: int = 5) -> str:
    """Make one request, which must succeed; return the connection that served it."""
    async with pool.borrow(SOON) as conn:
        await answered(conn, mark, frames)
        return conn.connection_id


async def whole(pool: AvatarConnectionPool, size: int) -> None:
    """Wait until a pool is at its full size and idle; every connection is accounted for."""
    await until(
        lambda: pool.available_count == size and not pool.get_stats()["connections_opening"]
    )
    stats = pool.get_stats()
    assert stats["total_connections"] == size
    assert stats["connections_lent"] == stats["connections_draining"] == 0
    assert stats["requests_waiting"] == 0
    opened = stats["connections_num"] - stats["connections_errors"]
    assert opened == size + stats["connections_lost"] + stats["connections_retired"]
    assert len(ids(pool)) == size


def ids(pool: AvatarConnectionPool) -> set[str]:
    """Return the names of a pool's connections."""
    return {connection["connection_id"] for connection in pool.get_stats()["connections"]}
