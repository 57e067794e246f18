"""Ids of requests in the service's form: UTC time and twelve random characters."""

from __future__ import annotations

import secrets
from datetime import datetime, timezone


def generate_log_id() -> str:
    """Return a fresh id such as ``20261122190501_k3Jx9_aQ0-Zt``; never reused.

    The twelve characters carry 72 random bits, so that ids of many processes
    do not meet either.
    """
    return f"{datetime.now(timezone.utc):%Y%m%d%H%M%S}_{secrets.token_urlsafe(9)}"
