"""A whole request whose frames come one by one at an even pace."""

from __future__ import annotations

from collections.abc import AsyncIterator

from case import Case
from cases import request
from clients import Ports

CASE = Case(
    "The same, frames sent one by one, 2 ms apart, on 32 connections",
    ("ours", "naive", "websockets", "picows"),
    {"cpu_us": "CPU µs", "request_ms": "wall of each, ms"},
    rounds=3,
)


def measure(peer: str, ports: Ports, *, is_quick: bool = False) -> AsyncIterator[dict[str, float]]:
    """Yield the time per request."""
    return request.measure(peer, ports, is_quick=is_quick, style="paced", at_once=32, each=1)
