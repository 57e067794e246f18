"""One holder's side of the leases, on a clock of the test's own."""

from __future__ import annotations

import itertools
from math import inf

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from avatarpool.fleet.leases import POLL, Answer, Call, Leases, Notice

TTL = 15.0
SESSIONS = 5


def given(leases: Leases, now: float, **answer: object) -> Call:
    """Make a call now, and answer it."""
    call = leases.call(now)
    leases.answered(call, Answer(**{"sessions": SESSIONS, **answer}), now)
    return call


def holding(number: int, now: float = 0.0) -> Leases:
    leases = Leases("host", TTL, SESSIONS)
    leases.declare(0, number, 0, now)
    given(leases, now)
    assert leases.held == number
    return leases


def test_what_is_wanted_is_asked_for_at_once_and_may_be_opened_until_it_runs_out():
    leases = Leases("host", TTL, SESSIONS)
    given(leases, 100.0)
    leases.declare(0, 2, 0, 101.0)
    assert leases.due() <= 101.0
    call = leases.call(101.0)
    assert leases.may_open(101.0) == 0
    leases.answered(call, Answer(SESSIONS), 101.9)
    assert leases.may_open(101.9) == 2
    assert leases.may_open(100.9 + TTL) == 2
    assert leases.may_open(101.0 + TTL) == 0  # counted from before the store was asked
    assert leases.may_keep() == 2


def test_one_call_renews_all_leases_at_a_third_of_their_time():
    leases = holding(3)
    assert leases.due() == TTL / 3
    call = given(leases, TTL / 3)
    assert len(call.renewed) == 3
    assert leases.due() == 2 * TTL / 3
    assert leases.may_open(TTL + 4.9) == 3


def test_what_is_neither_used_nor_wanted_is_given_back_at_once():
    leases = holding(3)
    leases.declare(1, 2, 0, 1.0)
    assert leases.held == leases.may_open(1.0) == 2
    assert leases.due() <= 1.0
    assert len(given(leases, 1.0).released) == 1
    assert given(leases, 2.0).released == ()


def test_what_is_used_is_kept_though_it_is_not_wanted():
    leases = holding(3)
    leases.declare(3, 1, 0, 1.0)
    assert leases.held == 3


def test_an_unanswered_rent_is_asked_for_again_by_the_same_ids_and_is_not_used_before():
    leases = Leases("host", TTL, SESSIONS)
    leases.declare(0, 2, 0, 0.0)
    first = leases.call(0.0)
    leases.failed(1.0)
    assert leases.may_open(1.0) == 0
    assert 1.0 < leases.due() <= 2.0
    again = leases.call(2.0)
    assert again.rented == first.rented
    leases.answered(again, Answer(SESSIONS), 2.0)
    assert leases.held == 2


def test_an_unanswered_rent_that_is_not_wanted_any_more_is_given_back():
    leases = Leases("host", TTL, SESSIONS)
    leases.declare(0, 2, 0, 0.0)
    first = leases.call(0.0)
    leases.failed(1.0)
    leases.declare(0, 0, 0, 1.0)
    again = leases.call(leases.due())
    assert (again.rented, again.released) == ((), first.rented)


def test_pauses_after_failures_grow_up_to_a_second_and_the_next_call_renews():
    leases = holding(1)
    pauses = []
    for _ in range(6):
        leases.call(leases.due())
        pauses.append(leases.failed(5.0))
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert leases.call(6.0).renewed
    assert leases.held == leases.may_keep() == 1  # open sessions go on


def test_who_is_refused_asks_again_after_a_poll_and_a_message_is_sooner():
    leases = Leases("host", TTL, SESSIONS)
    leases.declare(0, 2, 0, 0.0)
    call = leases.call(0.0)
    leases.answered(call, Answer(SESSIONS, refused=frozenset(call.rented)), 0.5)
    assert leases.due() == 0.5 + POLL
    leases.declare(0, 2, 0, 0.6)
    assert leases.due() == 0.5 + POLL
    leases.declare(0, 3, 0, 0.6)  # it says so before long: its share depends on it
    assert leases.due() == 0.25
    leases.heard()
    assert leases.due() < 0.25


