"""Pools that share sessions, without the sessions: real states and queues, made-up time."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from itertools import count

from avatarpool.exceptions import PoolClosed
from avatarpool.fleet.budget import MOST_SESSIONS, LocalBudget
from avatarpool.fleet.sharing import Sharing
from avatarpool.pool.demand import Demand
from avatarpool.pool.state import GIVEN_UP, LENT, Member, PoolState


class Handle:
    """What a loop has promised to call."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Loop:
    """An event loop's clock and timers; time passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0
        self._soon: deque[Handle] = deque()
        self._later: list[tuple[float, int, Handle]] = []
        self._numbers = count()

    def time(self) -> float:
        return self.now

    def call_soon(self, act: Callable[[], object]) -> Handle:
        handle = Handle(act)
        self._soon.append(handle)
        return handle

    def call_at(self, when: float, act: Callable[[], object]) -> Handle:
        handle = Handle(act)
        heapq.heappush(self._later, (when, next(self._numbers), handle))
        return handle

    def settle(self) -> None:
        """Do what is due now, and what that brings."""
        for _ in range(1000):
            while self._later and self._later[0][0] <= self.now:
                self._soon.append(heapq.heappop(self._later)[2])
            if not self._soon:
                return
            handle = self._soon.popleft()
            if not handle.is_cancelled:
                handle.act()
        raise AssertionError("it does not come to rest")

    def advance(self, seconds: float) -> None:
        """Let time pass, timer by timer."""
        end = self.now + seconds
        self.settle()
        while self._later and self._later[0][0] <= end:
            self.now = max(self.now, self._later[0][0])
            self.settle()
        self.now = end
        self.settle()


class Waiter:
    """A borrower that takes what it is handed."""

    timeout = 1e9

    def __init__(self) -> None:
        self.member: Member | None = None

    def hand_over(self, member: Member) -> bool:
        self.member = member
        return True

    def fail(self, error: Exception) -> None:
        assert isinstance(error, PoolClosed), error


class Sharer:
    """One pool: opens and closes when the test says that it is done."""

    def __init__(
        self,
        sharing: Sharing,
        loop: Loop,
        key: str,
        warm: int,
        budget: int,
        *,
        most: int = MOST_SESSIONS,
    ) -> None:
        self.loop = loop
        self.warm = warm
        self.state: PoolState[Member, Waiter] = PoolState(
            key,
            min_size=warm,
            max_size=min(budget, most),
            max_waiting=0,
            max_idle=60.0,
            quarantine_timeout=5.0,
        )
        self.can_open = True
        self.seat = sharing.seat(warm, most)
        self.seat.attach(self)
        self.state.is_claimed = self.seat.is_claimed
        self.state.wake = self.act

    def __repr__(self) -> str:
        return f"<{self.state.name} {self.demand()} {self.state.waiting} waiting>"

    @property
    def used(self) -> int:
        return self.state.used

    @property
    def idle(self) -> deque[Member]:
        return self.state.idle_members

    @property
    def lent(self) -> list[Member]:
        return [member for member in self.state.members if member.phase is LENT]

    def demand(self) -> Demand:
        state = self.state
        wanted = min(state.missing, 8 - state.opening) if self.can_open else 0
        return Demand(
            used=state.used,
            closing=state.closing + len(state.to_close),
            wanted=wanted,
            waiting=min(wanted, state.unserved),
            turn=state.next_turn,
        )

    def allow(self, max_size: int) -> None:
        self.state.resize(self.state.min_size, max(max_size, self.state.min_size, 1))

    def give_up(self, member: Member) -> None:
        self.state.retire(member, GIVEN_UP)

    def act(self) -> None:
        state = self.state
        state.closing += len(state.to_close)
        state.to_close.clear()
        wanted = self.demand().wanted
        state.opening += self.seat.grant(wanted)
        self.seat.changed()

    # --- what a test has happen -------------------------------------------------------------

    def borrow(self, priority: float = 0.0) -> Waiter:
        waiter = Waiter()
        member = self.state.lend(self.loop.now)
        if member is None:
            self.state.enqueue(waiter, self.loop.now, priority)
        else:
            waiter.member = member
        return waiter

    def open(self) -> None:
        self.state.opening -= 1
        member = Member(self.loop.now, 1e9)
        self.state.welcome(member, self.loop.now)
        self.act()

    def fail(self) -> None:
        self.state.opening -= 1
        self.act()

    def give_back(self, member: Member) -> None:
        self.state.recycle(member, self.loop.now)

    def lose(self, member: Member) -> None:
        self.state.lose(member)

    def close(self) -> None:
        self.state.closing -= 1
        self.act()


class Household:
    """Pools under one budget."""

    def __init__(self, budget: int, warm: dict[str, int], min_hold: float = 1.0) -> None:
        self.loop = Loop()
        self.budget = LocalBudget(budget)
        self.sharing = Sharing(self.budget, min_hold)
        self.min_hold = min_hold
        self.pools = {
            key: Sharer(self.sharing, self.loop, key, n, budget) for key, n in warm.items()
        }
        self.sharing._loop = self.loop
        self.sharing.look()
        for pool in self.pools.values():
            pool.act()
        self.loop.settle()

    def add_room(self, key: str) -> Sharer:
        """Make the pool of a room's session, as `KeyedPools.make_room` does."""
        pool = Sharer(self.sharing, self.loop, key, 0, self.budget.sessions, most=1)
        self.pools[key] = pool
        return pool

    def leave_room(self, key: str) -> None:
        """Close it at once, as it was."""
        pool = self.pools.pop(key)
        pool.seat.is_leaving = True
        pool.state.close(PoolClosed("the room is closed"))
        for member in pool.lent:
            pool.state.retire(member, "the room is closed")
        pool.state.opening = pool.state.closing = 0
        self.sharing.dismiss(pool.seat)

    @property
    def used(self) -> int:
        return sum(pool.state.used for pool in self.pools.values())

    @property
    def waiting(self) -> int:
        return sum(pool.state.waiting for pool in self.pools.values())

    def finish(self) -> None:
        """Have everything that is under way come to its end."""
        self.loop.settle()
        while any(pool.state.closing or pool.state.opening for pool in self.pools.values()):
            for pool in self.pools.values():
                while pool.state.closing:
                    pool.close()
                while pool.state.opening:
                    pool.open()
            self.loop.settle()
