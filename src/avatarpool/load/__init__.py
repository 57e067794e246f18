"""Rounds of requests through a pool, and the report on them."""

from __future__ import annotations

from avatarpool.load.clip import load_speech_clip
from avatarpool.load.report import (
    LoadReport,
    completion_text,
    opening_text,
    plan_text,
    short_ids,
    summary_text,
)
from avatarpool.load.results import (
    LoadPlan,
    Progress,
    RequestResult,
    RoundCompleted,
    RoundPause,
    RoundResult,
    RoundStarted,
)
from avatarpool.load.rounds import process_audio, run_concurrent_requests, run_multiple_rounds

__all__ = [
    "LoadPlan",
    "LoadReport",
    "Progress",
    "RequestResult",
    "RoundCompleted",
    "RoundPause",
    "RoundResult",
    "RoundStarted",
    "completion_text",
    "load_speech_clip",
    "opening_text",
    "plan_text",
    "process_audio",
    "run_concurrent_requests",
    "run_multiple_rounds",
    "short_ids",
    "summary_text",
]
