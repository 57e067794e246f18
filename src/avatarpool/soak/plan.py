"""What a soak is to do."""

from __future__ import annotations

from enum import Enum


class FaultMix(str, Enum):
    """Which faults a soak makes."""

    NONE = "none"
    OPENING = "opening"
    SESSIONS = "sessions"
    RESTARTS = "restarts"
    MIXED = "mixed"
