"""Shares one budget's sessions among a group's pools: asks `Shares`, and does what it says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from math import inf

from avatarpool.fleet.budget import Budget
from avatarpool.fleet.keys import PoolKey
from avatarpool.fleet.shares import Shares, Standing
from avatarpool.pool.connection import Connection
from avatarpool.pool.demand import Demand
from avatarpool.pool.keeper import Keeper

# Seconds between looks that nothing calls for: a borrower that leaves the queue tells nobody.
_LOOK_INTERVAL = 1.0

_NOTHING = Demand(0, 0, 0, 0, inf)


class Sharing:
    """Shares sessions out among pools, and tells the budget what they could do with.

    It holds keepers and no pools: a group that is forgotten closes what it had open.

    Args:
        budget: How many there are.
        min_hold: Seconds for which a session is kept before it is given up for others.
    """

    def __init__(self, budget: Budget, min_hold: float) -> None:
        self._budget = budget
        self._min_hold = min_hold
        self._sessions = budget.sessions  # that pools were made for, or told of
        self._seats: dict[PoolKey, Seat] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_scarce = False  # whether something wants what is not there
        self._look: asyncio.Handle | None = None  # the next one
        self._look_at = inf
        self.closing: asyncio.Task[None] | None = None  # the budget, of a forgotten group

    def start(self) -> None:
        """Share out from now on, in this event loop."""
        self._loop = asyncio.get_running_loop()
        self.look()

    def stop(self) -> None:
        """Share out nothing more; what pools have they keep."""
        if self._look is not None:
            self._look.cancel()
        self._loop = None

    def seat(self, key: PoolKey, warm: int) -> Seat:
        """Give a pool its part; it leaves with `dismiss`."""
        seat = self._seats[key] = Seat(self, key, warm)
        return seat

    def dismiss(self, key: PoolKey) -> None:
        """Forget a pool that is closed."""
        self._seats.pop(key, None)
        self.look_soon()

    def shares(self) -> Shares[PoolKey, Connection]:
        """Return how all pools stand now."""
        now = self.now()
        return Shares(
            [seat.standing() for seat in self._seats.values()],
            may_open=self._budget.may_open(now),
            may_keep=self._budget.may_keep(now),
            now=now,
            min_hold=self._min_hold,
        )

    def now(self) -> float:
        """Return the event loop's time."""
        return 0.0 if self._loop is None else self._loop.time()

    # --- asked by pools ---------------------------------------------------------------------

    def grant(self, key: PoolKey, wanted: int) -> int:
        """Return how many sessions a pool may open now."""
        if wanted <= 0 or self._loop is None:
            return 0
        granted = self.shares().grant(key, wanted)
        if granted < wanted:
            self._is_scarce = True
            self.look_soon()
        return granted

    def is_claimed(self, key: PoolKey, connection: Connection) -> bool:
        """Whether a connection that comes free must go."""
        if not self._is_scarce:
            return False
        if self.shares().is_claimed(key, connection):
            return True
        self._look_by(connection.opened_at + self._min_hold)
        return False

    def filled(self) -> None:
        """The service lets no more in than there are."""
        self._budget.filled(self.shares().used, self.now())
        self._is_scarce = True

    def opened(self) -> None:
        """The service let one in."""
        self._budget.opened(self.now())
        if self._is_scarce:  # what was refused before may be let in now
            self.look_soon()

    # --- looking ----------------------------------------------------------------------------

    def look_soon(self) -> None:
        """Look in a moment, at all that happens until then together."""
        if self._loop is not None and self._look_at > 0.0:
            if self._look is not None:
                self._look.cancel()
            self._look_at = 0.0
            self._look = self._loop.call_soon(self.look)

    def look(self) -> None:
        """Have sessions go that others need, and what may be opened be opened."""
        if self._loop is None:
            return
        self._look_at = inf
        if self._budget.sessions != self._sessions:
            self._sessions = self._budget.sessions
            for seat in self._seats.values():
                seat.allow(self._sessions)
        shares = self.shares()
        self._is_scarce = bool(shares.lack or shares.too_many)
        gone, look_at = shares.given_up()
        for key, connection in gone:
            self._seats[key].give_up(connection)
        for key in shares.order():
            if not self.shares().free():
                break
            self._seats[key].act()
        self._declare()
        self._look_by(min(look_at, self.now() + _LOOK_INTERVAL))

    def _declare(self) -> None:
        shares = self.shares()
        # A session that goes for another one leaves its slot to that one.
        wanted = shares.used - sum(each.demand.closing for each in shares.standings)
        idle = sum(each.spare(self.now() - self._min_hold) for each in shares.standings)
        self._budget.declare(shares.used, wanted + shares.pressing, idle)

    def _look_by(self, when: float) -> None:
        if self._loop is None or when >= self._look_at:
            return
        if self._look is not None:
            self._look.cancel()
        self._look_at = when
        self._look = self._loop.call_at(when, self.look)


@dataclass(slots=True, eq=False)
class Seat:
    """One pool's part: its keeper asks here before it opens a session (`Slots`)."""

    _sharing: Sharing
    key: PoolKey
    warm: int
    _keeper: Keeper | None = field(default=None, init=False)
    _used: int = field(default=0, init=False)  # at the last change

    def attach(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def standing(self) -> Standing[PoolKey, Connection]:
        """Return how the pool stands."""
        keeper = self._keeper
        if keeper is None:
            return Standing(self.key, self.warm, _NOTHING)
        return Standing(self.key, self.warm, keeper.demand(), keeper.idle)

    def allow(self, sessions: int) -> None:
        """Let the pool grow so far, if that is granted."""
        if self._keeper is not None:
            self._keeper.allow(sessions)

    def give_up(self, connection: Connection) -> None:
        """Have the pool let an idle connection go."""
        if self._keeper is not None:
            self._keeper.give_up(connection)

    def act(self) -> None:
        """Have the pool open what it may."""
        if self._keeper is not None:
            self._keeper.act()

    def grant(self, wanted: int) -> int:
        return self._sharing.grant(self.key, wanted)

    def is_claimed(self, connection: Connection) -> bool:
        return self._sharing.is_claimed(self.key, connection)

    def opened(self) -> None:
        self._sharing.opened()

    def filled(self) -> None:
        self._sharing.filled()

    def changed(self) -> None:
        used = 0 if self._keeper is None else self._keeper.demand().used
        if used < self._used:
            self._sharing.look_soon()
        self._used = used
