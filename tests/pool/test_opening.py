from __future__ import annotations

import random

import pytest

from avatarpool.exceptions import AvatarSDKError, AvatarSDKErrorCode, ConfigurationError
from avatarpool.pool.opening import (
    FIRST_DELAY,
    MAX_DELAY,
    MAX_DELAY_WITH_WAITERS,
    PROBATION,
    OpeningPolicy,
    is_refusal,
)

DOWN = AvatarSDKError(AvatarSDKErrorCode.connectionFailed, "down")
NO_CREDITS = AvatarSDKError(AvatarSDKErrorCode.creditsExhausted, "no", close_code=4001)


@pytest.fixture
def policy() -> OpeningPolicy:
    return OpeningPolicy(random.Random(1))


def test_opens_all_that_is_missing_while_all_is_well(policy: OpeningPolicy):
    assert policy.take(0.0, 3, 0) == 3
    assert policy.take(0.0, 0, 3) == 0


def test_waits_after_a_failure_and_doubles_the_wait(policy: OpeningPolicy):
    waits = []
    now = 0.0
    for _ in range(12):
        policy.failed(DOWN, step=policy.step, now=now)
        assert policy.take(now, 3, 0) == 0
        waits.append(policy.next_at - now)
        now = policy.next_at
        assert policy.take(now, 1, 0) == 1
    for number, wait in enumerate(waits):
        full = min(MAX_DELAY, FIRST_DELAY * 2**number)
        assert full / 2 <= wait <= full
    assert len(set(waits)) == len(waits), "delays are jittered"


def test_failures_of_one_step_count_once(policy: OpeningPolicy):
    step = policy.step
    policy.failed(DOWN, step=step, now=0.0)
    next_at = policy.next_at
    policy.failed(DOWN, step=step, now=0.1)
    assert policy.next_at == next_at


def test_each_missing_connection_has_one_attempt_a_step(policy: OpeningPolicy):
    policy.failed(DOWN, step=policy.step, now=0.0)
    now = policy.next_at
    assert policy.take(now, 3, 0) == 3
    assert policy.take(now, 3, 0) == 0


def test_an_attempt_that_told_nothing_may_be_made_again(policy: OpeningPolicy):
    before = policy.step
    policy.failed(DOWN, step=before, now=0.0)
    now = policy.next_at
    assert policy.take(now, 2, 0) == 2
    policy.undecided(step=policy.step)
    policy.undecided(step=before)  # of a step that is over
    assert policy.take(now, 2, 0) == 1


def test_a_refusal_leaves_one_probe_at_a_time(policy: OpeningPolicy):
    policy.failed(NO_CREDITS, step=policy.step, now=0.0)
    assert policy.refusal is NO_CREDITS
    now = policy.next_at
    assert policy.take(now, 3, 0) == 1
    assert policy.take(now, 3, 1) == 0
    assert "breaker open" in repr(policy)


def test_a_token_that_is_refused_once_is_tried_again_with_a_fresh_one(policy: OpeningPolicy):
    stale = AvatarSDKError(
        AvatarSDKErrorCode.sessionTokenInvalid, "stale", phase="websocket_connect", http_status=400
    )
    first = policy.step
    for _ in range(3):  # attempts side by side have tokens of the same age
        policy.failed(stale, step=first, now=0.0)
    assert policy.refusal is None
    policy.failed(stale, step=policy.step, now=1.0)
    assert policy.refusal is stale


def test_a_success_closes_the_breaker(policy: OpeningPolicy):
    policy.failed(NO_CREDITS, step=policy.step, now=0.0)
    policy.succeeded()
    assert policy.refusal is None
    assert policy.error is None
    assert policy.take(0.0, 3, 0) == 3
    assert "breaker closed" in repr(policy)


def test_remembers_since_when_it_fails(policy: OpeningPolicy):
    policy.failed(DOWN, step=0, now=1.0)
    policy.failed(DOWN, step=1, now=2.0)
    assert policy.failing_since == 1.0
    policy.succeeded()
    assert policy.failing_since is None


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (DOWN, False),
        (NO_CREDITS, True),
        (AvatarSDKError(AvatarSDKErrorCode.serverError, "x", http_status=503), False),
        (AvatarSDKError(AvatarSDKErrorCode.sessionTokenInvalid, "x", http_status=401), True),
        (ConfigurationError("x", ["y"]), True),
        (RuntimeError("a factory's own"), True),
    ],
)
def test_tells_refusals_from_failures(error: Exception, refused: bool):
    assert is_refusal(error) is refused