def test_who_must_make_room_opens_nothing_and_gives_back_what_comes_free():
    leases = holding(4)
    leases.declare(4, 4, 0, 1.0)
    given(leases, 1.0, may_keep=2)
    assert leases.may_keep() == leases.may_open(1.0) == 2
    leases.declare(3, 5, 0, 1.5)
    assert leases.held == 3
    call = given(leases, 1.5)
    assert (len(call.released), call.rented) == (1, ())
    assert leases.may_keep() == 3


def test_nobody_makes_room_for_others_while_the_store_is_away():
    leases = holding(4)
    leases.declare(4, 4, 0, 1.0)
    given(leases, 1.0, may_keep=2)
    leases.call(2.0)
    leases.failed(3.0)
    assert leases.may_keep() == leases.may_open(3.0) == 4


def test_lapsed_leases_are_gone_and_counted():
    leases = holding(2)
    leases.declare(2, 2, 0, 30.0)
    call = leases.call(30.0)
    leases.answered(call, Answer(SESSIONS, lapsed=frozenset(call.renewed[:1])), 30.0)
    assert (leases.held, leases.may_keep(), leases.lapsed) == (1, 1, 1)


def test_a_refusal_by_the_service_is_told_until_it_is_heard_and_bars_openings_meanwhile():
    leases = holding(3)
    leases.filled(2, 0.5)
    assert leases.held == 2
    assert leases.may_open(1.0) == 2
    call = leases.call(1.0)
    assert call.notice is Notice.FILLED
    leases.failed(2.0)
    assert given(leases, 3.0).notice is Notice.FILLED
    assert given(leases, 4.0).notice is None


def test_a_success_is_told_only_if_it_was_a_trial():
    leases = holding(2)
    leases.opened()
    assert given(leases, 1.0, is_trying=True).notice is None
    leases.opened()
    assert given(leases, 2.0).notice is Notice.OPENED


def test_what_had_run_out_opens_nothing_before_the_store_knows_everybody():
    leases = holding(2)
    given(leases, TTL + 1.0, closed_for=TTL)
    assert (leases.held, leases.may_open(TTL + 2.0)) == (2, 0)
    given(leases, 2 * TTL + 1.0)
    assert leases.may_open(2 * TTL + 2.0) == 2


def test_the_store_says_how_many_sessions_there_are_but_for_a_change_of_ours():
    leases = Leases("host", TTL, SESSIONS)
    given(leases, 0.0, sessions=8)
    assert leases.sessions == 8
    leases.resize(12)
    call = leases.call(1.0)
    assert call.resize == 12
    leases.failed(2.0)
    assert given(leases, 3.0, sessions=12).resize == 12
    assert given(leases, 4.0, sessions=12).resize is None


def test_closing_gives_back_everything_that_may_be_there():
    leases = holding(2)
    leases.declare(0, 3, 0, 1.0)
    leases.call(1.0)
    call = leases.last_call(2.0)
    assert len(call.released) == 3
    assert call.notice is Notice.LEAVE
    assert leases.may_open(2.0) == 0


class Host:
    """One holder with its sessions; each is open, or on its way out."""

    def __init__(self, name: str) -> None:
        self.leases = Leases(name, TTL, SESSIONS)
        self.used = 0
        self.wanted = 0

    def declare(self, now: float) -> None:
        self.leases.declare(self.used, self.used + self.wanted, 0, now)


