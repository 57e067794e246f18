from __future__ import annotations

from decimal import Decimal
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avatarpool.pool.queue import PRIORITY_SECONDS, FairQueue


def drained(queue: FairQueue[str]) -> list[str]:
    return [queue.pop() for _ in range(len(queue))]


def test_first_come_first_served():
    queue: FairQueue[str] = FairQueue()
    for name in "abc":
        queue.push(name, 1.0)  # at the very same time
    assert drained(queue) == ["a", "b", "c"]
    with pytest.raises(IndexError):
        queue.pop()


def test_a_priority_is_a_head_start():
    queue: FairQueue[str] = FairQueue()
    queue.push("long waiting", 0.0)
    queue.push("just come", PRIORITY_SECONDS + 1.0)
    queue.push("urgent", PRIORITY_SECONDS + 2.0, priority=1.0)
    queue.push("idle work", PRIORITY_SECONDS + 2.0, priority=-1.0)
    assert drained(queue) == ["long waiting", "urgent", "just come", "idle work"]


def test_leaving_twice_is_harmless_and_coming_back_is_the_end_of_the_queue():
    queue: FairQueue[str] = FairQueue()
    for name in "abc":
        queue.push(name, 0.0)
    queue.discard("a")
    queue.discard("a")
    queue.push("a", 0.0)
    assert drained(queue) == ["b", "c", "a"]


@pytest.mark.parametrize(
    ("priority", "timeout"),
    [(None, 1.0), ("high", 1.0), (0.0, "5"), (0.0, Decimal(5)), (nan, 1.0), (0.0, nan)],
)
def test_what_is_no_number_is_refused_and_changes_nothing(priority: Any, timeout: Any):
    queue: FairQueue[str] = FairQueue()
    queue.push("a", 0.0, timeout=3.0)
    with pytest.raises((TypeError, ValueError)):
        queue.push("b", 0.0, priority, timeout)
    assert len(queue) == 1
    assert queue.next_deadline == 3.0
    assert drained(queue) == ["a"]


def test_those_who_left_take_no_room():
    queue: FairQueue[str] = FairQueue()
    queue.push("stays", 0.0)
    for number in range(10_000):
        queue.push(str(number), 1.0)
        queue.discard(str(number))
    assert queue._places < 50
    assert drained(queue) == ["stays"]


def test_those_who_left_take_no_room_among_the_deadlines():
    queue: FairQueue[str] = FairQueue()
    queue.push("stays", 0.0, -1000.0, timeout=60.0)
    for number in range(10_000):
        queue.push(str(number), float(number), timeout=30.0 + number % 3)
        assert queue.pop() == str(number)
    assert queue._places < 50
    assert queue.next_deadline == 60.0
    assert queue.overdue(59.0) == []
    assert queue.overdue(60.0) == ["stays"]


@given(
    st.lists(
        st.tuples(st.floats(0, 100), st.sampled_from([0.0, 1.0, 30.0, inf]), st.booleans()),
        max_size=60,
    ),
    st.floats(0, 150),
)
def test_gives_those_whose_time_is_over(arrivals: list[tuple[float, float, bool]], end: float):
    queue: FairQueue[int] = FairQueue()
    deadlines = {}
    for number, (now, timeout, leaves) in enumerate(arrivals):
        queue.push(number, now, timeout=timeout)
        deadlines[number] = now + timeout
        if leaves:
            queue.discard(number)
            del deadlines[number]
    assert queue.next_deadline <= min(deadlines.values(), default=inf)
    overdue = sorted(
        (deadline, number) for number, deadline in deadlines.items() if deadline <= end
    )
    assert queue.overdue(end) == [number for _, number in overdue]
    assert len(queue) == len(deadlines) - len(overdue)
    assert queue.next_deadline == min(sorted(deadlines.values())[len(overdue) :], default=inf)
    rest = {queue.pop() for _ in range(len(queue))}
    assert rest == set(deadlines) - {number for _, number in overdue}


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(-3, 3), st.booleans()), max_size=60))
def test_serves_as_a_sorted_list_does(arrivals: list[tuple[float, int, bool]]):
    queue: FairQueue[str] = FairQueue()
    expected = []
    for number, (now, priority, leaves) in enumerate(arrivals):
        queue.push(str(number), now, priority)
        expected.append((now - PRIORITY_SECONDS * priority, number))
        if leaves:
            queue.discard(str(number))
            expected.pop()
    assert drained(queue) == [str(number) for _, number in sorted(expected)]
