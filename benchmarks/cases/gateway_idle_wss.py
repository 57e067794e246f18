"""Memory of a gateway's process with 2,000 idle clients over TLS; its upstream speaks TLS, too."""

from __future__ import annotations

from collections.abc import AsyncIterator

from case import Case
from cases import gateway_idle
from clients import Ports

CASE = Case(
    "wss: through a gateway: 2,000 idle clients",
    ("ours",),
    gateway_idle.FIGURES,
    rounds=1,
    is_fresh=True,
    is_secure=True,
)


def measure(peer: str, ports: Ports, *, is_quick: bool = False) -> AsyncIterator[dict[str, float]]:
    """Yield the process's memory, what a client adds to it, and the CPU of its opening."""
    return gateway_idle.measure(peer, ports, is_quick=is_quick)
