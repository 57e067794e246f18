"""A whole request over TLS whose frames come in a lip-sync's own rhythm, 20 times as fast."""

from __future__ import annotations

from collections.abc import AsyncIterator

from case import Case
from cases import request
from clients import Ports

CASE = Case(
    "wss on loopback: the same in a service's rhythm, four frames every 8 ms, on 32 connections",
    ("ours", "naive", "websockets", "picows"),
    {"cpu_us": "CPU µs", "request_ms": "wall of each, ms"},
    rounds=3,
    is_secure=True,
)


def measure(peer: str, ports: Ports, *, is_quick: bool = False) -> AsyncIterator[dict[str, float]]:
    """Yield the time per request."""
    return request.measure(peer, ports, is_quick=is_quick, style="natural", at_once=32, each=1)