def test_a_slot_that_comes_free_ends_the_pause_of_a_full_plan_and_of_nothing_else(
    policy: OpeningPolicy,
):
    full = AvatarSDKError(AvatarSDKErrorCode.concurrencyLimit, "full", close_code=4003)
    policy.failed(full, step=policy.step, now=0.0)
    policy.slot_freed(0.1)
    assert policy.take(0.1, 2, 0) == 1
    policy.failed(NO_CREDITS, step=policy.step, now=0.2)
    policy.slot_freed(0.3)
    assert policy.take(0.3, 2, 0) == 0
    policy.failed(RuntimeError(), step=policy.step, now=0.4)
    policy.slot_freed(0.5)
    assert policy.take(0.5, 2, 0) == 0


def test_connections_that_die_young_are_followed_by_growing_waits(policy: OpeningPolicy):
    waits = []
    now = 1000.0
    for _ in range(4):
        policy.succeeded()
        for _ in range(3):  # which had opened together
            policy.died(DOWN, age=0.1, now=now)
        waits.append(policy.next_at - now)
        now = policy.next_at
        assert policy.take(now, 3, 0) == 3
    for number, wait in enumerate(waits):
        full = FIRST_DELAY * 2**number
        assert full / 2 <= wait <= full


def test_one_refusal_of_a_young_connection_is_enough_for_the_breaker(policy: OpeningPolicy):
    policy.succeeded()
    policy.died(NO_CREDITS, age=0.1, now=5.0)
    assert policy.refusal is NO_CREDITS


def test_a_connection_that_dies_of_age_is_replaced_at_once(policy: OpeningPolicy):
    policy.succeeded()
    policy.died(DOWN, age=PROBATION, now=5.0)
    assert policy.take(5.0, 1, 0) == 1


def test_connections_that_die_young_one_by_one_are_waited_for_4_s_at_the_most(
    policy: OpeningPolicy,
):
    policy.succeeded()
    now = 0.0
    for _ in range(10):
        policy.died(DOWN, age=0.1, now=now)
        assert 0.0 < policy.next_at - now <= 4.0
        now = policy.next_at


def test_failures_before_connections_that_served_are_forgotten(policy: OpeningPolicy):
    for now in (0.0, 10.0, 20.0, 40.0):
        policy.succeeded()
        policy.died(DOWN, age=0.1, now=now)
    policy.succeeded()
    policy.proved()
    policy.died(DOWN, age=0.1, now=50.0)
    assert policy.next_at - 50.0 <= FIRST_DELAY


def test_a_flapping_service_of_long_ago_is_forgotten(policy: OpeningPolicy):
    for now in (0.0, 10.0, 20.0, 40.0):
        policy.succeeded()
        policy.died(DOWN, age=0.1, now=now)
    policy.succeeded()
    policy.died(DOWN, age=0.1, now=10_000.0)
    assert policy.next_at - 10_000.0 <= FIRST_DELAY


def test_borrowers_who_wait_bring_the_next_attempt_within_5_s(policy: OpeningPolicy):
    for _ in range(10):
        policy.failed(DOWN, step=policy.step, now=0.0)
    assert policy.next_at >= MAX_DELAY / 2
    policy.hurry(1.0)
    assert 1.0 + MAX_DELAY_WITH_WAITERS / 2 <= policy.next_at <= 1.0 + MAX_DELAY_WITH_WAITERS
    due = policy.next_at
    policy.hurry(2.0)
    assert policy.next_at == due, "more of them hasten nothing"


def test_borrowers_who_wait_shorten_no_short_pause(policy: OpeningPolicy):
    policy.failed(DOWN, step=policy.step, now=0.0)
    due = policy.next_at
    policy.hurry(0.0)
    assert policy.next_at == due


def test_what_does_not_pass_a_check_is_followed_by_growing_waits(policy: OpeningPolicy):
    now, waits = 0.0, []
    for _ in range(10):
        policy.succeeded()  # to open one is no proof
        policy.unfit(DOWN, now=now)
        waits.append(policy.next_at - now)
        now = policy.next_at
    for number, wait in enumerate(waits):
        full = min(MAX_DELAY, FIRST_DELAY * 2**number)
        assert full / 2 <= wait <= full


def test_several_that_do_not_pass_at_once_are_one_step(policy: OpeningPolicy):
    for _ in range(10):
        policy.unfit(DOWN, now=0.0)
    assert policy.next_at <= FIRST_DELAY


def test_a_request_that_was_served_ends_what_a_check_began(policy: OpeningPolicy):
    for now in range(0, 1000, 100):
        policy.succeeded()
        policy.unfit(DOWN, now=float(now))
        policy.succeeded()
        policy.proved()
    policy.unfit(DOWN, now=1000.0)
    assert policy.next_at - 1000.0 <= FIRST_DELAY
