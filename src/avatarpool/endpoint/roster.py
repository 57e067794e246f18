"""The conversations under way, and what all of them came to."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol


@dataclass(slots=True)
class Counts:
    """What a conversation came to, or many of them together.

    Attributes:
        sessions: Sessions that were confirmed.
        served: Requests whose last frame went out, not interrupted.
        interrupted: Requests ended by an interrupt.
        failed: Requests ended by an error.
        frames: Animation messages.
    """

    sessions: int = 0
    served: int = 0
    interrupted: int = 0
    failed: int = 0
    frames: int = 0

    def add(self, other: Counts) -> None:
        """Add another's numbers."""
        for field in fields(Counts):
            name = field.name
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Counted(Protocol):
    """What is counted of a conversation under way."""

    counts: Counts

    @property
    def open_requests(self) -> int:
        """How many requests are under way."""


class Roster:
    """The conversations under way, and what those came to that are over."""

    def __init__(self) -> None:
        self._present: set[Counted] = set()
        self._past = Counts()
        self.joined = 0  # conversations, ever

    def __len__(self) -> int:
        return len(self._present)

    @property
    def requests_open(self) -> int:
        """Requests whose last frame or error is not out."""
        return sum(conversation.open_requests for conversation in self._present)

    def join(self, conversation: Counted) -> None:
        """Count a conversation that begins."""
        self.joined += 1
        self._present.add(conversation)

    def leave(self, conversation: Counted) -> None:
        """Count a conversation that is over."""
        self._present.remove(conversation)
        self._past.add(conversation.counts)

    def counts(self) -> Counts:
        """Return what all conversations came to so far."""
        total = Counts()
        for counts in (self._past, *(conversation.counts for conversation in self._present)):
            total.add(counts)
        return total
