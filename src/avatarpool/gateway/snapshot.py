"""What ``/v1/pools`` and the live page tell: the shape of their JSON."""

from __future__ import annotations

from typing import TypedDict

from avatarpool.gateway.advice import Advice
from avatarpool.gateway.windows import Percentiles


class BudgetShown(TypedDict):
    """The account's sessions."""

    sessions: int
    """How many there may be, wherever they are open."""
    used: int
    """... of which this gateway has: open ones, and those on their way in or out."""


class SessionShown(TypedDict):
    """One session."""

    key: str
    """Avatar, sample rate, and what else its key says."""
    connection_id: str
    """The service's name for it; empty while it is opened."""
    state: str
    """``idle``, ``lent``, ``draining`` or ``opening``."""
    state_seconds: float | None
    """How long it has been so; null while it is opened."""
    age_seconds: float | None
    """Since it was opened; null while it is."""
    requests: int
    """Requests answered to the last frame."""


class States(TypedDict):
    """How many sessions are in each state, those that are not listed included."""

    idle: int
    lent: int
    draining: int
    opening: int


class Queue(TypedDict):
    """Who waits now."""

    turns: int
    """Requests that wait for their turn among the clients."""
    sessions: int
    """Requests whose turn has come, and that wait for a session."""


class ClientShown(TypedDict):
    """One client."""

    name: str
    running: int
    waiting: int
    requests: int
    """Requests that it began, ever."""
    refused: dict[str, int]
    """Those that were refused or failed, by the reason's name."""
    audio_seconds: float
    """Audio that was animated for it, ever."""


class FailureShown(TypedDict):
    """One failure, or several that read alike."""

    kind: str
    """``not lent``, ``request failed``, ``session lost``, ``opening refused``, ``turned away``."""
    where: str
    """The session's key, or the client."""
    cause: str
    """One sentence without secrets."""
    count: int
    """How often in a row of ever the same."""
    seconds_ago: float
    """Since the latest one."""


class Series(TypedDict):
    """A percentile's course: milliseconds for each slice; null where there was nothing."""

    p50: list[float | None]
    p95: list[float | None]


class History(TypedDict):
    """The last five minutes in slices, the oldest first, the one under way last."""

    slice_seconds: float
    wait_ms: Series
    first_frame_ms: Series
    arrivals: list[int]
    failures: list[int]


class Snapshot(TypedDict):
    """How a gateway stands, and what its last five minutes were like."""

    is_paused: bool
    """Whether new requests are refused because somebody paused the gateway."""
    budget: BudgetShown
    states: States
    sessions: list[SessionShown]
    """200 of them at the most, the oldest first."""
    running: int
    """Requests of clients that have had their turn, and are not over."""
    queue: Queue
    window_seconds: float
    """What the following four tell of: 300 at the most, less after a start."""
    arrivals: int
    """Requests that came."""
    wait_ms: Percentiles
    """From a request's first audio to its session, in vain too."""
    first_frame_ms: Percentiles
    """From the first audio on a session to the first frame."""
    duration_ms: Percentiles
    """... to the last one."""
    history: History
    clients_total: int
    clients: list[ClientShown]
    """200 of them at the most: those with most requests."""
    failures: list[FailureShown]
    """The latest 50 of five minutes, the newest first."""
    advice: Advice
