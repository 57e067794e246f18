"""Whose step is next."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

# More would let a client that sends one short request after the other keep all
# others waiting.
FIRSTS_IN_A_ROW = 8


class Turns(Generic[T]):
    """Gives each step its turn, in the order in which they came; no I/O.

    Steps before a request's first frame go before all others, but no more than
    `FIRSTS_IN_A_ROW` while another waits.
    """

    def __init__(self) -> None:
        self._firsts: deque[T] = deque()
        self._others: deque[T] = deque()
        self._in_a_row = 0  # first steps taken since another one was

    def add(self, step: T, *, is_first: bool) -> None:
        """Let a step wait for its turn."""
        (self._firsts if is_first else self._others).append(step)

    def take(self) -> T:
        """Return the step whose turn it is.

        Raises:
            IndexError: None waits.
        """
        if self._firsts and (self._in_a_row < FIRSTS_IN_A_ROW or not self._others):
            self._in_a_row += 1
            return self._firsts.popleft()
        self._in_a_row = 0
        return self._others.popleft()
