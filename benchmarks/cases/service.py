"""The local service with its real lip-sync: 200 requests of 3 s of speech at the same time.

Beside them a probe sends one short request after the other: it is what
somebody notices who comes while others are busy.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

from case import Case
from clients import Ports

from avatarpool import AvatarConnectionPool, SessionConfig
from avatarpool.load import load_speech_clip
from avatarpool.pool.events import PoolEvent, PoolEventKind

CASE = Case(
    "The local service: 200 concurrent requests of 3 s of speech",
    ("ours",),
    {
        "realtime_x": "times real time",
        "cpu_ms": "service CPU, ms per s of speech",
        "first_p50_ms": "first frame p50, ms",
        "first_p95_ms": "p95",
        "first_p99_ms": "p99",
        "probe_p50_ms": "of a short request beside them: p50",
    },
    rounds=3,
)

BYTES_PER_SECOND = 32_000

SERVE = """
import asyncio, json, sys
from avatarpool.service import LocalAvatarService, ServiceLimits

async def main():
    limits = ServiceLimits(max_connections=1000, max_handshakes=1000)
    async with LocalAvatarService(limits=limits) as service:
        print(json.dumps(service.environment), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""


async def measure(
    peer: str, ports: Ports, *, is_quick: bool = False
) -> AsyncIterator[dict[str, float]]:
    """Yield how fast it is and how long the first frames take."""
    del peer, ports
    count = 50 if is_quick else 200
    clip = (load_speech_clip() * 3)[: 3 * BYTES_PER_SECOND]
    firsts: list[float] = []

    def follow(event: PoolEvent) -> None:
        if event.kind is PoolEventKind.FIRST_FRAME:
            firsts.append(1000 * event.seconds)

    with serving() as (process, config):
        async with (
            AvatarConnectionPool(count, lambda: config, 60, on_event=follow) as pool,
            AvatarConnectionPool(1, lambda: config, 60) as beside,
        ):
            while True:
                firsts.clear()
                over = asyncio.Event()
                probing = asyncio.create_task(probe(beside, clip[:BYTES_PER_SECOND], over.is_set))
                cpu, began = _cpu_seconds(process.pid), time.perf_counter()
                await asyncio.gather(*(_request(pool, clip) for _ in range(count)))
                taken, cpu = time.perf_counter() - began, _cpu_seconds(process.pid) - cpu
                over.set()
                probes = await probing
                speech = count * len(clip) / BYTES_PER_SECOND
                cuts = statistics.quantiles(firsts, n=100)
                yield {
                    "realtime_x": speech / taken,
                    "cpu_ms": 1000 * cpu / speech,
                    "first_p50_ms": cuts[49],
                    "first_p95_ms": cuts[94],
                    "first_p99_ms": cuts[98],
                    "probe_p50_ms": statistics.median(probes),
                }


async def _request(pool: AvatarConnectionPool, audio: bytes) -> None:
    async with pool.borrow(60) as conn:
        await conn.session.send_audio(audio, end=True)
        await conn.collector.wait(60)


async def probe(
    pool: AvatarConnectionPool, audio: bytes, is_over: Callable[[], bool]
) -> list[float]:
    """Make one request after the other; return their first frames' milliseconds."""
    firsts = []
    while not is_over():
        began = time.perf_counter()
        async with pool.borrow() as conn:
            await conn.session.send_audio(audio, end=True)
            async with aclosing(aiter(conn.collector)) as frames:
                await anext(frames)
                firsts.append(1000 * (time.perf_counter() - began))
            await conn.collector.wait(60)
    return firsts


@contextmanager
def serving() -> Iterator[tuple[subprocess.Popen[str], SessionConfig]]:
    """Run a local service in a process of its own."""
    command = [sys.executable, "-c", SERVE]
    with subprocess.Popen(  # noqa: S603  # our own script
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        given = json.loads(process.stdout.readline())
        config = SessionConfig(
            avatar_id=given["AVATAR_SESSION_AVATAR_ID"],
            api_key=given["AVATAR_API_KEY"],
            app_id=given["AVATAR_APP_ID"],
            console_endpoint_url=given["AVATAR_CONSOLE_ENDPOINT"],
            ingress_endpoint_url=given["AVATAR_INGRESS_ENDPOINT"],
        )
        yield process, config


def _cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has had so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
