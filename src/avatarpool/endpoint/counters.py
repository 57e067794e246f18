"""What a running service has done, as numbers: all of them follow from what there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from avatarpool.endpoint.accounts import Account
from avatarpool.endpoint.admission import Admission
from avatarpool.endpoint.roster import Roster


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
    def of(cls, admission: Admission[Account], roster: Roster) -> Self:
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
