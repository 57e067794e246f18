from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from avatarpool.exceptions import ConfigurationError, PoolClosed, TooManyRequests
from avatarpool.pool.state import Member, Phase, PoolState


class Borrower:
    """A waiter that notes what it got."""

    def __init__(self, *, is_gone: bool = False) -> None:
        self.member: Member | None = None
        self.error: Exception | None = None
        self.is_gone = is_gone

    def hand_over(self, member: Member) -> bool:
        if self.is_gone:
            return False
        self.member = member
        return True

    def fail(self, error: Exception) -> None:
        self.error = error


def new_state(min_size: int = 2, max_size: int = 3, **options: float) -> PoolState[Member]:
    return PoolState(
        min_size=min_size,
        max_size=max_size,
        max_waiting=int(options.get("max_waiting", 0)),
        max_idle=options.get("max_idle", 100.0),
        quarantine_timeout=options.get("quarantine_timeout", 5.0),
    )


def joined(state: PoolState[Member], number: int, retire_at: float = 1000.0) -> list[Member]:
    members = [Member(0.0, retire_at) for _ in range(number)]
    for member in members:
        state.join(member, 0.0)
    return members


def test_lends_the_longest_idle_first():
    state = new_state()
    first, second = joined(state, 2)
    assert state.lend(1.0) is first
    state.recycle(first, 2.0)
    assert state.lend(3.0) is second
    assert state.lend(4.0) is first
    assert state.lend(5.0) is None


def test_members_may_leave_while_another_thread_counts_them():
    state = new_state()

    class Leaving(Member):
        """Another thread takes it away in the very moment that it is looked at."""

        @property
        def phase(self) -> Phase:
            state.members.pop(self, None)
            return Phase.LENT

        @phase.setter
        def phase(self, phase: Phase) -> None:
            pass

    state.members = dict.fromkeys([Leaving(0.0, 1.0), *joined(state, 1)])
    assert state.count(Phase.IDLE) == 1


def test_hands_a_returned_member_to_the_first_who_waits():
    state = new_state()
    [member] = joined(state, 1)
    assert state.lend(0.0) is member
    waiters = [Borrower(), Borrower()]
    for waiter in waiters:
        state.enqueue(waiter, 0.0)
    state.recycle(member, 1.0)
    assert waiters[0].member is member
    assert waiters[1].member is None
    assert member.phase is Phase.LENT
    assert state.waiting == 1


def test_skips_waiters_that_are_gone():
    state = new_state()
    gone, here = Borrower(is_gone=True), Borrower()
    state.enqueue(gone, 0.0)
    state.enqueue(here, 0.0)
    [member] = joined(state, 1)
    assert here.member is member
    assert state.waiting == 0


def test_keeps_a_member_idle_if_every_waiter_is_gone():
    state = new_state()
    state.enqueue(Borrower(is_gone=True), 0.0)
    [member] = joined(state, 1)
    assert member.phase is Phase.IDLE
    assert state.idle == 1


def test_leaving_the_queue_keeps_the_others_in_order():
    state = new_state()
    first, second, third = Borrower(), Borrower(), Borrower()
    for waiter in (first, second, third):
        state.enqueue(waiter, 0.0)
    state.leave(second)
    state.leave(second)  # harmless
    a, b = joined(state, 2)
    assert (first.member, second.member, third.member) == (a, None, b)


def test_turns_away_more_than_max_waiting():
    state = new_state(max_waiting=1)
    state.enqueue(Borrower(), 0.0)
    with pytest.raises(TooManyRequests, match="1 borrowers waiting already, and max_waiting is 1"):
        state.enqueue(Borrower(), 0.0)


def test_wants_min_size_and_one_more_per_waiter_up_to_max_size():
    state = new_state(min_size=1, max_size=3)
    assert state.missing == 1
    joined(state, 1)
    assert state.missing == 0
    state.lend(0.0)
    for wanted in (1, 2, 2):
        state.enqueue(Borrower(), 0.0)
        assert state.missing == wanted
    state.opening = 1
    assert state.missing == 1


def test_welcomes_what_min_size_or_a_waiter_needs_and_nothing_else():
    state = new_state(min_size=2, max_size=5)
    first, second, for_waiter, unneeded = (Member(0.0, 1000.0) for _ in range(4))
    state.welcome(first, 0.0)
    state.welcome(second, 0.0)
    assert [state.lend(0.0), state.lend(0.0)] == [first, second]
    waiter = Borrower()
    state.enqueue(waiter, 0.0)
    state.welcome(for_waiter, 0.0)
    assert waiter.member is for_waiter
    state.welcome(unneeded, 0.0)
    assert state.to_close == [unneeded]
    assert unneeded.why == "nobody waits for it any more"
    assert len(state.members) == 3


