"""One process of a fleet: a group that lends sessions under a RedisBudget, with load.

    python worker.py '{"url": ..., "name": ..., "sessions": 6, "lease_ttl": 2.0, "service": {...}}'

A line of JSON on standard output for each request that failed, and one of what was done when
it ends, by SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from typing import Any

from avatarpool import AvatarPoolError, AvatarPoolGroup, RedisBudget, SessionConfig

PATIENCE = 90.0  # seconds: longer than all faults together, so that waiting fails nobody
AUDIO = bytes(1280 * 4)


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)  # noqa: T201


async def main(plan: dict[str, Any]) -> None:
    budget = RedisBudget(
        plan["url"],
        name=plan["name"],
        sessions=plan["sessions"],
        lease_ttl=plan["lease_ttl"],
    )
    group = AvatarPoolGroup(
        lambda key: SessionConfig(**plan["service"]),
        budget=budget,
        timeout=PATIENCE,
        max_idle=plan.get("max_idle", 60.0),
    )
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    served = failed = 0

    async def borrower(number: int) -> None:
        nonlocal served, failed
        rng = random.Random(number)
        while not ended.is_set():
            try:
                # Two keys, that share what the process has.
                async with group.borrow(
                    "local-avatar", sample_rate=rng.choice((16000, 24000))
                ) as conn:
                    await conn.session.send_audio(AUDIO, end=True)
                    await conn.collector.wait(timeout=PATIENCE)
                    await asyncio.sleep(rng.uniform(0.0, plan.get("hold", 0.1)))
            except AvatarPoolError as error:
                failed += 1
                say(failure=repr(error))
            else:
                served += 1
            await asyncio.sleep(rng.uniform(0.0, plan.get("rest", 0.1)))

    async with group:
        say(holder=budget.holder)
        tasks = [asyncio.create_task(borrower(i)) for i in range(plan["borrowers"])]
        await ended.wait()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    say(served=served, failed=failed, lapsed=budget.lapsed)


asyncio.run(main(json.loads(sys.argv[1])))
