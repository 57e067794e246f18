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
        self._lanes: dict[object, deque[_Place[T]]] = {}  # none is empty
        self._heads: list[tuple[float, int, object]] = []  # a heap: each lane's first turn
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
        if lane is not None and place < lane[-1]:  # the clock was put back
            key, lane = number, None
        if lane is None:
            lane = self._lanes[key] = deque()
            heapq.heappush(self._heads, (place[0], number, key))
        lane.append(place)
        self._places += 1

    def pop(self) -> T:
        """Take the entry whose turn it is.

        Raises:
            IndexError: The queue is empty.
        """
        _, _, key = self._heads[0]
        _, _, _, entry = self._take_first(key)
        del self._present[entry]
        self._skip()
        return entry

    def discard(self, entry: T) -> None:
        """Take an entry out wherever it is; harmless if it is not there."""
        if self._present.pop(entry, None) is not None:
            self._skip()
            if self._places > 2 * len(self._present) + 16:
                self._compact()

    def entries(self) -> Iterable[T]:
        """All entries, in the order they came."""
        return self._present

    @property
    def next_deadline(self) -> float:
        """When the first entry runs out of time, or a bit earlier."""
        return min((lane[0][2] for lane in self._lanes.values()), default=inf)

    def overdue(self, now: float) -> list[T]:
        """Take out all entries whose time is over, in the order of their deadlines."""
        taken = []
        for lane in self._lanes.values():
            while lane and (lane[0][2] <= now or not self._is_there(lane[0])):
                place = lane.popleft()
                self._places -= 1
                if self._is_there(place):
                    del self._present[place[3]]
                    taken.append((place[2], place[1], place[3]))
        self._line_up()
        return [entry for _, _, entry in sorted(taken)]

    def _skip(self) -> None:
        """Let the first in turn be one who is there."""
        heads = self._heads
        while heads:
            _, number, key = heads[0]
            if self._present.get(self._lanes[key][0][3]) == number:
                return
            self._take_first(key)

    def _take_first(self, key: object) -> _Place[T]:
        lane = self._lanes[key]
        place = lane.popleft()
        self._places -= 1
        if lane:
            heapq.heapreplace(self._heads, (lane[0][0], lane[0][1], key))
        else:
            heapq.heappop(self._heads)
            del self._lanes[key]
        return place

    def _compact(self) -> None:
        """Forget the places of all who have left."""
        for key, lane in self._lanes.items():
            self._lanes[key] = deque(filter(self._is_there, lane))
        self._places = len(self._present)
        self._line_up()

    def _line_up(self) -> None:
        self._lanes = {key: lane for key, lane in self._lanes.items() if lane}
        self._heads = [(lane[0][0], lane[0][1], key) for key, lane in self._lanes.items()]
        heapq.heapify(self._heads)

    def _is_there(self, place: _Place[T]) -> bool:
        return self._present.get(place[3]) == place[1]
