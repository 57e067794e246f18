"""A redis-server for a benchmark, in memory and on a port of its own."""

from __future__ import annotations

import asyncio
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from redis.exceptions import RedisError

PATIENCE = 30.0


@asynccontextmanager
async def redis_server() -> AsyncIterator[Redis]:
    """Run one; gives a client of it."""
    program = shutil.which("redis-server")
    if program is None:
        raise FileNotFoundError("redis-server is not installed: apt-get install redis-server")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        process = await asyncio.create_subprocess_exec(
            *(program, "--port", str(port), "--bind", "127.0.0.1", "--dir", directory),
            *("--save", "", "--appendonly", "no"),
            stdout=asyncio.subprocess.DEVNULL,
        )
        client = Redis(port=port)
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    try:
                        await client.ping()
                        break
                    except RedisError:
                        await asyncio.sleep(0.02)
            yield client
        finally:
            await client.aclose()
            process.kill()
            await process.wait()


def url_of(client: Redis) -> str:
    """Return the server's URL."""
    return f"redis://127.0.0.1:{client.connection_pool.connection_kwargs['port']}/0"


async def cpu_seconds(client: Redis) -> float:
    """Return the CPU time that the server has used."""
    used = await client.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])
