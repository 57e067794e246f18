"""What `avatarpool.fleet.sizing` says of waits, beside those of a real pool.

    python benchmarks/waits.py [--sessions 8] [--busy 6.4] [--number 5000]

Borrowers come to a pool on the local service by a Poisson process, make a request and
keep their session for a while whose spread is known only by measuring it. The waits
are told from what the pool counted in that very run.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random

from avatarpool import AvatarConnectionPool, LocalAvatarService
from avatarpool.fleet.sizing import Load, measured_durations, waits
from avatarpool.lipsync.dsp import DspDriver

SILENCE = bytes(2560)  # 80 ms
PAUSE = 0.1  # seconds, on average; long beside what a busy machine adds
SIGMA = 0.5  # of the logarithms


async def main(sessions: int, busy: float, number: int, seed: int) -> None:
    """Run it and print the table."""
    rng = random.Random(seed)  # noqa: S311 - a load, no secret
    now = asyncio.get_running_loop().time
    waited = []

    async def speak(pause: float) -> None:
        came = now()
        async with pool.borrow(timeout=600) as conn:
            waited.append(now() - came)
            await conn.session.send_audio(SILENCE, end=True)
            await conn.collector.wait()
            await asyncio.sleep(pause)

    async with (
        LocalAvatarService(driver=DspDriver) as service,
        AvatarConnectionPool(sessions, service.config_factory, session_ttl_minutes=60) as pool,
    ):
        for _ in range(20):
            await speak(PAUSE)
        duration, _ = measured_durations(pool.pop_stats())
        waited.clear()
        began = at = now()
        async with asyncio.TaskGroup() as group:
            for _ in range(number):
                at += rng.expovariate(busy / duration)
                await asyncio.sleep(at - now())  # late ones do not hold up the next
                group.create_task(speak(rng.lognormvariate(math.log(PAUSE) - SIGMA**2 / 2, SIGMA)))
            seconds = now() - began
        stats = pool.get_stats()
    load = Load.from_stats(stats, seconds)
    told = waits(load, sessions)
    waited.sort()
    print(
        f"{sessions} sessions, {load.busy:.2f} busy: {load.arrivals:.1f} a second, "
        f"{load.duration:.4f} s each, spread {load.spread:.2f}"
    )
    print(f"{'':8} {'told':>9} {'measured':>9}")
    print(f"{'queued':8} {told.waiting:9.3f} {stats['borrows_queued'] / number:9.3f}")
    print(f"{'mean ms':8} {1000 * told.mean:9.1f} {1000 * sum(waited) / number:9.1f}")
    for percent in (50, 95, 99):
        measured = waited[int(number * percent / 100)]
        print(f"p{percent} ms   {1000 * told.percentile(percent):9.1f} {1000 * measured:9.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--busy", type=float, default=6.4, help="sessions busy on average")
    parser.add_argument("--number", type=int, default=5000, help="borrowers")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.sessions, arguments.busy, arguments.number, arguments.seed))
