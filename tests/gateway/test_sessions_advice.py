"""What the traffic says about the number of sessions."""

import random

import pytest

from avatarpool.fleet.sizing import Load, sessions_needed, waits
from avatarpool.gateway.advice import FEWEST_REQUESTS, WAIT_P99, advise
from avatarpool.gateway.windows import Slice


def traffic(requests, seconds_each, spread=1.0):
    """So many requests whose durations have about this mean and spread."""
    chance, found = random.Random(3), Slice()
    for _ in range(requests):
        found.arrivals += 1
        longer = chance.expovariate(1.0) if spread else 1.0
        found.usage.add(seconds_each * longer)
    return found


def load_of(found, seconds):
    mean = found.usage.sum / found.usage.count
    spread = (found.usage.squares / found.usage.count / mean**2 - 1) ** 0.5
    return Load(found.arrivals / seconds, mean, spread)


def say(found, sessions, *, seconds=300.0, waiting=0, held=0):
    return advise(found, seconds, sessions, waiting=waiting, held=held)


def test_more_sessions_than_needed_are_named():
    found = traffic(300, 1.0)
    needed = sessions_needed(load_of(found, 300.0), WAIT_P99)
    advice = say(found, 10)
    assert advice["sessions_needed"] == needed < 10
    assert advice["text"] == (
        f"{needed} sessions would do: 99 % of requests would wait 300 ms at most."
    )
    assert say(found, needed)["text"].startswith(f"{needed} sessions are just right: ")


def test_one_session_is_no_plural():
    found = traffic(60, 0.05, spread=0)
    assert say(found, 2)["text"].startswith("1 session would do: ")
    assert say(found, 1)["text"].startswith("1 session is just right: ")


def test_what_one_more_would_change_is_what_the_plan_says():
    found = traffic(600, 1.0)
    load = load_of(found, 300.0)
    told = {n: say(found, n)["text"] for n in (3, 4)}
    for sessions, text in told.items():
        ratio = waits(load, sessions + 1).mean / waits(load, sessions).mean
        if 0.45 <= ratio <= 0.55:
            assert text.startswith("One more would halve the wait; with ")
        else:
            assert text.startswith(f"One more would cut the wait by {1 - ratio:.0%}; with ")


def test_a_wait_that_one_more_would_halve_is_halved_in_words():
    # What docs/how-to.md plans for, with one session less than needed.
    found = Slice()
    for n in range(1200):
        found.arrivals += 1
        found.usage.add(6.4 if n % 2 else 1e-9)  # a mean of 3.2 s, a spread of 1
    assert say(found, 21)["text"] == (
        "One more would halve the wait; with 22, 99 % of requests would wait 300 ms at most."
    )


def test_a_queue_that_grows_without_end_is_told():
    found = traffic(600, 3.0, spread=0)
    advice = say(found, 5)
    assert advice["busy_sessions"] == pytest.approx(6.0)
    assert advice["text"] == (
        "6.0 sessions would be busy on average and there may be 5, so that the queue grows; "
        f"with {advice['sessions_needed']}, 99 % of requests would wait 300 ms at most."
    )


def test_those_who_wait_have_come_too():
    found = traffic(300, 3.0, spread=0)  # 3 busy on average, served
    assert say(found, 5, waiting=300)["busy_sessions"] == pytest.approx(6.0)


def test_sessions_that_stay_lent_are_needed_on_top():
    found = traffic(300, 1.0)
    alone, beside = say(found, 20), say(found, 20, held=4)
    assert beside["sessions_needed"] == alone["sessions_needed"] + 4
    full = say(found, 4, held=4)
    assert "so that the queue grows" in full["text"]


@pytest.mark.parametrize(
    ("requests", "seconds", "sentence"),
    [
        (0, 10.0, "it takes 50 more requests and 50 more seconds."),
        (49, 58.5, "it takes 1 more request and 2 more seconds."),
        (FEWEST_REQUESTS, 59.5, "it takes 1 more second."),
        (20, 300.0, "it takes 30 more requests."),
    ],
)
def test_too_little_traffic_gets_no_advice_but_says_what_it_takes(requests, seconds, sentence):
    advice = say(traffic(requests, 9.0), 1, seconds=seconds)
    assert advice["text"] == f"Too little traffic for advice: {sentence}"
    assert advice["sessions_needed"] is None
    assert advice["requests_missing"] == max(0, FEWEST_REQUESTS - requests)


def test_a_load_that_nothing_is_planned_for_is_said_to_be():
    advice = say(traffic(100, 1e5), 10, seconds=61.0, waiting=10**6)
    assert advice["sessions_needed"] is None
    assert advice["text"].startswith("Nothing can be advised: ")
