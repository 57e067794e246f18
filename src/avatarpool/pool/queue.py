"""The queue of borrowers: first come, first served, with priorities that age. Pure."""

from __future__ import annotations

import heapq
from collections import deque
from itertools import count
from math import inf, isnan, nan
from typing import Generic, TypeVar

T = TypeVar("T")  # hashable

PRIORITY_SECONDS = 10.0
"""A borrower of priority *p* is served as if it had come this much times *p* earlier."""

# Turn, number, deadline, entry: the number makes each unique.
_Place = tuple[float, int, float, T]


class _Lane(Generic[T]):
    """The places of one priority and one timeout."""

    __slots__ = ("key", "places", "priority", "timeout")

    def __init__(self, key: object, priority: float, timeout: float) -> None:
        self.key = key
        self.priority = priority
        self.timeout = timeout
        self.places: deque[_Place[T]] = deque()


class FairQueue(Generic[T]):
    """Entries in order of arrival, moved ahead by their priority, each with a deadline.

    A priority is a head start and no right of way: who waits long enough is
    served before any newcomer, so that nobody starves. Equal priorities keep
    their order.

    Entries of one priority and one timeout form a lane, in which turns and
    deadlines both grow: its first entry is the next in either respect. So the
    cost depends on the number of lanes, and not on how many wait; most often
    there is one.

    Attributes:
        present: The entries in the order they came, each with its number; to be
            read only. Others that have a place have left.
    """

    def __init__(self) -> None:
        self.present: dict[T, int] = {}
        self._numbers = count()
        self._lanes: dict[object, _Lane[T]] = {}  # none is empty
        self._latest: _Lane[T] = _Lane(None, nan, nan)  # that got a place
        # A heap: each lane's first turn and its number. One alone may be out of date.
        self._heads: list[tuple[float, int, _Lane[T]]] = []
        self._places = 0  # in all lanes, of those who have left too

    def __len__(self) -> int:
        return len(self.present)

    def push(self, entry: T, now: float, priority: float = 0.0, timeout: float = inf) -> None:
        """Add an entry that is not in the queue.

        Raises:
            ValueError: The priority or the timeout is no number.
        """
        lane = self._latest
        # What is no number raises here, before anything is changed.
        turn, deadline = now - PRIORITY_SECONDS * priority, now + timeout
        if (
            priority != lane.priority
            or timeout != lane.timeout
            or not lane.places
            or turn < lane.places[-1][0]
        ):
            lane = self._latest = self._lane(turn, priority, timeout)
        self.present[entry] = number = next(self._numbers)
        lane.places.append((turn, number, deadline, entry))
        self._places += 1

    def _lane(self, turn: float, priority: float, timeout: float) -> _Lane[T]:
        """Return the lane where a place of this turn is the last."""
        if isnan(priority) or isnan(timeout):  # for what is no number at all: TypeError
            raise ValueError(f"priority {priority} and timeout {timeout} must be numbers")
        key: object = (priority, timeout)
        lane = self._lanes.get(key)
        if lane is not None and turn < lane.places[-1][0]:  # the clock was put back
            key, lane = object(), None
        if lane is None:
            if len(self._heads) == 1:
                self._line_up()
            lane = self._lanes[key] = _Lane(key, priority, timeout)
            heapq.heappush(self._heads, (turn, next(self._numbers), lane))
        return lane

    def pop(self) -> T:
        """Take the entry whose turn it is.

        Raises:
            IndexError: The queue is empty.
        """
        heads, present = self._heads, self.present
        while True:
            lane = heads[0][2]
            places = lane.places
            _, number, _, entry = places.popleft()
            self._places -= 1
            if not places:
                heapq.heappop(heads)
                del self._lanes[lane.key]
            elif len(heads) > 1:
                heapq.heapreplace(heads, (places[0][0], places[0][1], lane))
            if present.get(entry) == number:  # it has not left
                del present[entry]
                return entry

    def discard(self, entry: T) -> None:
        """Take an entry out wherever it is; harmless if it is not there."""
        self.present.pop(entry, None)
        if self._places > 2 * len(self.present) + 16:
            self._compact()

    @property
    def next_turn(self) -> float:
        """The turn of the entry that is next: when it came, less what its priority counts."""
        if not self.present:
            return inf
        before = self._places
        for lane in self._lanes.values():
            places = lane.places
            while places and not self._is_there(places[0]):
                places.popleft()
                self._places -= 1
        if self._places < before:
            self._line_up()
        return min(lane.places[0][0] for lane in self._lanes.values())

    @property
    def next_deadline(self) -> float:
        """When the first entry runs out of time, or a bit earlier."""
        return min((lane.places[0][2] for lane in self._lanes.values()), default=inf)

    def overdue(self, now: float) -> list[T]:
        """Take out all entries whose time is over, in the order of their deadlines."""
        taken = []
        for lane in self._lanes.values():
            places = lane.places
            while places and (places[0][2] <= now or not self._is_there(places[0])):
                place = places.popleft()
                self._places -= 1
                if self._is_there(place):
                    del self.present[place[3]]
                    taken.append((place[2], place[1], place[3]))
        self._line_up()
        return [entry for _, _, entry in sorted(taken)]

    def _compact(self) -> None:
        """Forget the places of all who have left."""
        for lane in self._lanes.values():
            lane.places = deque(filter(self._is_there, lane.places))
        self._places = len(self.present)
        self._line_up()

    def _line_up(self) -> None:
        self._lanes = {key: lane for key, lane in self._lanes.items() if lane.places}
        firsts = ((lane.places[0], lane) for lane in self._lanes.values())
        self._heads = [(first[0], first[1], lane) for first, lane in firsts]
        heapq.heapify(self._heads)

    def _is_there(self, place: _Place[T]) -> bool:
        return self.present.get(place[3]) == place[1]
