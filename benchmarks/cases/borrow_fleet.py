"""Borrow and return from a group, whose sessions are leased from Redis or its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

from case import Case
from cases import borrow
from clients import Ports

CASE = Case(
    "Borrow and return: a pool, a group, and a group whose sessions are leased from Redis",
    ("ours", "group", "leased"),
    {"cpu_us": "CPU µs", "wall_us": "wall µs"},
)


def measure(peer: str, ports: Ports, *, is_quick: bool = False) -> AsyncIterator[dict[str, float]]:
    """Yield the time per borrow."""
    return borrow.measure(peer, ports, is_quick=is_quick)
