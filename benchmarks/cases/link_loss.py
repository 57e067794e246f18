"""Requests over TLS and a wide-area link that loses packets."""

from __future__ import annotations

from case import Case, Link
from cases import link

CASE = Case(
    "wss, 80 ms away, 1 % of the packets lost: the same",
    ("ours", "naive", "picows", "ssl"),
    link.FIGURES,
    rounds=3,
    is_secure=True,
    link=Link(80, loss_percent=1),
    loops=("asyncio",),
)

measure = link.measure
