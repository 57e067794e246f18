"""Memory of pooled connections over TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator

from case import Case
from cases import memory
from clients import Ports

CASE = Case(
    "wss: memory of a pooled idle connection, of 200 (growth of RSS)",
    ("ours", "naive", "websockets", "picows", "ssl"),
    {"opened_kb": "kB, opened", "served_kb": "kB, after a 558 kB request"},
    rounds=1,
    is_fresh=True,
    is_secure=True,
)


def measure(peer: str, ports: Ports, *, is_quick: bool = False) -> AsyncIterator[dict[str, float]]:
    """Yield the memory per connection."""
    return memory.measure(peer, ports, is_quick=is_quick, connections=200)
