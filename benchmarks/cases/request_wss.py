"""A whole request over TLS, its frames in a burst."""

from __future__ import annotations

from collections.abc import AsyncIterator

from case import Case
from cases import request
from clients import Ports

CASE = Case(
    "wss on loopback: a request, 558 kB of audio up, 436 frames of 500 bytes down in a burst",
    ("ours", "naive", "websockets", "picows", "ssl"),
    {"cpu_us": "CPU µs", "wall_us": "wall µs"},
    is_secure=True,
)


def measure(peer: str, ports: Ports, *, is_quick: bool = False) -> AsyncIterator[dict[str, float]]:
    """Yield the time per request."""
    return request.measure(peer, ports, is_quick=is_quick, each=6)
