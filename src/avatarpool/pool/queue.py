"""The queue of borrowers: first come, first served, with priorities that age. Pure."""

from __future__ import annotations

import heapq
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")  # hashable

PRIORITY_SECONDS = 10.0
"""A borrower of priority *p* is served as if it had come this much times *p* earlier."""


class FairQueue(Generic[T]):
    """Entries in order of arrival, moved ahead by their priority.

    A priority is a head start and no right of way: who waits long enough is
    served before any newcomer, so that nobody starves. Equal priorities keep
    their order. Everything costs O(log n); leaving from the middle too.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._present: dict[T, int] = {}  # entry -> its number in the heap
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._present)

    def push(self, entry: T, now: float, priority: float = 0.0) -> None:
        """Add an entry that is not in the queue."""
        number = next(self._numbers)
        self._present[entry] = number
        heapq.heappush(self._heap, (now - PRIORITY_SECONDS * priority, number, entry))

    def pop(self) -> T:
        """Take the entry whose turn it is.

        Raises:
            IndexError: The queue is empty.
        """
        while True:
            _, number, entry = heapq.heappop(self._heap)
            if self._present.get(entry) == number:
                del self._present[entry]
                return entry

    def discard(self, entry: T) -> None:
        """Take an entry out wherever it is; harmless if it is not there."""
        if self._present.pop(entry, None) is None:
            return
        # Its place in the heap is skipped by pop(); once most places are such,
        # the heap is made anew, so that it stays in proportion.
        if len(self._heap) > 2 * len(self._present) + 16:
            self._heap = [item for item in self._heap if self._present.get(item[2]) == item[1]]
            heapq.heapify(self._heap)
