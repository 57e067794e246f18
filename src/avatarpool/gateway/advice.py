"""What the traffic of the last minutes says about the number of sessions. Pure.

The arithmetic is that of ``avatarpool plan`` (`avatarpool.fleet.sizing`).
"""

from __future__ import annotations

from math import ceil
from typing import TypedDict

from avatarpool.exceptions import ConfigurationError
from avatarpool.fleet.sizing import Load, sessions_needed, waits
from avatarpool.gateway.windows import Slice

WAIT_P99 = 0.3
"""Seconds that 99 % of the requests may wait: the default of ``avatarpool plan``."""

FEWEST_REQUESTS = 50
"""Finished requests without which nothing is advised: the mean of as many durations that are
spread exponentially is off by 14 % as a rule (the spread over the root of their number)."""

FEWEST_SECONDS = 60.0
"""Seconds of traffic without which nothing is advised."""


class Advice(TypedDict):
    """Whether there are enough sessions, or too many."""

    text: str
    """One sentence or two."""
    sessions_needed: int | None
    """Sessions with which 99 % of the requests wait for 0.3 s at most; null where that is not
    known yet."""
    busy_sessions: float | None
    """Sessions busy on average."""
    requests_missing: int
    """Requests that must still end before anything is advised."""
    seconds_missing: float
    """... and the time that must still pass."""


def advise(traffic: Slice, seconds: float, sessions: int, *, waiting: int, held: int) -> Advice:
    """Say whether these sessions are too few, too many or right for this traffic.

    Args:
        traffic: What came and how long sessions were lent.
        seconds: The time that it came in.
        sessions: Sessions that there may be.
        waiting: Requests that wait now: they came, and are not in ``traffic`` yet.
        held: Sessions that were lent for longer than that time, which nobody else gets.
    """
    requests_missing = max(0, FEWEST_REQUESTS - traffic.usage.count)
    seconds_missing = max(0.0, FEWEST_SECONDS - seconds)
    if requests_missing or seconds_missing:
        return _too_little(requests_missing, seconds_missing)
    try:
        load = _load(traffic, seconds, waiting)
        needed = sessions_needed(load, WAIT_P99) + held
    except ConfigurationError as error:  # over 100,000 of them would be busy
        return _untold(f"Nothing can be advised: {'; '.join(error.problems)}.")
    text = _verdict(load, sessions, needed, held)
    return Advice(
        text=text,
        sessions_needed=needed,
        busy_sessions=load.busy + held,
        requests_missing=0,
        seconds_missing=0.0,
    )


def _load(traffic: Slice, seconds: float, waiting: int) -> Load:
    return Load.from_stats(
        {
            "borrows_num": traffic.arrivals + waiting,
            "returns_num": traffic.usage.count,
            "usage_ms": 1e3 * traffic.usage.sum,
            "usage_ms_squared": 1e6 * traffic.usage.squares,
        },
        seconds,
    )


def _too_little(requests: int, seconds: float) -> Advice:
    missing = [_count(requests, "more request")] if requests else []
    if seconds:
        missing.append(_count(ceil(seconds), "more second"))
    advice = _untold(f"Too little traffic for advice: it takes {' and '.join(missing)}.")
    return Advice(**{**advice, "requests_missing": requests, "seconds_missing": seconds})


def _untold(text: str) -> Advice:
    return Advice(
        text=text,
        sessions_needed=None,
        busy_sessions=None,
        requests_missing=0,
        seconds_missing=0.0,
    )


def _verdict(load: Load, sessions: int, needed: int, held: int) -> str:
    """Say it in words, with what one session more or less would change."""
    promise = f"99 % of requests would wait {WAIT_P99 * 1000:.0f} ms at most"
    free = sessions - held  # that requests come to and go from
    if needed < sessions:
        return f"{_count(needed, 'session')} would do: {promise}."
    if needed == sessions:
        are = "is" if sessions == 1 else "are"
        return f"{_count(sessions, 'session')} {are} just right: {promise}."
    if free <= load.busy:
        return (
            f"{load.busy + held:.1f} sessions would be busy on average and there may be "
            f"{sessions}, so that the queue grows; with {needed}, {promise}."
        )
    now, more = waits(load, free).mean, waits(load, free + 1).mean
    return f"One more would {_change(more / now)}; with {needed}, {promise}."


def _change(ratio: float) -> str:
    if 0.45 <= ratio <= 0.55:
        return "halve the wait"
    return f"cut the wait by {1.0 - ratio:.0%}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
