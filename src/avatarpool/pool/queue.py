"""The queue of borrowers: first come, first served, with priorities that age. Pure."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from itertools import count
from math import inf, isnan
from typing import Generic, TypeVar

T = TypeVar("T")  # hashable

PRIORITY_SECONDS = 10.0
"""A borrower of priority *p* is served as if it had come this much times *p* earlier."""

# Turn, number, deadline, entry: the number makes each unique.
_Place = tuple[float, int, float, T]


class _Lane(Generic[T]):
    """The places of one priority and one timeout."""

    __slots__ = ("key", "places")

    def __init__(self, key: object) -> None:
        self.key = key
        self.places: deque[_Place[T]] = deque()


class FairQueue(Generic[T]):
    """Entries in order of arrival, moved ahead by their priority, each with a deadline.

    A priority is a head start and no right of way: who waits long enough is
    served before any newcomer, so that nobody starves. Equal priorities keep
    their order.

    Entries of one priority and one timeout form a lane, in which turns and
    deadlines both grow: its first entry is the next in either respect. So the
    cost depends on the number of lanes, and not on how many wait.
    """

    def __init__(self) -> None:
        self._present: dict[T, int] = {}  # entry -> its number; others have left
        self._numbers = count()
        self._lanes: dict[object, _Lane[T]] = {}  # none is empty
        # A heap: each lane's first turn and its number.
        self._heads: list[tuple[float, int, _Lane[T]]] = []
        self._places = 0  # in all lanes, of those who have left too

    def __len__(self) -> int:
        return len(self._present)

    def push(self, entry: T, now: float, priority: float = 0.0, timeout: float = inf) -> None:
        """Add an entry that is not in the queue.

        Raises:
            ValueError: The priority or the timeout is no number.
        """
        if isnan(priority) or isnan(timeout):  # for what is no number at all: TypeError
            raise ValueError(f"priority {priority} and timeout {timeout} must be numbers")
        self._present[entry] = number = next(self._numbers)
        place = (now - PRIORITY_SECONDS * priority, number, now + timeout, entry)
        key: object = (priority, timeout)
        lane = self._lanes.get(key)
        if lane is not None and place < lane.places[-1]:  # the clock was put back
            key, lane = number, None
        if lane is None:
            lane = self._lanes[key] = _Lane(key)
            heapq.heappush(self._heads, (place[0], number, lane))
        lane.places.append(place)
        self._places += 1

    def pop(self) -> T:
        """Take the entry whose turn it is.

        Raises:
            IndexError: The queue is empty.
        """
        heads, present = self._heads, self._present
        while True:
            _, number, lane = heads[0]
            places = lane.places
            entry = places.popleft()[3]
            self._places -= 1
            if places:
                heapq.heapreplace(heads, (places[0][0], places[0][1], lane))
            else:
                heapq.heappop(heads)
                del self._lanes[lane.key]
            if present.get(entry) == number:  # it has not left
                del present[entry]
                return entry

    def discard(self, entry: T) -> None:
        """Take an entry out wherever it is; harmless if it is not there."""
        self._present.pop(entry, None)
        if self._places > 2 * len(self._present) + 16:
            self._compact()

    def entries(self) -> Iterable[T]:
        """All entries, in the order they came."""
        return self._present

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
                    del self._present[place[3]]
                    taken.append((place[2], place[1], place[3]))
        self._line_up()
        return [entry for _, _, entry in sorted(taken)]

    def _compact(self) -> None:
        """Forget the places of all who have left."""
        for lane in self._lanes.values():
            lane.places = deque(filter(self._is_there, lane.places))
        self._places = len(self._present)
        self._line_up()

    def _line_up(self) -> None:
        self._lanes = {key: lane for key, lane in self._lanes.items() if lane.places}
        firsts = ((lane.places[0], lane) for lane in self._lanes.values())
        self._heads = [(first[0], first[1], lane) for first, lane in firsts]
        heapq.heapify(self._heads)

    def _is_there(self, place: _Place[T]) -> bool:
        return self._present.get(place[3]) == place[1]
