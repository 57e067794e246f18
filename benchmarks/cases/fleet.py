"""What hosts cost the Redis that they share an account in: from 1 to 200, 10 sessions each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Self

from case import Case
from clients import Ports
from redis.asyncio import Redis
from redis_server import cpu_seconds, redis_server, url_of

from avatarpool import RedisBudget
from avatarpool.fleet.leases import Call, Notice
from avatarpool.fleet.valkey import Store

HOSTS = (1, 10, 50, 200)
EACH = 10
SECONDS = 8.0

CASE = Case(
    "CPU of the Redis that so many hosts share, 10 sessions each, in % of a core",
    ("ours",),
    {
        **{f"calm@{hosts}": f"{hosts} hosts, nobody waits" for hosts in HOSTS},
        **{f"opening@{hosts}": f"{hosts} hosts, each opens a session a second" for hosts in HOSTS},
        **{f"scarce@{hosts}": f"{hosts} hosts, all of them wait for more" for hosts in HOSTS},
        "fresh_ms": "a 21st host has its share of 200 sessions after, ms",
    },
    rounds=1,
    is_fresh=True,
)


async def measure(
    peer: str, ports: Ports, *, is_quick: bool = False
) -> AsyncIterator[dict[str, float]]:
    """Yield the server's CPU at each number of hosts; they are tasks of this process."""
    del peer, ports
    seconds = 6.0 if is_quick else SECONDS
    figures: dict[str, float] = {}
    async with redis_server() as client:
        for hosts in HOSTS:
            for name, wanted, opened in (
                ("calm", EACH, 0),
                ("opening", EACH, 1),
                ("scarce", 2 * EACH, 0),
            ):
                async with Hosts(client, f"{name}-{hosts}", hosts) as fleet:
                    await fleet.share(EACH)
                    used = await fleet.cpu_percent(seconds, wanted, opened)
                figures[f"{name}@{hosts}"] = used
        async with Hosts(client, "fresh", 20) as fleet:
            figures["fresh_ms"] = await fleet.join_ms()
    yield figures


class Hosts:
    """Processes' budgets, without the sessions; each says what it has as a group does."""

    def __init__(self, client: Redis, name: str, number: int) -> None:
        self._client = client
        self._name = name
        self._number = number
        self.budgets: list[RedisBudget] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        store = Store(url_of(self._client), self._name, 15.0)
        await store.call("", Call(notice=Notice.INIT), 0)
        await store.disconnect()
        for _ in range(self._number):
            await self.join()
        return self

    async def __aexit__(self, *reason: object) -> None:
        await self._stack.aclose()

    async def join(self) -> RedisBudget:
        """Have one more."""
        budget = RedisBudget(url_of(self._client), name=self._name, sessions=EACH * self._number)
        await budget.open(lambda: None)
        self._stack.push_async_callback(budget.close)
        self.budgets.append(budget)
        return budget

    async def share(self, each: int) -> None:
        """Have every host lease so many, and open sessions under all of them."""
        for budget in self.budgets:
            budget.declare(0, each, 0)
        while any(budget.held < each for budget in self.budgets):  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    async def cpu_percent(self, seconds: float, wanted: int, opened: int) -> float:
        """Return what the server uses while each host wants so many, and opens some a second."""
        loop = asyncio.get_running_loop()

        async def live(number: int, budget: RedisBudget) -> None:
            await asyncio.sleep(number / self._number)  # not all at the same moment
            while True:
                if opened:
                    budget.declare(budget.held - opened, budget.held - opened, 0)
                    await asyncio.sleep(0.1)
                budget.declare(EACH - opened, wanted, 0)
                await asyncio.sleep(1.0 - 0.1 * bool(opened))

        tasks = [loop.create_task(live(i, each)) for i, each in enumerate(self.budgets)]
        await asyncio.sleep(2.0)
        before, began = await cpu_seconds(self._client), loop.time()
        await asyncio.sleep(seconds)
        used, took = await cpu_seconds(self._client) - before, loop.time() - began
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return 100.0 * used / took

    async def join_ms(self) -> float:
        """Return after how long a fresh host has its share, where all sessions are busy."""
        await self.share(EACH)
        loop = asyncio.get_running_loop()

        async def busy(budget: RedisBudget) -> None:
            used = EACH
            while True:  # requests of 0.2 s: what must go goes at the end of one
                budget.declare(used, 3 * EACH, 0)
                await asyncio.sleep(0.2)
                used = min(used, budget.may_keep(loop.time()))

        tasks = [loop.create_task(busy(each)) for each in self.budgets]
        await asyncio.sleep(2.0)
        began = loop.time()
        fresh = await self.join()
        share = EACH * self._number // (self._number + 1)
        while fresh.held < share:
            fresh.declare(fresh.held, 3 * EACH, 0)
            await asyncio.sleep(0.01)
        took = loop.time() - began
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return 1000.0 * took
