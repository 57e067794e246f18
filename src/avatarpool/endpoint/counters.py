"""What a running service has done, as numbers: all of them follow from what there is."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol, Self

from avatarpool.endpoint.admission import Admission


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


@dataclass(frozen=True, slots=True)
class ServiceCounters:
    """Counted since the service was made; ``*_open`` are as of now.

    Attributes:
        tokens_issued: Session tokens given out.
        upgrades_refused: WebSocket upgrades answered with an HTTP error.
        connections_open: WebSocket connections.
        connections_total: WebSocket connections ever.
        sessions_total: Of those, the ones whose session was confirmed.
        requests_open: Requests whose last frame or error is not out.
        requests_served: Requests whose last frame went out, not interrupted.
        requests_interrupted: Requests ended by an interrupt.
        requests_failed: Requests ended by an error.
        frames_sent: Animation messages.
        audio_seconds: Audio animated.
    """

    tokens_issued: int
    upgrades_refused: int
    connections_open: int
    connections_total: int
    sessions_total: int
    requests_open: int
    requests_served: int
    requests_interrupted: int
    requests_failed: int
    frames_sent: int
    audio_seconds: float

    @classmethod
    def of(cls, admission: Admission, roster: Roster) -> Self:
        """Read them off who was let in, and what that came to."""
        counts = roster.counts()
        return cls(
            tokens_issued=admission.tokens.issued,
            upgrades_refused=admission.refused,
            connections_open=len(roster),
            connections_total=roster.joined,
            sessions_total=counts.sessions,
            requests_open=roster.requests_open,
            requests_served=counts.served,
            requests_interrupted=counts.interrupted,
            requests_failed=counts.failed,
            frames_sent=counts.frames,
            audio_seconds=admission.accounts.charged,
        )
