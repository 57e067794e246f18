"""Memory of a gateway's process with 2,000 idle clients, each of which has been confirmed."""

from __future__ import annotations

from collections.abc import AsyncIterator

from case import Case
from clients import Ports, raw_picows
from relays import standing

FIGURES = {"idle_mb": "MB, of the process", "client_kb": "kB, for each client", "cpu_us": "CPU µs"}

CASE = Case(
    "Through a gateway: 2,000 idle clients",
    ("ours", "haproxy"),
    FIGURES,
    rounds=1,
    is_fresh=True,
)

CLIENTS = 2000


async def measure(
    peer: str, ports: Ports, *, is_quick: bool = False
) -> AsyncIterator[dict[str, float]]:
    """Yield the process's memory, what a client adds to it, and the CPU of its opening."""
    count = 200 if is_quick else CLIENTS
    async with standing(peer, ports) as relay, raw_picows(relay.ports, "burst-1", 8):
        before, cpu = relay.resident_mb, relay.cpu_seconds
        async with raw_picows(relay.ports, "burst-1", count - 8):
            idle = relay.resident_mb
            yield {
                "idle_mb": idle,
                "client_kb": 1000 * (idle - before) / (count - 8),
                "cpu_us": 1e6 * (relay.cpu_seconds - cpu) / (count - 8),
            }
