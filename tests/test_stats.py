from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avatarpool.stats import Counters, Latency, PoolStats


def summary_of(*seconds: float):
    latency = Latency()
    for value in seconds:
        latency.add(value)
    return latency.summary()


def test_nothing_recorded_gives_zeros():
    assert summary_of() == {"p50": 0.0, "p95": 0.0, "p99": 0.0, "max": 0.0, "count": 0}


def test_percentiles_are_of_the_nearest_rank_and_in_milliseconds():
    hundred = [number / 1000 for number in range(1, 101)]
    summary = summary_of(*reversed(hundred))
    assert summary == pytest.approx({"p50": 50, "p95": 95, "p99": 99, "max": 100, "count": 100})


def test_a_single_value_is_every_percentile():
    assert summary_of(0.25) == {"p50": 250, "p95": 250, "p99": 250, "max": 250, "count": 1}


@given(st.lists(st.floats(0, 1000), min_size=1))
def test_at_least_the_named_share_of_values_is_no_larger(seconds: list[float]):
    summary = summary_of(*seconds)
    for percent in (50, 95, 99):
        value = summary[f"p{percent}"]  # type: ignore[literal-required]
        assert value in [one * 1000.0 for one in seconds]
        share = sum(one * 1000.0 <= value for one in seconds) / len(seconds)
        assert share >= percent / 100
    assert summary["max"] == max(seconds) * 1000.0


def test_percentiles_speak_of_the_last_2048_values_and_the_count_of_all():
    summary = summary_of(60.0, *[0.001] * 2048)
    assert summary["max"] == pytest.approx(1.0)
    assert summary["count"] == 2049


def test_a_reset_latency_starts_anew():
    latency = Latency()
    latency.add(1.0)
    latency.reset()
    assert latency.summary() == summary_of()


def test_every_counter_is_told_to_the_user_under_its_name():
    told = PoolStats.__annotations__
    for field in fields(Counters):
        assert field.name in told
        assert field.default == 0
