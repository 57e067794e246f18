"""The last minutes, in a fixed number of slices."""

import random

import pytest

from avatarpool.gateway.windows import ACCURACY, SLICE_SECONDS, SLICES, Durations, Recent
from avatarpool.stats import percentiles


def test_percentiles_are_those_of_the_nearest_rank_within_the_accuracy():
    chance = random.Random(1)
    for count in (1, 2, 19, 100, 3000):
        values = sorted(chance.lognormvariate(-1, 2) for _ in range(count))
        durations = Durations()
        for value in values:
            durations.add(value)
        assert durations.percentiles(50, 95, 99) == pytest.approx(percentiles(values), rel=ACCURACY)
        assert durations.max == values[-1]
        assert durations.sum == pytest.approx(sum(values))
        assert durations.squares == pytest.approx(sum(value**2 for value in values))


def test_nothing_is_0_and_what_needs_no_time_is_too():
    durations = Durations()
    assert durations.percentiles(50, 99) == [0.0, 0.0]
    durations.add(0.0)
    assert durations.summary() == {"p50": 0.0, "p95": 0.0, "p99": 0.0, "max": 0.0, "count": 1}


def test_durations_of_any_length_take_a_bounded_number_of_bins():
    durations = Durations()
    for exponent in range(-3000, 3000):
        durations.add(10.0 ** (exponent / 10))
    assert len(durations._bins) < 500


def test_parts_add_up():
    whole, parts = Durations(), [Durations() for _ in range(3)]
    for n in range(300):
        whole.add(n / 100)
        parts[n % 3].add(n / 100)
    assert Durations(parts).summary() == whole.summary()


def test_what_is_older_than_the_window_is_forgotten():
    recent = Recent(1000.0)
    for second in range(1000, 3000):
        recent.at(float(second)).arrivals += 1
    each = recent.each(2999.0)
    assert len(each) == SLICES
    assert {part.arrivals for part in each} == {SLICE_SECONDS}
    assert recent.seconds(2999.0) == pytest.approx(SLICES * SLICE_SECONDS - 1)
    assert len(recent._slices) == SLICES


def test_quiet_times_are_slices_without_anything():
    recent = Recent(2.0)
    recent.at(2.0).arrivals += 1
    recent.at(22.0).arrivals += 1
    assert [part.arrivals for part in recent.each(31.0)][-7:] == [1, 0, 0, 0, 1, 0, 0]
    assert recent.seconds(31.0) == 29.0
    assert not any(part.arrivals for part in recent.each(1000.0))


def test_a_clock_may_begin_anywhere():
    for began in (-1e6, 0.0, 3.0, 1e9):
        recent = Recent(began)
        recent.at(began + 1.0).arrivals += 1
        assert recent.each(began + 2.0)[-1].arrivals + recent.each(began + 2.0)[-2].arrivals == 1
        assert recent.seconds(began + 2.0) == 2.0
