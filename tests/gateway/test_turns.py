"""Whose request is next, over clients of which everything may happen."""

from __future__ import annotations

import random
from collections import Counter
from itertools import combinations, count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from avatarpool.gateway.turns import LEAST_SECONDS, PRIORITY_SECONDS, Standing, Turns

MANY = 10_000


def names(tickets):
    return [ticket.standing.name for ticket in tickets]


def asked(turns, standing, seconds=()):
    """Tickets of requests whose seconds are known before they start."""
    tickets = []
    for each in seconds:
        tickets.append(turns.ask(standing))
        turns.charge(tickets[-1], each)
    return tickets


def one_after_the_other(turns, requests, now=0.0):
    """Run so many requests, one at a time, each as long as its ticket says."""
    for _ in range(requests):
        (ticket,) = turns.next(1, now)
        yield ticket
        turns.end(ticket, ticket.audio_seconds)


# --- one client ------------------------------------------------------------------------------


def test_one_clients_requests_start_in_their_order_as_many_at_once_as_there_may_be():
    turns, one = Turns(), Standing("one", MANY)
    tickets = [turns.ask(one) for _ in range(5)]

    assert turns.next(2, 0.0) == tickets[:2]
    assert turns.next(2, 0.0) == []
    turns.end(tickets[1], 3.0)
    assert turns.next(2, 0.0) == [tickets[2]]
    assert turns.next(0, 0.0) == []
    assert repr(turns) == "<Turns 2 running, 1 clients ready>"
    assert repr(one) == "<Standing 'one' 2 running, 2 waiting>"


def test_whoever_leaves_is_not_started_and_makes_room_once():
    turns, one = Turns(), Standing("one", MANY)
    runs, goes, stays = (turns.ask(one) for _ in range(3))
    turns.next(1, 0.0)

    turns.end(goes, 0.0)
    turns.end(goes, 0.0)
    assert turns.next(1, 0.0) == []
    turns.end(runs, 0.0)  # its turn came at the same time
    turns.end(runs, 1.0)
    assert turns.running == 0
    assert turns.next(9, 0.0) == [stays]
    turns.end(stays, 1.0)
    assert (turns.running, one.running, list(one.waiting)) == (0, set(), [])


def test_a_client_whose_last_one_leaves_is_not_waited_for():
    turns, one = Turns(), Standing("one", MANY)
    ticket = turns.ask(one)
    turns.next(0, 0.0)
    turns.end(ticket, 0.0)
    assert turns.next(1, 0.0) == []
    assert repr(turns) == "<Turns 0 running, 0 clients ready>"


def test_those_who_left_take_no_room():
    turns, other, one = Turns(), Standing("other", MANY), Standing("one", MANY)
    turns.ask(other)
    for _ in range(10_000):
        ticket = turns.ask(one)
        turns.next(0, 0.0)
        turns.end(ticket, 0.0)
    (lane,) = turns._lanes.values()
    assert len(lane._places) < 50
    assert names(turns.next(9, 0.0)) == ["other"]


# --- a client's own limit --------------------------------------------------------------------


def test_whoever_runs_as_many_as_it_may_is_passed_over():
    turns, small, other = Turns(), Standing("small", 1), Standing("other", MANY)
    first, second = turns.ask(small), turns.ask(small)
    turns.ask(other), turns.ask(other)

    assert names(turns.next(3, 0.0)) == ["small", "other", "other"]
    turns.ask(other)
    turns.end(first, 1.0)
    assert turns.next(3, 0.0) == [second]


def test_a_raised_limit_counts_as_soon_as_it_is_looked_at():
    turns, one = Turns(), Standing("one", 1)
    for _ in range(3):
        turns.ask(one)
    assert len(turns.next(9, 0.0)) == 1

    one.max_concurrent = 3
    turns.reconsider(one)
    assert len(turns.next(9, 0.0)) == 2