def test_welcomes_the_only_one_though_nobody_waits_any_more():
    state = new_state(min_size=0, max_size=5)
    first, second = Member(0.0, 1000.0), Member(0.0, 1000.0)
    state.welcome(first, 0.0)
    assert state.lend(0.0) is first
    state.welcome(second, 0.0)
    assert state.to_close == [second]


def test_welcomes_the_successor_of_one_that_grows_old():
    state = new_state(min_size=1, max_size=1)
    old, fresh = Member(0.0, 100.0, renew_at=50.0), Member(60.0, 1000.0)
    state.join(old, 0.0)
    state.sweep(60.0)
    state.welcome(fresh, 60.0)
    assert list(state.members) == [fresh]
    assert state.to_close == [old]


def test_does_not_lend_a_member_too_old_and_has_it_closed():
    state = new_state()
    old, young = Member(0.0, 10.0), Member(0.0, 1000.0)
    state.join(old, 0.0)
    state.join(young, 0.0)
    assert state.lend(10.0) is young
    assert state.to_close == [old]
    assert old.phase is Phase.OUT


def test_closes_a_member_that_comes_back_too_old():
    state = new_state()
    [member] = joined(state, 1, retire_at=10.0)
    state.lend(0.0)
    state.recycle(member, 11.0)
    assert state.to_close == [member]
    assert state.missing == 2


def test_a_draining_member_is_nobodys_until_it_settles():
    state = new_state()
    [member] = joined(state, 1)
    state.lend(0.0)
    assert state.quarantine(member, 1.0)
    waiter = Borrower()
    state.enqueue(waiter, 0.0)
    assert state.lend(1.0) is None
    assert waiter.member is None
    state.recycle(member, 2.0)
    assert waiter.member is member


def test_sweep_retires_what_did_not_drain_in_time():
    state = new_state(quarantine_timeout=5.0)
    [member] = joined(state, 1)
    state.lend(0.0)
    state.quarantine(member, 1.0)
    state.sweep(5.9)
    assert state.to_close == []
    state.sweep(6.0)
    assert state.to_close == [member]


def test_sweep_retires_idle_members_that_are_too_old():
    state = new_state()
    [member] = joined(state, 1, retire_at=10.0)
    state.sweep(9.0)
    assert state.idle == 1
    state.sweep(10.0)
    assert state.to_close == [member]


def test_a_member_whose_room_plays_is_not_too_old_until_somebody_waits():
    state = new_state()
    playing, other = joined(state, 2, retire_at=10.0)
    playing.is_playing = True
    state.sweep(20.0)
    assert (list(state.members), state.to_close) == ([playing], [other])
    state.take_out(playing, 20.0)
    state.recycle(playing, 20.0)
    assert playing.phase is Phase.IDLE
    state.take_out(playing, 20.0)
    state.enqueue(Borrower(), 20.0)
    state.recycle(playing, 20.0)
    assert state.to_close == [other, playing], "what comes next would stop what it plays"


def test_sweep_leaves_lent_members_alone():
    state = new_state()
    [member] = joined(state, 1, retire_at=10.0)
    state.lend(0.0)
    state.sweep(1000.0)
    assert member.phase is Phase.LENT


def test_sweep_retires_spare_members_that_were_idle_too_long():
    state = new_state(min_size=1, max_size=3, max_idle=100.0)
    members = joined(state, 3)
    state.sweep(99.0)
    assert state.idle == 3
    state.sweep(100.0)
    assert state.to_close == members[:2]
    assert state.idle == 1


def aging(state: PoolState[Member], number: int) -> list[Member]:
    members = [Member(0.0, 100.0, renew_at=50.0) for _ in range(number)]
    for member in members:
        state.join(member, 0.0)
    state.sweep(50.0)
    return members


def test_a_member_that_grows_old_is_used_until_its_successor_has_joined():
    state = new_state(min_size=2, max_size=2)
    old, other = aging(state, 2)
    assert state.missing == 2
    assert state.lend(51.0) is old
    state.recycle(old, 52.0)
    assert state.to_close == []
    young = Member(52.0, 1000.0)
    state.join(young, 52.0)
    assert state.missing == 1
    state.join(Member(53.0, 1000.0), 53.0)
    assert state.to_close == [other, old]
    assert state.idle == 2


def test_a_lent_member_goes_on_its_return_once_its_successor_has_joined():
    state = new_state(min_size=1, max_size=1)
    [old] = aging(state, 1)
    assert state.lend(51.0) is old
    state.join(Member(52.0, 1000.0), 52.0)
    assert state.to_close == []
    state.recycle(old, 53.0)
    assert state.to_close == [old]
    assert state.missing == 0