class Fleet(RuleBasedStateMachine):
    """Hosts and a store, between which calls and answers get lost, and come late.

    The store's rules are as plain as may be: it admits what there is room for, and has
    anybody make room. What is shown is a holder's part: it opens nothing that the store
    does not know, and what the store knows, it keeps or gives back.
    """

    hosts: list[Host]

    @initialize(number=st.integers(1, 4))
    def begin(self, number: int) -> None:
        self.now = 1000.0
        self.hosts = [Host(f"host-{i}") for i in range(number)]
        self.stored: dict[str, float] = {}
        self.admits_from = 0.0
        self.late: list[Call] = []

    which = st.integers(0, 3)

    def host(self, number: int) -> Host:
        return self.hosts[number % len(self.hosts)]

    def store(self, call: Call, may_keep: int | None = None) -> Answer:
        self.stored = {id_: until for id_, until in self.stored.items() if until > self.now}
        for id_ in call.released:
            self.stored.pop(id_, None)
        lost: dict[bool, set[str]] = {True: set(), False: set()}
        for is_new, ids in ((False, call.renewed), (True, call.rented)):
            is_open = not is_new or self.now >= self.admits_from
            for id_ in ids:
                if id_ in self.stored or (is_open and len(self.stored) < SESSIONS):
                    self.stored[id_] = self.now + TTL
                else:
                    lost[is_new].add(id_)
        return Answer(
            SESSIONS,
            may_keep=may_keep,
            closed_for=max(0.0, self.admits_from - self.now),
            lapsed=frozenset(lost[False]),
            refused=frozenset(lost[True]),
        )

    def talk(self, host: Host) -> None:
        call = host.leases.call(self.now)
        host.leases.answered(call, self.store(call), self.now)
        host.declare(self.now)

    @rule(seconds=st.floats(0.01, 2.0 * TTL))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(number=which, wanted=st.integers(0, SESSIONS))
    def want(self, number: int, wanted: int) -> None:
        host = self.host(number)
        host.wanted = wanted
        host.declare(self.now)

    @rule(number=which)
    def open_one(self, number: int) -> None:
        host = self.host(number)
        if host.wanted and host.used < host.leases.may_open(self.now):
            host.used += 1
            host.wanted -= 1

    @rule(number=which)
    def close_one(self, number: int) -> None:
        host = self.host(number)
        if host.used:
            host.used -= 1
            host.declare(self.now)

    @rule(number=which)
    def call_is_answered(self, number: int) -> None:
        self.talk(self.host(number))

    @rule(number=which, there=st.floats(0.0, 0.9), back=st.floats(0.0, 0.9))
    def call_takes_long(self, number: int, there: float, back: float) -> None:
        host = self.host(number)
        call = host.leases.call(self.now)
        self.now += there
        answer = self.store(call)
        self.now += back
        host.leases.answered(call, answer, self.now)

    @rule(number=which, keep=st.integers(0, SESSIONS))
    def host_is_told_to_make_room(self, number: int, keep: int) -> None:
        host = self.host(number)
        call = host.leases.call(self.now)
        host.leases.answered(call, self.store(call, keep), self.now)
        assert host.leases.may_open(self.now) <= keep
        host.declare(self.now)

    @rule(number=which, is_heard=st.booleans(), comes_late=st.booleans())
    def call_is_lost(self, number: int, is_heard: bool, comes_late: bool) -> None:
        host = self.host(number)
        call = host.leases.call(self.now)
        if is_heard:
            self.store(call)
        elif comes_late:
            self.late.append(call)
        host.leases.failed(self.now)

    @precondition(lambda self: self.late)
    @rule()
    def late_call_comes(self) -> None:
        self.store(self.late.pop(0))

    @rule()
    def store_is_emptied(self) -> None:
        self.stored.clear()
        self.late.clear()
        self.admits_from = self.now + TTL

    @invariant()
    def nobody_may_open_what_is_not_leased_and_all_that_is_leased_fits(self) -> None:
        if not hasattr(self, "hosts"):
            return
        valid = {
            id_: until
            for host in self.hosts
            for id_, until in host.leases._held.items()
            if until > self.now
        }
        assert len(valid) <= SESSIONS
        if self.now >= self.admits_from:
            for id_, until in valid.items():
                assert self.stored.get(id_, -inf) >= until

    @rule()
    def after_a_lease_time_nothing_is_lost(self) -> None:
        """Everybody reaches the store again: all leases are somebody's, and none is idle."""
        self.late.clear()
        end = self.now + TTL + 2.0
        for _ in itertools.takewhile(lambda _: self.now < end, itertools.count()):
            for host in self.hosts:
                host.used = min(host.used, host.leases.may_keep())
                host.wanted = SESSIONS
                host.declare(self.now)
                if host.leases.due() <= self.now:
                    self.talk(host)
            self.now += 0.5
        held = [id_ for host in self.hosts for id_ in host.leases._held]
        stored = {id_ for id_, until in self.stored.items() if until > self.now}
        assert set(held) == stored
        assert len(stored) == SESSIONS


TestFleet = Fleet.TestCase
TestFleet.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
