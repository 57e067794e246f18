from __future__ import annotations

import pytest

from avatarpool.service.turns import FIRSTS_IN_A_ROW, Turns


def taken(turns: Turns[str], count: int) -> list[str]:
    return [turns.take() for _ in range(count)]


def test_steps_of_a_kind_are_taken_in_the_order_in_which_they_came():
    turns: Turns[str] = Turns()
    for name in "abc":
        turns.add(name, is_first=False)
    assert taken(turns, 2) == ["a", "b"]
    turns.add("d", is_first=False)

    assert taken(turns, 2) == ["c", "d"]


def test_first_steps_go_before_others():
    turns: Turns[str] = Turns()
    turns.add("other", is_first=False)
    turns.add("first", is_first=True)
    turns.add("next", is_first=True)

    assert taken(turns, 3) == ["first", "next", "other"]


def test_first_steps_that_never_end_keep_nobody_waiting():
    turns: Turns[str] = Turns()
    turns.add("other", is_first=False)
    turns.add("another", is_first=False)
    order = []
    while "another" not in order:
        turns.add("first", is_first=True)
        order.append(turns.take())

    row = ["first"] * FIRSTS_IN_A_ROW
    assert order == [*row, "other", *row, "another"]


def test_first_steps_alone_are_all_taken():
    turns: Turns[int] = Turns()
    for i in range(2 * FIRSTS_IN_A_ROW):
        turns.add(i, is_first=True)

    assert [turns.take() for _ in range(2 * FIRSTS_IN_A_ROW)] == list(range(2 * FIRSTS_IN_A_ROW))


def test_nobody_s_turn_is_an_error():
    with pytest.raises(IndexError):
        Turns().take()
