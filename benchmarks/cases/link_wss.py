"""Requests over TLS and a wide-area link."""

from __future__ import annotations

from case import Case, Link
from cases import link

CASE = Case(
    "wss, 80 ms away: a request, 558 kB of audio up, 436 frames of 500 bytes down",
    ("ours", "naive", "websockets", "picows", "ssl"),
    link.FIGURES,
    is_secure=True,
    link=Link(80),
)

measure = link.measure
