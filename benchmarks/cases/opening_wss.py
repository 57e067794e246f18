"""CPU of opening a connection over TLS: token, both handshakes of TLS, upgrade, handshake."""

from __future__ import annotations

from case import Case
from cases import opening

CASE = Case(
    "wss on loopback: opening a connection, token included",
    ("ours", "naive", "websockets", "picows", "ssl"),
    {"cpu_us": "CPU µs", "wall_us": "wall µs"},
    is_secure=True,
)

measure = opening.measure
