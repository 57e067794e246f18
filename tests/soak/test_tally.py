"""What counts as a violation."""

import pytest
from pool_stats import stats

from avatarpool.soak.plan import BORROW_TIMEOUT
from avatarpool.soak.tally import MEMORY_BOUND, SLACK, Tally, Violation, memory_growth

MB = 1024 * 1024


def kinds(tally):
    return [finding.kind for finding in tally.findings]


def test_failing_is_a_violation_only_if_it_was_calm_all_the_time():
    tally = Tally()
    tally.failed("connectionClosed", "before any calm", calm=tally.calm)
    tally.calm_begins()
    calm = tally.calm
    tally.fault_begins("resets")
    tally.failed("connectionClosed", "begun before the fault", calm=calm)
    tally.failed("connectionClosed", "begun under it", calm=tally.calm)
    tally.calm_begins()
    tally.failed("connectionClosed", "begun in the calm before", calm=calm)
    assert kinds(tally) == []
    tally.failed("connectionClosed", "just so", calm=tally.calm)
    assert kinds(tally) == [Violation.CALM_FAILURE]
    assert tally.findings[0].first == "connectionClosed: just so"
    assert tally.failures == {"connectionClosed": 5}


def test_violations_of_a_kind_are_counted_and_the_first_one_is_kept():
    tally = Tally()
    for number in range(1000):
        tally.found(Violation.MIXED, f"number {number}")
    (finding,) = tally.findings
    assert (finding.count, finding.first) == (1000, "number 0")


def test_waiting_beyond_the_timeout_is_a_violation():
    tally = Tally()
    tally.waited(BORROW_TIMEOUT + SLACK, BORROW_TIMEOUT)
    tally.answer_took(2 * BORROW_TIMEOUT)
    assert kinds(tally) == []
    tally.waited(0.1 + 1.01 * SLACK, 0.1)
    assert kinds(tally) == [Violation.LONG_WAIT]
    tally.answer_took(10 * BORROW_TIMEOUT)
    assert tally.violations == 2
    assert tally.longest_wait == BORROW_TIMEOUT + SLACK


@pytest.mark.parametrize(
    "change",
    [
        {"connections_lost": 0},
        {"connections_retired": 3},
        {"connections_num": 11},
        {"total_requests_served": 6},
        {"requests_num": 6},
        {"requests_errors": 3},
        {"requests_errors": 0},
        {"available_connections": 4},
    ],
)
def test_counters_that_do_not_add_up_are_a_violation(change):
    tally = Tally()
    tally.answered = 7
    tally.check_counters(stats())
    assert kinds(tally) == []
    tally.check_counters(stats(**change))
    assert set(kinds(tally)) == {Violation.COUNTERS}


def test_memory_is_compared_between_the_first_and_the_last_third_after_warming_up():
    warming_up = [MB * i for i in range(30)]
    assert memory_growth(warming_up + [100 * MB] * 90) == 0
    assert memory_growth([*warming_up, *[100 * MB] * 60, *[120 * MB] * 30]) == 20 * MB
    assert memory_growth([*warming_up, *[100 * MB] * 60, *[120 * MB] * 5, *[100 * MB] * 25]) == 0
    assert memory_growth([MB] * 14) is None


def test_growing_beyond_the_bound_is_a_violation():
    tally = Tally()
    tally.memory = [0] * 30 + [MEMORY_BOUND] * 30
    tally.check_memory()
    assert kinds(tally) == []
    tally.memory = [0] * 30 + [MEMORY_BOUND + 1] * 30
    tally.check_memory()
    assert kinds(tally) == [Violation.MEMORY]