def test_a_spare_member_that_grows_old_has_no_successor():
    state = new_state(min_size=0, max_size=3)
    aging(state, 1)
    assert state.missing == 0


def test_says_why_each_member_was_retired():
    state = new_state(min_size=0, max_size=2, max_idle=100.0)
    [spare] = joined(state, 1)
    state.sweep(100.0)
    old = Member(0.0, 10.0)
    state.join(old, 0.0)
    state.sweep(10.0)
    [stuck] = joined(state, 1)
    state.lend(0.0)
    state.quarantine(stuck, 0.0)
    state.sweep(50.0)
    [last] = joined(state, 1)
    state.close(PoolClosed("closed"))
    assert [member.why for member in (spare, old, stuck, last)] == [
        "idle for long",
        "too old",
        "its request did not end",
        "the pool closes",
    ]


def test_expire_retires_idle_members_now_and_lent_ones_on_return():
    state = new_state()
    lent, idle = joined(state, 2)
    assert state.lend(0.0) is lent
    state.expire(1.0)
    assert state.to_close == [idle]
    state.recycle(lent, 2.0)
    assert state.to_close == [idle, lent]


def test_a_lost_member_leaves_wherever_it_was():
    state = new_state()
    idle, lent = joined(state, 2)
    assert state.lend(0.0) is idle
    idle, lent = lent, idle
    assert state.lose(idle)
    assert state.lose(lent)
    assert not state.lose(lent)
    assert state.to_close == []
    assert state.idle == 0
    assert state.missing == 2


def test_resize_refuses_what_are_no_bounds():
    with pytest.raises(ConfigurationError) as caught:
        new_state(min_size=-1, max_size=0)
    assert len(caught.value.problems) == 2
    with pytest.raises(ConfigurationError, match="max_size 1 is smaller than min_size 2"):
        new_state(min_size=2, max_size=1)


def test_shrink_retires_the_longest_idle_beyond_max_size():
    state = new_state(min_size=3, max_size=3)
    members = joined(state, 3)
    state.resize(1, 1)
    state.shrink()
    assert state.to_close == members[:2]


# --- waking whoever acts on it -----------------------------------------------------------


def retire(state: PoolState[Member]) -> None:
    state.retire(state.idle_members[0], "tired")


def recycle_too_old(state: PoolState[Member]) -> None:
    member = state.lend(0.0)
    state.recycle(member, 5000.0)


def return_to_closed(state: PoolState[Member]) -> None:
    member = state.lend(0.0)
    state.is_closed = True
    state.quarantine(member, 0.0)


def drain_for_long(state: PoolState[Member]) -> None:
    state.quarantine(state.lend(0.0), 0.0)
    state.sweep_draining(1000.0)


def come_too_late(state: PoolState[Member]) -> None:
    state.welcome(Member(0.0, 1000.0), 0.0)


@pytest.mark.parametrize(
    "change",
    [
        retire,
        recycle_too_old,
        return_to_closed,
        drain_for_long,
        come_too_late,
        lambda state: state.lend(5000.0),  # both are too old
        lambda state: state.lose(state.idle_members[0]),
        lambda state: state.enqueue(Borrower(), 0.0),
        lambda state: state.resize(3, 3),
        lambda state: state.expire(0.0),
        lambda state: state.sweep(5000.0),
        lambda state: state.close(PoolClosed("it is over")),
    ],
)
def test_what_leaves_something_to_close_or_to_open_wakes_once_when_it_is_decided(change: Any):
    state = new_state()
    joined(state, 2)
    seen = []
    state.wake = lambda: seen.append((len(state.to_close), state.missing))
    change(state)
    assert seen == [(len(state.to_close), state.missing)]
    assert state.to_close or state.missing


def test_what_leaves_nothing_to_do_wakes_nobody():
    state = new_state(max_size=2)
    joined(state, 2)
    seen = []
    state.wake = lambda: seen.append(1)
    first, second = state.lend(0.0), state.lend(0.0)
    state.enqueue(waiter := Borrower(), 0.0)
    assert state.lend(0.0) is None
    state.recycle(first, 1.0)
    assert waiter.member is first
    state.quarantine(second, 1.0)
    state.recycle(second, 2.0)
    assert not state.lose(Member(0.0, 1000.0))
    assert seen == []


def test_several_decisions_together_wake_once_after_them_all_whatever_happens():
    state = new_state()
    first, second = joined(state, 2)
    seen = []
    state.wake = lambda: seen.append(list(state.to_close))
    with pytest.raises(KeyError), state.together():
        with state.together():
            state.retire(first, "one")
        state.retire(second, "two")
        raise KeyError
    assert seen == [[first, second]]


