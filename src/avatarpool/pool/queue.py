"""The queue of borrowers: first come, first served, with priorities that age. Pure."""

from __future__ import annotations

import heapq
from collections import deque
from itertools import count
from math import inf
from typing import Generic, TypeVar

T = TypeVar("T")  # hashable

PRIORITY_SECONDS = 10.0
"""A borrower of priority *p* is served as if it had come this much times *p* earlier."""


class FairQueue(Generic[T]):
    """Entries in order of arrival, moved ahead by their priority, each with a deadline.

    A priority is a head start and no right of way: who waits long enough is
    served before any newcomer, so that nobody starves. Equal priorities keep
    their order. Everything costs O(log n) in the number of different priorities
    and timeouts, not of entries; leaving from the middle too.
    """

    def __init__(self) -> None:
        self._present: dict[T, int] = {}  # entry -> its number; others have left
        self._turns: _Lanes[T] = _Lanes(self._present)
        self._deadlines: _Lanes[T] = _Lanes(self._present)
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._present)

    def push(self, entry: T, now: float, priority: float = 0.0, timeout: float = inf) -> None:
        """Add an entry that is not in the queue."""
        self._present[entry] = number = next(self._numbers)
        self._turns.push(priority, (now - PRIORITY_SECONDS * priority, number, entry))
        if timeout < inf:
            self._deadlines.push(timeout, (now + timeout, number, entry))

    def pop(self) -> T:
        """Take the entry whose turn it is.

        Raises:
            IndexError: The queue is empty.
        """
        _, _, entry = self._turns.pop()
        del self._present[entry]
        self._skip()
        return entry

    def discard(self, entry: T) -> None:
        """Take an entry out wherever it is; harmless if it is not there."""
        if self._present.pop(entry, None) is not None:
            self._skip()

    @property
    def next_deadline(self) -> float:
        """When the first entry runs out of time."""
        first = self._deadlines.first
        return first[0] if first else inf

    def overdue(self, now: float) -> list[T]:
        """Take out all entries whose time is over."""
        taken = []
        while self.next_deadline <= now:
            _, _, entry = self._deadlines.pop()
            del self._present[entry]
            self._skip()
            taken.append(entry)
        return taken

    def _skip(self) -> None:
        self._turns.skip()
        self._deadlines.skip()


_Item = tuple[float, int, T]  # the smaller, the earlier; the number makes it unique


class _Lanes(Generic[T]):
    """A priority queue of items most of which come in order within a few lanes.

    A heap of all items would make each borrow the dearer the more wait. Items
    of entries that have left stay until they come first, or are too many.

    Args:
        present: The entries that have not left, and their numbers.
    """

    def __init__(self, present: dict[T, int]) -> None:
        self._present = present
        self._lanes: dict[object, deque[_Item[T]]] = {}
        self._heads: list[tuple[float, int, object]] = []  # a heap: each lane's first item
        self._size = 0

    def push(self, lane: object, item: _Item[T]) -> None:
        """Add an item; one that breaks its lane's order gets a lane of its own."""
        items = self._lanes.get(lane)
        if items is not None and item < items[-1]:
            lane = (lane, item[1])
            items = None
        if items is None:
            items = self._lanes[lane] = deque()
            heapq.heappush(self._heads, (item[0], item[1], lane))
        items.append(item)
        self._size += 1

    @property
    def first(self) -> _Item[T] | None:
        """The earliest item."""
        return self._lanes[self._heads[0][2]][0] if self._heads else None

    def pop(self) -> _Item[T]:
        """Take the earliest item."""
        lane = self._heads[0][2]
        items = self._lanes[lane]
        item = items.popleft()
        if items:
            heapq.heapreplace(self._heads, (items[0][0], items[0][1], lane))
        else:
            heapq.heappop(self._heads)
            del self._lanes[lane]
        self._size -= 1
        return item

    def skip(self) -> None:
        """Let the first item be of an entry that is there, and most others too."""
        while (first := self.first) is not None and self._present.get(first[2]) != first[1]:
            self.pop()
        if self._size > 2 * len(self._present) + 16:
            self._compact()

    def _compact(self) -> None:
        for lane, items in list(self._lanes.items()):
            kept = deque(item for item in items if self._present.get(item[2]) == item[1])
            self._size += len(kept) - len(items)
            if kept:
                self._lanes[lane] = kept
            else:
                del self._lanes[lane]
        self._heads = [(items[0][0], items[0][1], lane) for lane, items in self._lanes.items()]
        heapq.heapify(self._heads)