def test_a_lowered_limit_keeps_what_runs():
    turns, one = Turns(), Standing("one", 2)
    tickets = [turns.ask(one) for _ in range(4)]
    turns.next(1, 0.0)
    one.max_concurrent = 1

    assert turns.next(9, 0.0) == []
    turns.end(tickets[0], 1.0)
    assert turns.next(9, 0.0) == [tickets[1]]
    one.max_concurrent = 0
    turns.end(tickets[1], 1.0)
    assert turns.next(9, 0.0) == []


# --- fair by seconds -------------------------------------------------------------------------


def test_short_requests_get_as_many_seconds_as_long_ones():
    turns, short, long = Turns(), Standing("short", MANY), Standing("long", MANY)
    asked(turns, short, [2.0] * 100)
    asked(turns, long, [10.0] * 100)

    started = Counter(names(one_after_the_other(turns, 60)))
    assert started == {"short": 50, "long": 10}


def test_empty_requests_are_not_free():
    turns, empty, other = Turns(), Standing("empty", MANY), Standing("other", MANY)
    asked(turns, empty, [0.0] * 100)
    asked(turns, other, [LEAST_SECONDS] * 100)

    assert Counter(names(one_after_the_other(turns, 50))) == {"empty": 25, "other": 25}


def test_an_absence_earns_no_credit():
    turns, busy, back = Turns(), Standing("busy", MANY), Standing("back", MANY)
    asked(turns, back, [1.0])
    asked(turns, busy, [1.0] * 2000)
    list(one_after_the_other(turns, 1000))
    asked(turns, back, [1.0] * 1000)

    assert Counter(names(one_after_the_other(turns, 100))) == {"busy": 50, "back": 50}


def test_seconds_are_charged_as_they_are_known():
    turns, one, other = Turns(), Standing("one", MANY), Standing("other", MANY)
    first, _ = turns.ask(one), turns.ask(one)
    asked(turns, other, [5.0] * 4)
    assert names(turns.next(2, 0.0)) == ["one", "other"]
    turns.charge(first, 12.0)  # it is still spoken
    assert names(turns.next(4, 0.0)) == ["other", "other"]
    turns.end(first, 17.0)
    assert names(turns.next(4, 0.0)) == ["other"]
    assert names(turns.next(5, 0.0)) == ["one"]


def test_what_was_charged_too_much_is_given_back():
    turns, one, other = Turns(), Standing("one", MANY), Standing("other", MANY)
    first, _, _ = asked(turns, one, [50.0, 4.0, 4.0])
    asked(turns, other, [5.0] * 30)
    assert names(turns.next(2, 0.0)) == ["one", "other"]
    turns.end(first, 2.0)  # the client broke off
    assert names(turns.next(2, 0.0)) == ["one"]


def test_what_is_given_back_is_no_credit_over_those_who_came_since():
    turns, one, other = Turns(), Standing("one", MANY), Standing("other", MANY)
    tickets = asked(turns, one, [100.0] * 20)
    turns.next(4, 0.0)  # one is alone
    asked(turns, other, [1.0] * 20)
    turns.next(4, 0.0)
    for ticket in tickets[:4]:
        turns.end(ticket, 1.0)
    for ticket in tickets[4:]:
        turns.charge(ticket, 1.0)

    started = names(one_after_the_other(turns, 10))
    assert Counter(started) == {"one": 5, "other": 5}


SECONDS = st.floats(1.0, 60.0)


class Backlog:
    """Clients that always have requests waiting, whose seconds are drawn."""

    def __init__(self, clients, draw):
        self.turns = Turns()
        self.clients = [Standing(str(n), MANY) for n in range(clients)]
        self.seconds = {}  # of each ticket
        self.longest = Counter()
        self.draw = draw

    def ask(self, client, until):
        """Have so many of a client's requests wait."""
        while len(client.waiting) < until:
            ticket = self.turns.ask(client)
            self.seconds[ticket] = seconds = self.draw(SECONDS)
            self.longest[client] = max(self.longest[client], seconds)


