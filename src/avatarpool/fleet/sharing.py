"""Shares one budget's sessions among a group's pools: asks `Shares`, and does what it says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from math import inf

from avatarpool.fleet.budget import MOST_SESSIONS, Budget
from avatarpool.fleet.shares import Shares, Standing
from avatarpool.pool.connection import Connection
from avatarpool.pool.demand import Demand
from avatarpool.pool.keeper import Keeper

# Seconds between looks that nothing calls for: a borrower that leaves the queue tells nobody.
_LOOK_INTERVAL = 1.0

# A look at each of many pools takes its time, so that there is some between two looks.
_FEW = 20  # pools
_APART = 50e-6  # seconds for each; some 10 us of them are spent on looking

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
        self._seats: dict[Seat, None] = {}  # a set that keeps the order of arrival
        self._loop: asyncio.AbstractEventLoop | None = None
        # As of the latest look: whether something wants what is not there, and whether ...
        self._is_scarce = False
        self._is_beyond = False  # ... there are more sessions than may be kept
        self._look: asyncio.Handle | None = None  # the next one
        self._look_at = inf
        self._looked_at = 0.0
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

    def seat(self, warm: int, most: int = MOST_SESSIONS) -> Seat:
        """Give a pool its part; it leaves with `dismiss`.

        Args:
            warm: Sessions that it keeps, whoever else waits.
            most: Sessions that it never has more than.
        """
        seat = Seat(self, warm, most)
        self._seats[seat] = None
        return seat

    def dismiss(self, seat: Seat) -> None:
        """Forget a pool that is closed."""
        self._seats.pop(seat, None)
        self.look_soon()

    @property
    def used(self) -> int:
        """Slots that all pools have: of sessions, on their way in or out too, and rooms' own."""
        return sum(seat.used for seat in self._seats)

    @property
    def attainable(self) -> int:
        """Sessions that there are or may be opened, and one more that others may give up."""
        may_open = max(self.used, self._budget.may_open(self.now()))
        return max(1, min(may_open + 1, self._budget.sessions))

    def shares(self) -> Shares[Seat, Connection]:
        """Return how all pools stand now."""
        now = self.now()
        return Shares(
            [seat.standing() for seat in self._seats],
            may_open=self._budget.may_open(now),
            may_keep=self._budget.may_keep(now),
            now=now,
            min_hold=self._min_hold,
        )

    def now(self) -> float:
        """Return the event loop's time."""
        return 0.0 if self._loop is None else self._loop.time()

    # --- asked by pools ---------------------------------------------------------------------

    def grant(self, seat: Seat, wanted: int) -> int:
        """Return how many sessions a pool may open now."""
        if wanted <= 0 or self._loop is None:
            return 0
        # To look at all pools is much for each request, and in vain where nothing is free.
        granted = self.shares().grant(seat, wanted) if self._free() else 0
        if granted < wanted:
            self._is_scarce = True
            self.look_soon()
        return granted

    def _free(self) -> int:
        return max(0, self._budget.may_open(self.now()) - self.used)

    def is_claimed(self, seat: Seat, connection: Connection) -> bool:
        """Whether a connection that comes free must go."""
        if not self._is_scarce:
            return False
        held_until = connection.opened_at + self._min_hold
        if not self._is_beyond and held_until > self.now():
            self._look_by(held_until)
            return False
        return self.shares().is_claimed(seat, connection)

    def filled(self) -> None:
        """The service lets no more in than there are."""
        self._budget.filled(sum(seat.sessions for seat in self._seats), self.now())
        self._is_scarce = True

    def opened(self) -> None:
        """The service let one in."""
        self._budget.opened(self.now())
        if self._is_scarce:  # what was refused before may be let in now
            self.look_soon()

    # --- looking ----------------------------------------------------------------------------

    def look_soon(self) -> None:
        """Look in a moment, at all that happens until then together."""
        if self._loop is not None:
            pools = len(self._seats)
            self._look_by(self._looked_at + (_APART * pools if pools > _FEW else 0.0))

    def look(self) -> None:
        """Have sessions go that others need, and what may be opened be opened."""
        if self._loop is None:
            return
        self._look_at, self._looked_at = inf, self._loop.time()
        if self._budget.sessions != self._sessions:
            self._sessions = self._budget.sessions
            for seat in self._seats:
                seat.allow(self._sessions)
        shares = self.shares()
        self._is_beyond = bool(shares.too_many)
        self._is_scarce = bool(shares.lack or shares.too_many)
        gone, look_at = shares.given_up()
        for seat, connection in gone:
            seat.give_up(connection)
        for seat in shares.order():
            if not self._free():
                break
            seat.act()
        self._declare()
        self._look_by(min(look_at, self.now() + _LOOK_INTERVAL))

    def _declare(self) -> None:
        shares = self.shares()
        idle = sum(each.spare(self.now() - self._min_hold) for each in shares.standings)
        # A session that goes for another one leaves its slot to that one.
        self._budget.declare(shares.used, shares.kept + shares.pressing, idle)

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
    warm: int
    _most: int
    is_leaving: bool = field(default=False, init=False)  # then nothing more is granted
    _kept: int = field(default=0, init=False)  # slots that are the pool's without sessions, too
    _keeper: Keeper | None = field(default=None, init=False)
    _used_before: int = field(default=0, init=False)  # at the last change

    def attach(self, keeper: Keeper) -> None:
        self._keeper = keeper

    @property
    def has_spare(self) -> bool:
        return self._most > 1

    @property
    def used(self) -> int:
        """Slots that the pool has: of sessions, those on their way in or out included, or kept."""
        return max(self.sessions, 0 if self.is_leaving else self._kept)

    @property
    def sessions(self) -> int:
        """Sessions that the pool has, those on their way in or out included."""
        return 0 if self._keeper is None else self._keeper.used

    def hold(self, number: int) -> None:
        """Keep so many slots for the pool, whatever becomes of its sessions."""
        self.warm = self._kept = number

    def standing(self) -> Standing[Seat, Connection]:
        """Return how the pool stands."""
        keeper = self._keeper
        if keeper is None:
            return Standing(self, self.warm, _NOTHING)
        demand = keeper.demand()
        if demand.used < self.used:
            demand = replace(demand, used=self.used)
        return Standing(self, self.warm, demand, keeper.idle)

    def allow(self, sessions: int) -> None:
        """Let the pool grow so far, if that is granted."""
        if self._keeper is not None:
            self._keeper.allow(min(sessions, self._most))

    def give_up(self, connection: Connection) -> None:
        """Have the pool let an idle connection go."""
        if self._keeper is not None:
            self._keeper.give_up(connection)

    def act(self) -> None:
        """Have the pool open what it may."""
        if self._keeper is not None:
            self._keeper.act()

    def grant(self, wanted: int) -> int:
        wanted = min(wanted, self._most - self.sessions)
        if self.is_leaving:
            return 0
        kept, self._kept = self._kept, 0  # it is for this that they are kept
        try:
            return self._sharing.grant(self, wanted)
        finally:
            self._kept = kept

    def is_claimed(self, connection: Connection) -> bool:
        return self._sharing.is_claimed(self, connection)

    def opened(self) -> None:
        self._sharing.opened()

    def filled(self) -> None:
        self._sharing.filled()

    def changed(self) -> None:
        used = self.used
        if used < self._used_before:
            self._sharing.look_soon()
        self._used_before = used
