"""Who opens and who gives up, over pools of which everything may happen."""

from __future__ import annotations

import pytest
from fleet.sharers import Household
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from avatarpool import ConfigurationError, LocalBudget


def opened(budget, **warm):
    house = Household(budget, warm)
    house.finish()
    return house


def lend_all(house, key, n):
    waiters = [house.pools[key].borrow() for _ in range(n)]
    house.loop.settle()
    house.finish()
    return [waiter.member for waiter in waiters]


def test_warm_sessions_are_opened_first():
    house = opened(5, a=2, b=1, c=0)
    assert [pool.state.used for pool in house.pools.values()] == [2, 1, 0]


def test_who_asks_in_vain_has_not_all_others_looked_at(monkeypatch):
    house = opened(2, **dict.fromkeys("abcdefgh", 0))
    for key in house.pools:
        house.pools[key].borrow()
    house.loop.settle()
    house.finish()
    looks = []
    shares = house.sharing.shares
    monkeypatch.setattr(house.sharing, "shares", lambda: looks.append(1) or shares())
    for pool in house.pools.values():
        for _ in range(10):
            pool.act()
    for pool in house.pools.values():
        for member in pool.lent:
            pool.give_back(member)
    assert not looks, "before the next look of all, nothing is free and nothing may go"
    house.loop.advance(2.0)
    assert looks
    assert house.waiting == 6
    house.finish()
    assert house.waiting == 4


def test_who_waits_gets_what_is_free():
    house = opened(5, a=2, b=0)
    assert None not in lend_all(house, "b", 3)
    waiter = house.pools["b"].borrow()
    house.loop.settle()
    house.finish()
    assert waiter.member is None
    assert house.used == 5


def test_an_idle_session_makes_room_once_it_was_held_for_a_while():
    house = opened(3, a=0, b=0)
    for member in lend_all(house, "a", 3):
        house.pools["a"].give_back(member)
    waiter = house.pools["b"].borrow()
    house.loop.advance(0.9)
    house.finish()
    assert waiter.member is None
    house.loop.advance(0.2)
    house.finish()
    assert waiter.member is not None
    assert len(house.pools["a"].idle) == 2


def test_the_longest_idle_of_all_makes_room():
    house = opened(4, a=0, b=0, c=0)
    (of_a,), of_b = lend_all(house, "a", 1), lend_all(house, "b", 3)
    house.loop.advance(2.0)
    house.pools["b"].give_back(of_b[1])
    house.loop.advance(1.0)
    house.pools["a"].give_back(of_a)
    house.pools["c"].borrow()
    house.loop.settle()
    assert of_b[1] not in house.pools["b"].state.members
    assert of_a in house.pools["a"].state.members


def test_warm_sessions_make_no_room():
    house = opened(3, a=2, b=0)
    house.loop.advance(5.0)
    warm = list(house.pools["a"].idle)
    first, second = house.pools["b"].borrow(), house.pools["b"].borrow()
    house.loop.advance(5.0)
    house.finish()
    assert (first.member is not None, second.member) == (True, None)
    assert list(house.pools["a"].idle) == warm


def test_a_warm_session_that_comes_back_makes_no_room():
    house = opened(2, a=1, b=0)
    (member,) = lend_all(house, "a", 1)
    first, second = house.pools["b"].borrow(), house.pools["b"].borrow()
    house.loop.advance(5.0)
    house.pools["a"].give_back(member)
    house.finish()
    assert list(house.pools["a"].idle) == [member]
    assert (first.member is not None, second.member) == (True, None)


def test_where_none_is_idle_the_next_that_comes_back_goes_to_who_waits_longest():
    house = opened(2, a=0, b=0)
    first, second = lend_all(house, "a", 2)
    house.loop.advance(2.0)
    of_b = house.pools["b"].borrow()
    house.loop.advance(0.1)
    of_a = house.pools["a"].borrow()
    house.pools["a"].give_back(first)
    house.finish()
    assert (of_b.member is not None, of_a.member) == (True, None)
    house.pools["a"].give_back(second)
    assert of_a.member is second


def test_a_priority_counts_over_all_keys():
    house = opened(1, a=0, b=0)
    (member,) = lend_all(house, "a", 1)
    house.loop.advance(2.0)
    of_a = house.pools["a"].borrow()
    house.loop.advance(0.1)
    of_b = house.pools["b"].borrow(priority=1.0)
    house.pools["a"].give_back(member)
    house.finish()
    assert (of_a.member, of_b.member is not None) == (None, True)


