from __future__ import annotations

from math import inf
from typing import Any

import pytest

from avatarpool.pool.fading import QUIET, Fading

LEFT = 100.0  # when the request was left


def faded(**options: Any) -> Fading:
    given = {"asked_at": LEFT - 1.0, "has_frames": True, "patience": 5.0, "longest": 45.0}
    return Fading(LEFT, **{**given, **options})


def test_with_frames_and_an_answered_ping_a_moment_of_silence_is_an_end():
    fading = faded()
    fading.peer_answered(LEFT)
    for is_wanted in (False, True):
        assert fading.over_at(is_wanted=is_wanted) == LEFT + QUIET


def test_silence_is_no_end_while_the_ping_is_not_answered():
    fading = faded()
    assert fading.over_at(is_wanted=True) == inf
    fading.frame_came(LEFT + 1.0)
    assert fading.over_at(is_wanted=True) == inf


def test_each_frame_that_still_comes_begins_the_silence_anew():
    fading = faded()
    fading.peer_answered(LEFT)
    for moment in (0.2, 0.4, 3.0):
        fading.frame_came(LEFT + moment)
        assert fading.over_at(is_wanted=False) == LEFT + moment + QUIET


def test_before_the_first_frame_it_is_over_for_nobody_but_who_waits():
    fading = faded(has_frames=False)
    fading.peer_answered(LEFT)
    assert fading.over_at(is_wanted=False) == inf
    assert fading.over_at(is_wanted=True) == LEFT + QUIET


def test_a_first_frame_after_it_was_left_is_one():
    fading = faded(has_frames=False)
    fading.peer_answered(LEFT)
    fading.frame_came(LEFT + 2.0)
    assert fading.over_at(is_wanted=False) == LEFT + 2.0 + QUIET


@pytest.mark.parametrize(("waited", "over_at"), [(4.9, LEFT + QUIET), (5.0, inf)])
def test_what_stayed_silent_in_its_borrowers_hands_is_lent_to_nobody(waited, over_at):
    fading = faded(asked_at=LEFT - waited, has_frames=False)
    fading.peer_answered(LEFT)
    assert fading.over_at(is_wanted=True) == over_at


def test_a_slow_request_that_has_frames_is_as_good_as_any():
    fading = faded(asked_at=LEFT - 40.0)
    fading.peer_answered(LEFT)
    assert fading.over_at(is_wanted=False) == LEFT + QUIET


def test_in_silence_its_connection_is_replaced_after_its_patience():
    assert faded().give_up_at == LEFT + 5.0
    assert faded(has_frames=False).give_up_at == LEFT + 5.0


def test_each_frame_begins_the_patience_anew_up_to_the_longest_that_a_request_may_take():
    fading = faded()
    for second in range(1, 40):
        fading.frame_came(LEFT + second)
        assert fading.give_up_at == LEFT + second + 5.0
    fading.frame_came(LEFT + 44.0)
    assert fading.give_up_at == LEFT + 45.0


def test_without_a_longest_time_frames_are_waited_for_as_long_as_they_come():
    fading = faded(longest=inf)
    fading.frame_came(LEFT + 10_000.0)
    assert fading.give_up_at == LEFT + 10_005.0


def test_a_patience_beyond_the_longest_time_is_kept():
    fading = faded(patience=60.0)
    assert fading.give_up_at == LEFT + 60.0
    fading.frame_came(LEFT + 10.0)
    assert fading.give_up_at == LEFT + 60.0
