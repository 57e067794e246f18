"""Who of those that share a number of sessions opens one, and who gives one up. Pure.

Everything is derived anew from how the pools stand (`Standing`): nothing is kept that could
come to differ from what is. Three rules:

- What is free goes first to who has fewer than its warm sessions, then to whom somebody has
  waited for the longest (less what priorities count), then to whoever wants it.
- Where nothing is free, who has more than its warm sessions gives one up: the longest idle
  one; or else the next that its borrower returns, if somebody elsewhere waits for longer
  than whoever would get it.
- A session is held for ``min_hold`` seconds before it is given up so: two pools that take
  turns do not open a session for every request.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Generic, Protocol, TypeVar

from avatarpool.pool.demand import Demand

K = TypeVar("K", bound=Hashable)


class Held(Protocol):
    """An idle session, as far as it matters here."""

    opened_at: float
    since: float


H = TypeVar("H", bound=Held)


@dataclass(frozen=True, slots=True)
class Standing(Generic[K, H]):
    """How one pool stands.

    Attributes:
        key: Its name here.
        warm: Sessions that it keeps, whoever else waits.
        demand: What it has and wants.
        idle: Its idle sessions, the longest idle first.
    """

    key: K
    warm: int
    demand: Demand
    idle: Sequence[H] = ()

    @property
    def kept(self) -> int:
        """Sessions that it has and that are not on their way out."""
        return self.demand.used - self.demand.closing

    def spare(self, since: float) -> int:
        """Return how many sessions beyond its warm ones were idle all the time since then."""
        idle = sum(held.since <= since for held in self.idle)
        return max(0, min(idle, self.kept - self.warm))

    @property
    def short(self) -> int:
        """Sessions that it lacks of its warm ones, and would open."""
        return min(self.demand.wanted, max(0, self.warm - self.kept))

    @property
    def pressing(self) -> int:
        """Sessions that it would open and that others' idle ones must make room for."""
        return max(self.demand.waiting, self.short)


class Shares(Generic[K, H]):
    """How all pools stand at one moment, beside what they may have together.

    Args:
        standings: Every pool's.
        may_open: Sessions that they may have together when one more is opened.
        may_keep: Sessions beyond which they must give some up.
        now: The time.
        min_hold: Seconds for which a session is kept before it is given up for others.
    """

    def __init__(
        self,
        standings: Sequence[Standing[K, H]],
        *,
        may_open: int,
        may_keep: int,
        now: float,
        min_hold: float,
    ) -> None:
        self.standings = standings
        self.used = sum(each.demand.used for each in standings)
        self.pressing = sum(each.pressing for each in standings)
        self._may_open = may_open
        self._now = now
        self._min_hold = min_hold
        self.kept = sum(each.kept for each in standings)
        self.too_many = max(0, self.kept - may_keep)
        # Sessions that must go so that what presses can be opened, as far as it ever can.
        could = min(self.pressing, may_open)
        self.lack = max(0, self.kept + could - may_open) if could else 0

    def free(self) -> int:
        """Return how many sessions may be opened."""
        return max(0, self._may_open - self.used)

    def grant(self, key: K, wanted: int) -> int:
        """Return how many sessions a pool may open of those it wants now."""
        free = self.free()
        if wanted <= 0 or not free:
            return 0
        mine = next(each for each in self.standings if each.key == key)
        others = [each for each in self.standings if each is not mine]
        before = [each for each in others if each.demand.turn < mine.demand.turn]
        # First what is short of being warm ...
        granted = min(mine.short, max(0, free - sum(each.short for each in before)))
        free -= sum(each.short for each in self.standings)
        # ... then what somebody waits for, and then the rest.
        urgent = mine.pressing - mine.short
        ahead = sum(each.pressing - each.short for each in before)
        granted += min(urgent, max(0, free - ahead))
        free -= sum(each.pressing - each.short for each in self.standings)
        granted += min(max(0, wanted - mine.pressing), max(0, free))
        return min(wanted, granted)

    def order(self) -> list[K]:
        """Return who may open sessions, in the order of their right to."""
        wanting = [each for each in self.standings if each.demand.wanted]
        wanting.sort(key=lambda each: (not each.short, each.demand.turn))
        return [each.key for each in wanting]

    def given_up(self) -> tuple[list[tuple[K, H]], float]:
        """Return the idle sessions that must go now, and when to look again."""
        spare = {each.key: each.kept - each.warm for each in self.standings}
        idle = [
            (held.since, number, each.key, held)
            for number, each in enumerate(self.standings)
            for held in each.idle
        ]
        idle.sort(key=lambda entry: entry[:2])
        gone: list[tuple[K, H]] = []
        look_at = inf
        for _, _, key, held in idle:
            if len(gone) >= max(self.lack, self.too_many):
                break
            is_forced = len(gone) < self.too_many
            if not is_forced and spare[key] <= 0:
                continue
            if not is_forced and held.opened_at + self._min_hold > self._now:
                look_at = min(look_at, held.opened_at + self._min_hold)
                continue
            spare[key] -= 1
            gone.append((key, held))
        return gone, look_at

    def is_claimed(self, key: K, held: Held) -> bool:
        """Whether a session that comes free in a pool must go."""
        if self.too_many:
            return True
        mine = next(each for each in self.standings if each.key == key)
        if not self.lack or mine.kept <= mine.warm:
            return False
        if held.opened_at + self._min_hold > self._now:
            return False
        others = (each.demand.turn for each in self.standings if each.pressing and each is not mine)
        first = min(others, default=None)
        return first is not None and (mine.demand.turn == inf or first < mine.demand.turn)