def test_two_keys_that_take_turns_do_not_open_a_session_for_each_request():
    house = opened(1, a=0, b=0)
    opened_before = house.loop.now
    waiters = {key: house.pools[key].borrow() for key in "ab"}
    openings = 0
    for _ in range(200):  # requests of 50 ms each, and somebody waits for either all the time
        for pool in house.pools.values():
            while pool.state.closing:
                pool.close()
            while pool.state.opening:
                openings += 1
                pool.open()
        house.loop.settle()
        house.loop.advance(0.05)
        for key, waiter in list(waiters.items()):
            if waiter.member is not None:
                waiters[key] = house.pools[key].borrow()
                house.pools[key].give_back(waiter.member)
                house.loop.settle()
    assert openings <= (house.loop.now - opened_before) / house.min_hold + 1


def test_who_cannot_open_keeps_nobody_from_it():
    house = opened(3, a=2, b=0)
    house.pools["a"].can_open = False  # its avatar is refused, say
    for member in list(house.pools["a"].idle):
        house.pools["a"].lose(member)
    house.loop.settle()
    assert None not in lend_all(house, "b", 3)
    house.pools["a"].can_open = True
    for member in house.pools["b"].lent:
        house.pools["b"].give_back(member)
    house.loop.advance(2.0)
    house.finish()
    assert len(house.pools["a"].idle) == 2


def test_a_smaller_budget_is_kept_as_sessions_come_back():
    house = opened(4, a=1, b=0)
    lent = [*lend_all(house, "a", 1), *lend_all(house, "b", 3)]
    house.budget.resize(2)
    house.sharing.look()
    house.loop.settle()
    assert house.used == 4
    house.pools["b"].give_back(lent[1])
    house.pools["b"].give_back(lent[2])
    house.finish()
    assert house.used == 2
    house.budget.resize(4)
    house.sharing.look()
    assert None not in lend_all(house, "b", 2)


def test_what_the_service_allows_is_taken_for_the_budget_for_a_while():
    house = opened(4, a=0, b=0)
    lend_all(house, "a", 2)
    waiter = house.pools["b"].borrow()
    house.loop.settle()
    house.pools["b"].state.opening -= 1
    house.sharing.filled()
    house.pools["b"].act()
    house.loop.advance(29.0)
    assert house.pools["b"].state.opening == 0
    house.loop.advance(2.0)
    assert house.pools["b"].state.opening == 1, "one is tried"
    more = [house.pools["a"].borrow() for _ in range(2)]
    house.loop.advance(5.0)
    assert house.used == 3
    house.sharing.opened()
    house.finish()
    assert waiter.member is not None
    assert any(each.member is not None for each in more)


class Households(RuleBasedStateMachine):
    """Whatever comes, opens, fails, returns, dies or leaves when."""

    keys = st.sampled_from("abc")

    @initialize(budget=st.integers(1, 6), warm=st.lists(st.integers(0, 2), min_size=3, max_size=3))
    def begin(self, budget, warm):
        while sum(warm) >= budget:
            warm[warm.index(max(warm))] -= 1
            if not any(warm):
                break
        self.budget = budget
        self.house = Household(budget, dict(zip("abc", warm, strict=True)))
        self.waiters = []

    def pool(self, key):
        return self.house.pools[key]

    @rule(key=keys, priority=st.sampled_from([0.0, 0.0, 1.0, -1.0]))
    def borrow(self, key, priority):
        self.waiters.append((key, self.pool(key).borrow(priority)))

    @precondition(lambda self: self.waiters)
    @rule(data=st.data())
    def leave(self, data):
        key, waiter = self.waiters.pop(data.draw(st.integers(0, len(self.waiters) - 1)))
        if waiter.member is None:
            self.pool(key).state.leave(waiter)  # and tells nobody
        elif waiter.member in self.pool(key).lent:
            self.pool(key).give_back(waiter.member)

    @rule(key=keys, fails=st.booleans())
    def open_or_fail(self, key, fails):
        if self.pool(key).state.opening:
            self.pool(key).fail() if fails else self.pool(key).open()

    @rule(key=keys)
    def close(self, key):
        if self.pool(key).state.closing:
            self.pool(key).close()

    @rule(key=keys, data=st.data())
    def die(self, key, data):
        members = list(self.pool(key).state.members)
        if members:
            self.pool(key).lose(data.draw(st.sampled_from(members)))

    @rule(seconds=st.sampled_from([0.01, 0.4, 1.5]))
    def pass_time(self, seconds):
        self.house.loop.advance(seconds)

    @rule()
    def settle(self):
        self.house.loop.settle()

    @invariant()
    def the_budget_is_kept(self):
        if hasattr(self, "house"):
            assert self.house.used <= self.budget

    @invariant()
    def nothing_lies_idle_that_others_wait_for(self):
        if not hasattr(self, "house"):
            return
        house = self.house
        house.loop.settle()
        now = house.loop.now
        lack = house.sharing.shares().lack
        idle = [
            (pool, member)
            for pool in house.pools.values()
            for member in pool.idle
            if len(pool.state.members) + pool.state.opening > pool.warm
            and member.opened_at + house.min_hold <= now
        ]
        assert not (lack and idle), (lack, idle, house.pools)

    def teardown(self):
        if not hasattr(self, "house"):
            return
        house = self.house
        for _ in range(4 * len(self.waiters) + 8):
            house.finish()
            for pool in house.pools.values():
                for member in pool.lent:
                    pool.give_back(member)
            house.loop.advance(1.1)
        assert house.waiting == 0, "nobody starves"
        assert all(pool.state.used >= pool.warm for pool in house.pools.values())


