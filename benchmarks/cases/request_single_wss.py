"""A whole request over TLS whose frames come one by one."""

from __future__ import annotations

from case import Case
from cases import request_single

CASE = Case(
    "wss on loopback: the same, each frame in a write of its own, 5 requests at once",
    ("ours", "naive", "websockets", "picows", "ssl"),
    {"cpu_us": "CPU µs", "wall_us": "wall µs"},
    is_secure=True,
)

measure = request_single.measure
