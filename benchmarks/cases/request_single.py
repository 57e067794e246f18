"""A whole request whose frames come one by one, as fast as the service sends them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from case import Case
from cases import request
from clients import Ports

CASE = Case(
    "The same, each frame in a write of its own, 5 requests at once",
    ("ours", "naive", "websockets", "picows", "tcp"),
    {"cpu_us": "CPU µs", "wall_us": "wall µs"},
)

AT_ONCE = 5


def measure(peer: str, ports: Ports, *, is_quick: bool = False) -> AsyncIterator[dict[str, float]]:
    """Yield the time per request."""
    return request.measure(peer, ports, is_quick=is_quick, style="single", at_once=AT_ONCE, each=6)