TestHouseholds = Households.TestCase
TestHouseholds.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


class HouseholdsWithRooms(Households):
    """Rooms besides, which keep their slots until they are left, with a session or without."""

    rooms = st.sampled_from("rs")

    @rule(room=rooms)
    def enter(self, room):
        """Wait for a slot, as a borrower does."""
        if room not in self.house.pools:
            pool = self.house.add_room(room)
            self.entering = {**self.entering, room: pool.borrow()}
            self.house.loop.settle()
            if pool.state.opening:
                pool.open()
            self.hold(room)

    @property
    def entering(self):
        return getattr(self, "_entering", {})

    @entering.setter
    def entering(self, waiters):
        self._entering = waiters

    @rule(room=rooms)
    def is_entered(self, room):
        self.hold(room)

    def hold(self, room):
        """The session is there: it is kept from now on."""
        waiter = self.entering.get(room)
        if waiter is None or waiter.member is None:
            return
        pool = self.pool(room)
        self._entering.pop(room)
        if waiter.member not in pool.lent:  # it died meanwhile
            self.leave_room(room)
            return
        pool.warm = 1
        pool.seat.hold(1)
        pool.state.resize(1, 1)
        pool.give_back(waiter.member)

    @rule(room=rooms)
    def leave_room(self, room):
        if room in self.house.pools:
            self.house.leave_room(room)
            self.entering.pop(room, None)

    @rule(room=rooms, fails=st.booleans())
    def open_or_fail_a_room(self, room, fails):
        if room in self.house.pools:
            self.open_or_fail(room, fails)

    @rule(room=rooms)
    def die_in_a_room(self, room):
        if room in self.held:
            for member in list(self.pool(room).state.members):
                self.pool(room).lose(member)

    @rule(room=rooms, can_open=st.booleans())
    def pause_opening(self, room, can_open):
        """Its service refuses for a while, or does no more."""
        if room in self.held:
            self.pool(room).can_open = can_open

    @property
    def held(self):
        return [room for room in "rs" if room in self.house.pools and self.pool(room).warm]

    @invariant()
    def a_room_opens_in_its_own_slot_whoever_waits(self):
        if not hasattr(self, "house"):
            return
        assert self.house.sharing.used <= self.budget
        for room in self.held:
            pool = self.pool(room)
            assert pool.seat.used == 1
            if pool.can_open and not pool.state.used:
                pool.act()
                assert pool.state.opening == 1

    def teardown(self):
        if hasattr(self, "house"):
            for room in "rs":
                self.leave_room(room)
            self.house.loop.settle()
        super().teardown()


TestHouseholdsWithRooms = HouseholdsWithRooms.TestCase
TestHouseholdsWithRooms.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("sessions", [0, -1, 1.5, "3"])
def test_a_budget_is_a_number_of_sessions(sessions):
    with pytest.raises(ConfigurationError, match=r"^budget cannot work: sessions "):
        LocalBudget(sessions)