@given(st.data(), st.integers(2, 4), st.integers(1, 5))
def test_clients_whose_seconds_are_known_at_the_end_differ_by_what_can_run_at_once(
    data, clients, capacity
):
    """With one at once, that is at most one request of each."""
    backlog = Backlog(clients, data.draw)
    had = Counter()
    running = []
    for client in backlog.clients:
        backlog.ask(client, capacity)
    for _ in range(40):
        started = backlog.turns.next(capacity, 0.0)
        running += started
        for ticket in started:
            backlog.ask(ticket.standing, capacity)
        over = running.pop(data.draw(st.integers(0, len(running) - 1)))
        backlog.turns.end(over, backlog.seconds[over])
        had[over.standing] += backlog.seconds[over]
        for a, b in combinations(backlog.clients, 2):
            most = capacity * (backlog.longest[a] + backlog.longest[b])
            assert abs(had[a] - had[b]) <= most + 1e-6


# --- storms ----------------------------------------------------------------------------------


@given(
    st.randoms(use_true_random=False),
    st.integers(1, 8),
    st.integers(1, 5),
    st.booleans(),
)
def test_a_storm_of_each_other_client_delays_a_request_by_at_most_one(
    chance, capacity, storms, is_known
):
    turns, one = Turns(), Standing("one", MANY)
    for n in range(storms):
        storm = Standing(f"storm {n}", MANY)
        asked(turns, storm, [chance.uniform(0, 30) if is_known else 0.0 for _ in range(200)])
    running = []

    def end_one():
        ticket = running.pop(chance.randrange(len(running)))
        turns.end(ticket, ticket.audio_seconds if is_known else chance.uniform(0, 30))

    running += turns.next(capacity, 0.0)
    for _ in range(chance.randrange(100)):
        end_one()
        running += turns.next(capacity, 0.0)
    ticket = turns.ask(one)
    between = []
    while ticket not in running:
        end_one()
        started = turns.next(capacity, 0.0)
        running += started
        between += started[: started.index(ticket)] if ticket in started else started
    assert set(Counter(names(between)).values()) <= {1}


@given(st.randoms(use_true_random=False), st.integers(1, 6))
def test_a_storm_delays_every_request_of_a_conversation_by_at_most_one(chance, capacity):
    turns, storm, one = Turns(), Standing("storm", MANY), Standing("one", MANY)
    asked(turns, storm, [4.0] * 1000)
    running = turns.next(capacity, 0.0)
    for _ in range(20):
        (ticket,) = asked(turns, one, [4.0])
        between = 0
        while not ticket.is_running:
            turns.end(running.pop(chance.randrange(len(running))), 4.0)
            started = turns.next(capacity, 0.0)
            running += [other for other in started if other is not ticket]
            between += "storm" in names(started)
        assert between <= 1
        turns.end(ticket, 4.0)  # what it answers asks the next
        running += turns.next(capacity, 0.0)


# --- priorities ------------------------------------------------------------------------------


def test_a_priority_goes_first():
    turns = Turns()
    low, normal, high = (Standing(str(p), MANY, p) for p in (-1, 0, 2))
    for client in (low, normal, high):
        turns.ask(client)
    assert names(turns.next(3, 0.0)) == ["2", "0", "-1"]


@pytest.mark.parametrize(("waited", "first"), [(19.5, "high"), (20.0, "low")])
def test_a_unit_of_priority_counts_as_ten_seconds_of_waiting(waited, first):
    assert PRIORITY_SECONDS == 10.0
    turns, low, high = Turns(), Standing("low", MANY), Standing("high", MANY, 2)
    turns.ask(low)
    turns.next(0, 100.0)
    turns.ask(high)
    assert names(turns.next(1, 100.0 + waited)) == [first]


def test_nobody_starves_behind_ever_new_clients_of_a_higher_priority():
    turns, low = Turns(), Standing("low", MANY)
    turns.ask(low)
    turns.next(0, 0.0)
    numbers = count()
    now, started = 0.0, []
    while "low" not in started:
        for _ in range(3):  # more than can be served
            asked(turns, Standing(f"high {next(numbers)}", MANY, 1), [1.0])
        for ticket in turns.next(1, now):
            started.append(ticket.standing.name)
            turns.end(ticket, 1.0)
        now += 1.0
        assert now <= PRIORITY_SECONDS + 3.0
    assert now > PRIORITY_SECONDS / 2, "the priority counted for something"


