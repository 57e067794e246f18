"""Whose request is next: fair to clients by their seconds of audio. Pure.

Start-time fair queueing (Goyal, Vin and Cheng, 1996) among clients: each has a tag, the
seconds that it was charged, and the lowest tag is next. The tag that was last served is the
virtual time; who comes back to wait is raised to it, so that absence earns no credit. Of two
clients of one priority that both have requests waiting, neither gets ahead by more than a
request of each, however many it sends, as far as their seconds are known when they start.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from itertools import count

PRIORITY_SECONDS = 10.0
"""A unit of priority counts as so much waiting."""

LEAST_SECONDS = 1.0
"""What a request is charged at the least: it holds a session, however little it says."""


class Ticket:
    """One request's place: it waits, then runs, then is over.

    Attributes:
        standing: The client's.
        audio_seconds: Of the request, as far as they are known.
        charged: Seconds that its client was charged for it.
    """

    __slots__ = ("audio_seconds", "charged", "standing")

    def __init__(self, standing: Standing) -> None:
        self.standing = standing
        self.audio_seconds = 0.0
        self.charged = 0.0

    @property
    def is_running(self) -> bool:
        """Whether its turn has come and it is not over."""
        return self in self.standing.running


class Standing:
    """What one client has in turns.

    Args:
        name: The client's.
        max_concurrent: Requests of it that may run at once.
        priority: Its head start, in units of `PRIORITY_SECONDS` of waiting.

    Attributes:
        waiting: Its tickets whose turn has not come, in the order in which they asked.
        running: Those whose turn has.
        tag: Seconds that it was charged, and those in which it had nothing to ask.
        lane: Where it waits for its turn; None while nothing waits that may run.
        since: When it began to.
    """

    __slots__ = ("lane", "max_concurrent", "name", "priority", "running", "since", "tag", "waiting")

    def __init__(self, name: str, max_concurrent: int, priority: float = 0.0) -> None:
        self.name = name
        self.max_concurrent = max_concurrent
        self.priority = priority
        self.waiting: OrderedDict[Ticket, None] = OrderedDict()
        self.running: set[Ticket] = set()
        self.tag = 0.0
        self.lane: _Lane | None = None
        self.since = 0.0

    def __repr__(self) -> str:
        return f"<Standing {self.name!r} {len(self.running)} running, {len(self.waiting)} waiting>"

    @property
    def is_ready(self) -> bool:
        """Whether a request of it waits, and its own limit lets it run."""
        return bool(self.waiting) and len(self.running) < self.max_concurrent


class _Lane:
    """The clients of one priority that are ready.

    Attributes:
        priority: Theirs.
        members: They, in the order in which they came, each with its latest place.
    """

    def __init__(self, priority: float, numbers: Iterator[int]) -> None:
        self.priority = priority
        self.members: OrderedDict[Standing, int] = OrderedDict()
        self._numbers = numbers
        # Tag, number, standing. A place is out of date unless it is its member's latest.
        self._places: list[tuple[float, int, Standing]] = []

    def put(self, standing: Standing) -> None:
        """Take a client in, or note that its tag has changed."""
        self.members[standing] = number = next(self._numbers)
        heapq.heappush(self._places, (standing.tag, number, standing))
        if len(self._places) > 2 * len(self.members) + 16:
            self._places = [(s.tag, number, s) for s, number in self.members.items()]
            heapq.heapify(self._places)

    @property
    def first(self) -> Standing:
        """Who has the lowest tag; of equals, who came first."""
        places = self._places
        while self.members.get(places[0][2]) != places[0][1]:
            heapq.heappop(places)
        return places[0][2]

    def rank(self, highest: float, now: float) -> float:
        """Return the tag of its first, and the handicap that a lower priority is.

        It wears off as they wait, so that none waits longer for it than that.
        """
        if self.priority == highest:
            return self.first.tag
        waited = now - next(iter(self.members)).since
        handicap = PRIORITY_SECONDS * (highest - self.priority)
        return self.first.tag + max(0.0, handicap - waited)


class Turns:
    """Has requests start in turns, as many at once as there may be.

    A client that runs as many as it may is passed over, and begins to wait anew when one of
    them is over.

    Attributes:
        running: Requests that were started and are not over.
    """

    def __init__(self) -> None:
        self.running = 0
        self._lanes: dict[float, _Lane] = {}  # none is empty
        self._coming: dict[Standing, None] = {}  # who may have become ready
        self._numbers = count()
        self._virtual_time = 0.0

    def __repr__(self) -> str:
        ready = sum(len(lane.members) for lane in self._lanes.values())
        return f"<Turns {self.running} running, {ready} clients ready>"

    def ask(self, standing: Standing) -> Ticket:
        """Have a request of a client wait; `next` says when its turn has come."""
        ticket = Ticket(standing)
        standing.waiting[ticket] = None
        self.reconsider(standing)
        return ticket

    def reconsider(self, standing: Standing) -> None:
        """Look at a client anew: its limit may have been raised."""
        self._coming[standing] = None

    def next(self, capacity: int, now: float) -> list[Ticket]:
        """Start those whose turn it is, and return them.

        Args:
            capacity: Requests that may run at once.
            now: Seconds, by any clock that goes forward.
        """
        for standing in self._coming:
            if standing.lane is None and standing.is_ready:
                standing.tag = max(standing.tag, self._floor(standing.priority))
                self._enter(standing, now)
        self._coming.clear()
        started = []
        while self.running < capacity and self._lanes:
            standing = self._first(now)
            if standing.is_ready:
                started.append(self._start(standing, now))
            else:  # its limit was lowered
                self._leave(standing)
        return started

    def charge(self, ticket: Ticket, audio_seconds: float) -> None:
        """Charge a request's seconds, as far as they are known by now.

        The sooner, the fairer: what is not known counts as `LEAST_SECONDS`.
        """
        ticket.audio_seconds = audio_seconds
        if ticket.is_running:
            self._charge(ticket)

    def end(self, ticket: Ticket, audio_seconds: float) -> None:
        """Let a request go, whether or not its turn has come, and charge what it came to.

        Harmless if it is over already.
        """
        standing = ticket.standing
        if ticket.is_running:
            self.charge(ticket, audio_seconds)
            standing.running.remove(ticket)
            self.running -= 1
            self.reconsider(standing)
        elif ticket in standing.waiting:
            del standing.waiting[ticket]
            if not standing.waiting:
                self._leave(standing)

    # --- lanes ------------------------------------------------------------------------------

    def _floor(self, priority: float) -> float:
        """Return the lowest tag that is no credit for whoever comes to wait."""
        lane = self._lanes.get(priority)
        # Those of a low priority lag behind: a newcomer is not to be behind them as well.
        return self._virtual_time if lane is None else min(self._virtual_time, lane.first.tag)

    def _enter(self, standing: Standing, now: float) -> None:
        """Have a client wait for its turn."""
        lane = self._lanes.get(standing.priority)
        if lane is None:
            lane = self._lanes[standing.priority] = _Lane(standing.priority, self._numbers)
        standing.lane = lane
        standing.since = now
        lane.put(standing)

    def _leave(self, standing: Standing) -> None:
        lane = standing.lane
        if lane is None:
            return
        standing.lane = None
        del lane.members[standing]
        if not lane.members:
            del self._lanes[lane.priority]

    def _first(self, now: float) -> Standing:
        highest = max(self._lanes)
        lanes = self._lanes.values()
        # Of equals, who has waited longer: or ever new clients would keep others waiting.
        return min(lanes, key=lambda lane: (lane.rank(highest, now), lane.first.since)).first

    def _start(self, standing: Standing, now: float) -> Ticket:
        self._virtual_time = max(self._virtual_time, standing.tag)
        ticket, _ = standing.waiting.popitem(last=False)
        standing.running.add(ticket)
        self.running += 1
        self._leave(standing)
        self._charge(ticket)
        if standing.is_ready:
            self._enter(standing, now)
        return ticket

    def _charge(self, ticket: Ticket) -> None:
        standing, owed = ticket.standing, max(LEAST_SECONDS, ticket.audio_seconds)
        change = owed - ticket.charged
        ticket.charged = owed
        standing.tag += change
        if standing.lane is None or not change:
            return
        if change > 0:
            standing.lane.put(standing)
        else:  # it enters anew: what it gets back is no credit over those who came since
            self._leave(standing)
            self.reconsider(standing)