def test_close_sends_waiters_away_and_leaves_only_what_is_lent():
    state = new_state()
    lent, idle = joined(state, 2)
    state.lend(0.0)
    third = Member(0.0, 1000.0)
    state.join(third, 0.0)
    state.lend(0.0)
    state.lend(0.0)
    state.quarantine(third, 0.0)
    waiter = Borrower()
    state.enqueue(waiter, 0.0)
    error = PoolClosed("closed")
    state.close(error)
    assert waiter.error is error
    assert state.missing == 0
    assert set(state.members) == {lent, idle}
    state.recycle(lent, 1.0)
    assert not state.quarantine(idle, 1.0)
    assert set(state.to_close) == {lent, idle, third}


class PoolMachine(RuleBasedStateMachine):
    """No member lost, none lent twice, waiters in order, counters that add up."""

    def __init__(self) -> None:
        super().__init__()
        self.state = new_state(min_size=1, max_size=4, max_idle=30.0)
        self.now = 0.0
        self.lent: list[Member] = []
        self.draining: list[Member] = []
        self.closed: list[Member] = []
        self.lost: list[Member] = []
        self.born = 0
        self.queue: list[Borrower] = []

    def collect(self) -> None:
        """Do what the pool does after each event."""
        self.closed += self.state.to_close
        self.state.to_close.clear()
        served = [waiter for waiter in self.queue if waiter.member]
        assert served == self.queue[: len(served)], "waiters are served in order"
        for waiter in served:
            assert waiter.member is not None
            self.lent.append(waiter.member)
            self.queue.remove(waiter)
        gone = {*self.closed, *self.lost}
        self.lent = [member for member in self.lent if member not in gone]
        self.draining = [
            member for member in self.draining if member not in gone and member not in self.lent
        ]

    @rule(seconds=st.floats(0.0, 20.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.state.sweep(self.now)
        self.collect()

    @precondition(lambda self: self.state.missing)
    @rule(life=st.floats(1.0, 100.0))
    def opens(self, life: float) -> None:
        self.born += 1
        self.state.join(Member(self.now, self.now + life, self.now + life * 0.8), self.now)
        self.collect()

    @rule()
    def borrows(self) -> None:
        member = self.state.lend(self.now)
        self.collect()
        if member is None:
            waiter = Borrower()
            self.queue.append(waiter)
            self.state.enqueue(waiter, self.now)
        else:
            assert not self.queue, "nobody overtakes a waiter"
            self.lent.append(member)

    @precondition(lambda self: self.queue)
    @rule(data=st.data())
    def gives_up(self, data: st.DataObject) -> None:
        waiter = self.queue.pop(data.draw(st.integers(0, len(self.queue) - 1)))
        self.state.leave(waiter)

    @precondition(lambda self: self.lent)
    @rule(data=st.data(), settled=st.booleans())
    def returns(self, data: st.DataObject, settled: bool) -> None:
        member = self.lent.pop(data.draw(st.integers(0, len(self.lent) - 1)))
        if settled:
            self.state.recycle(member, self.now)
        elif self.state.quarantine(member, self.now):
            self.draining.append(member)
        self.collect()

    @precondition(lambda self: self.draining)
    @rule()
    def settles(self) -> None:
        self.state.recycle(self.draining.pop(0), self.now)
        self.collect()

    @precondition(lambda self: self.state.members)
    @rule(data=st.data())
    def dies(self, data: st.DataObject) -> None:
        member = data.draw(st.sampled_from(list(self.state.members)))
        assert self.state.lose(member)
        self.lost.append(member)
        self.collect()

    @rule()
    def drains(self) -> None:
        self.state.expire(self.now)
        self.collect()

    @rule(size=st.integers(1, 5))
    def resizes(self, size: int) -> None:
        self.state.resize(min(1, size), size)
        self.state.shrink()
        self.collect()

    @invariant()
    def every_member_is_in_one_place(self) -> None:
        assert len(set(self.lent)) == len(self.lent)
        assert self.state.count(Phase.LENT) == len(self.lent)
        assert self.state.count(Phase.DRAINING) == len(self.draining)
        assert self.state.count(Phase.IDLE) == self.state.idle
        alive = len(self.state.members)
        assert alive == len(self.lent) + len(self.draining) + self.state.idle
        assert self.born == alive + len(self.closed) + len(self.lost)

    @invariant()
    def nothing_is_idle_while_somebody_waits(self) -> None:
        assert not (self.state.idle and self.state.waiting)
        assert self.state.waiting == len(self.queue)


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
