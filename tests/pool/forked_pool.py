"""A pool that a child process finds in its memory; run by a test, in a process of its own."""

from __future__ import annotations

import asyncio
import os
import warnings

from avatarpool import AvatarConnectionPool, PoolError
from avatarpool.service import LocalAvatarService

# The service has a thread, which a fork leaves behind: that is the parent's affair.
warnings.simplefilter("ignore", DeprecationWarning)


async def serve(pool: AvatarConnectionPool) -> None:
    async with pool.borrow() as conn:
        await conn.session.send_audio(bytes(6400), end=True)
        await conn.collector.wait()


async def tries(pool: AvatarConnectionPool, who: str) -> None:
    try:
        await serve(pool)
    except PoolError as error:
        print(f"{who}: {error}", flush=True)  # noqa: T201


async def main() -> None:
    service = LocalAvatarService()
    await service.start()
    pool = AvatarConnectionPool(1, service.config_factory, name="eu")
    await pool.initialize()
    child = os.fork()
    if not child:
        await tries(pool, "child")
        os._exit(0)
    os.waitpid(child, 0)  # noqa: ASYNC222
    child = os.fork()
    if not child:
        asyncio._set_running_loop(None)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(tries(pool, "child of its own loop"))
        os._exit(0)
    os.waitpid(child, 0)  # noqa: ASYNC222
    await serve(pool)
    print("parent: served", flush=True)  # noqa: T201
    await pool.close()
    await service.close()


asyncio.run(main())