def test_a_backlog_of_a_higher_priority_gets_ahead_by_its_head_start_and_no_further():
    turns, low, high = Turns(), Standing("low", MANY), Standing("high", MANY, 1)
    asked(turns, low, [1.0] * 500)
    asked(turns, high, [1.0] * 500)
    started = Counter(names(one_after_the_other(turns, 300)))  # at once: nobody waits
    assert 0 < started["high"] - started["low"] <= PRIORITY_SECONDS + 2


def test_a_newcomer_of_a_low_priority_is_not_behind_its_equals_as_well():
    turns, high = Turns(), Standing("high", MANY, 1)
    low, newcomer = Standing("low", MANY), Standing("newcomer", MANY)
    asked(turns, low, [1.0] * 50)
    asked(turns, high, [1.0] * 8)
    list(one_after_the_other(turns, 8))  # of the high one
    asked(turns, newcomer, [1.0] * 50)

    assert Counter(names(one_after_the_other(turns, 20))) == {"low": 10, "newcomer": 10}


# --- the cost --------------------------------------------------------------------------------


class Counted(float):
    """Seconds that count how often they are compared."""

    compared = 0

    def __add__(self, other):
        return Counted(float(self) + other)

    __radd__ = __add__

    def __sub__(self, other):
        return Counted(float(self) - other)

    def __lt__(self, other):
        Counted.compared += 1
        return float(self) < other

    def __gt__(self, other):
        Counted.compared += 1
        return float(self) > other

    def __eq__(self, other):
        Counted.compared += 1
        return float(self) == other

    __hash__ = float.__hash__


def comparisons(clients, requests):
    """Return how many comparisons one turn takes, on average."""
    turns, chance = Turns(), random.Random(clients)
    for n in range(clients):
        client = Standing(str(n), MANY)
        asked(turns, client, [Counted(chance.uniform(1, 30)) for _ in range(requests)])
    turns.next(0, 0.0)
    Counted.compared, rounds = 0, clients * requests // 2
    for ticket in one_after_the_other(turns, rounds):
        assert isinstance(ticket.standing.tag, Counted)
    return Counted.compared / rounds


def test_a_turn_among_two_thousand_costs_little_more_than_among_a_few():
    few, many = comparisons(20, 10), comparisons(200, 10)
    assert 1 < few < 30
    assert many < 2 * few  # log 200 is less than twice log 20
    assert comparisons(200, 1) < 1.5 * many  # how many wait of each does not matter


# --- whatever happens ------------------------------------------------------------------------


