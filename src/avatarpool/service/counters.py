"""What a running service has done, as numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
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

    tokens_issued: int = 0
    upgrades_refused: int = 0
    connections_open: int = 0
    connections_total: int = 0
    sessions_total: int = 0
    requests_open: int = 0
    requests_served: int = 0
    requests_interrupted: int = 0
    requests_failed: int = 0
    frames_sent: int = 0
    audio_seconds: float = 0.0