class AnyTurns(RuleBasedStateMachine):
    """Clients that ask, leave and end, and whose limits change."""

    priorities = (0, 0, 0, 0)

    def __init__(self):
        super().__init__()
        self.turns = Turns()
        self.capacity = 2
        self.now = 0.0
        limits = (1, 2, 3, MANY)
        self.clients = [
            Standing(str(n), limit, priority)
            for n, (limit, priority) in enumerate(zip(limits, self.priorities, strict=True))
        ]
        self.waiting = {client: [] for client in self.clients}
        self.running = {client: [] for client in self.clients}
        self.over = []
        self.seconds = {}
        self.longest = Counter()
        self.had = Counter()  # seconds that were started
        self.apart = {}  # of two clients, both ready: how far ahead either was since

    def tickets(self, of):
        return [ticket for client in self.clients for ticket in of[client]]

    def note_ready(self):
        for pair in combinations(self.clients, 2):
            if all(self.waiting[c] and len(self.running[c]) < c.max_concurrent for c in pair):
                ahead = self.had[pair[0]] - self.had[pair[1]]
                least, most = self.apart.get(pair, (ahead, ahead))
                self.apart[pair] = min(least, ahead), max(most, ahead)
            else:
                self.apart.pop(pair, None)

    @rule(n=st.integers(0, 3), seconds=SECONDS)
    def ask(self, n, seconds):
        client = self.clients[n]
        ticket = self.turns.ask(client)
        self.turns.charge(ticket, seconds)
        self.seconds[ticket] = seconds
        self.longest[client] = max(self.longest[client], seconds)
        self.waiting[client].append(ticket)
        self.let_go_on()

    @rule(n=st.integers(0, 3), seconds=SECONDS, times=st.integers(5, 30))
    def storm(self, n, seconds, times):
        for _ in range(times):
            self.ask(n, seconds)

    @rule(data=st.data())
    @precondition(lambda self: self.tickets(self.waiting))
    def leave(self, data):
        ticket = data.draw(st.sampled_from(self.tickets(self.waiting)))
        self.turns.end(ticket, 0.0)
        self.waiting[ticket.standing].remove(ticket)
        self.over.append(ticket)
        self.let_go_on()

    @rule(data=st.data())
    @precondition(lambda self: self.tickets(self.running))
    def end(self, data):
        ticket = data.draw(st.sampled_from(self.tickets(self.running)))
        self.turns.end(ticket, self.seconds[ticket])
        self.running[ticket.standing].remove(ticket)
        self.over.append(ticket)
        self.let_go_on()

    @rule(data=st.data())
    @precondition(lambda self: self.over)
    def end_again(self, data):
        ticket = data.draw(st.sampled_from(self.over))
        self.turns.end(ticket, 99.0)

    @rule(seconds=st.floats(0.0, 30.0))
    def wait(self, seconds):
        self.now += seconds
        self.let_go_on()

    @rule(capacity=st.integers(0, 6))
    def resize(self, capacity):
        self.capacity = capacity
        self.let_go_on()

    @rule(n=st.integers(0, 3), limit=st.integers(0, 4))
    def limit(self, n, limit):
        client = self.clients[n]
        client.max_concurrent = limit
        self.turns.reconsider(client)
        self.note_ready()
        self.let_go_on()

    def let_go_on(self):
        self.note_ready()
        for ticket in self.turns.next(self.capacity, self.now):
            client = ticket.standing
            assert len(self.tickets(self.running)) < self.capacity
            assert len(self.running[client]) < client.max_concurrent
            assert self.waiting[client].pop(0) is ticket, "its client's first, and only once"
            self.running[client].append(ticket)
            self.had[client] += self.seconds[ticket]
            self.note_ready()

    @invariant()
    def nobody_is_lost(self):
        for client in self.clients:
            assert list(client.waiting) == self.waiting[client]
            assert client.running == set(self.running[client])
        assert self.turns.running == len(self.tickets(self.running))

    @invariant()
    def nothing_is_free_while_somebody_may_run(self):
        if len(self.tickets(self.running)) < self.capacity:
            for client in self.clients:
                limit = client.max_concurrent
                assert not self.waiting[client] or len(self.running[client]) >= limit

    @invariant()
    def nobody_gets_ahead_by_more_than_a_request_of_each(self):
        """Over any time in which both wait; so nobody starves either.

        Either's head start comes on top, where priorities differ.
        """
        head_start = PRIORITY_SECONDS * (max(self.priorities) - min(self.priorities))
        for (a, b), (least, most) in self.apart.items():
            assert most - least <= self.longest[a] + self.longest[b] + 2 * head_start + 1e-6

    def teardown(self):
        """However it went, everybody who waits is served in the end."""
        for client in self.clients:
            client.max_concurrent = 1
            self.turns.reconsider(client)
        self.apart.clear()
        self.capacity = 6
        self.let_go_on()
        while tickets := self.tickets(self.running):
            ticket = tickets[0]
            self.running[ticket.standing].remove(ticket)
            self.turns.end(ticket, self.seconds[ticket])
            self.let_go_on()
        assert not self.tickets(self.waiting)


TestAnyTurns = AnyTurns.TestCase


class AnyPriorities(AnyTurns):
    """The same, where some go before others."""

    priorities = (-1, 1, 0, 1)


TestAnyPriorities = AnyPriorities.TestCase
