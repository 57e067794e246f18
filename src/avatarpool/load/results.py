"""What a run is asked to do and what became of it, as frozen values. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from avatarpool.exceptions import AvatarSDKError


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What a run is asked to do.

    Attributes:
        num_rounds: Rounds, one after another.
        requests_per_round: Requests of a round, all at once.
        interval_seconds: Rest between the end of a round and the next one.
        pool_size: Connections that the pool is to keep.
    """

    num_rounds: int
    requests_per_round: int
    interval_seconds: float
    pool_size: int

    @property
    def expected_minutes(self) -> float:
        """The rests between the rounds; the requests' own time is not known yet."""
        return (self.num_rounds - 1) * self.interval_seconds / 60


@dataclass(frozen=True, slots=True)
class RequestResult:
    """One request, as whoever made it saw it.

    Attributes:
        duration_ms: From asking for a connection to the last frame or the failure.
        wait_ms: The part of it that went by until a connection was lent.
        frames: Frames that arrived.
        connection_id: The connection that served it, if one was lent.
        request_id: The request's id, if audio was sent.
        error_kind: The stable error code or the exception's name; None if it succeeded.
        error: The failure in one sentence; None if it succeeded.
    """

    duration_ms: float
    wait_ms: float = 0.0
    frames: int = 0
    connection_id: str | None = None
    request_id: str | None = None
    error_kind: str | None = None
    error: str | None = None

    @property
    def is_ok(self) -> bool:
        """Whether the last frame arrived."""
        return self.error_kind is None


@dataclass(frozen=True, slots=True)
class RoundResult:
    """One round of concurrent requests.

    Attributes:
        number: Counted from 1.
        elapsed: Seconds from the start of the run to the start of the round.
        duration_ms: From the first request's start to the last one's end.
        requests: The finished requests, in the order in which they finished.
    """

    number: int
    elapsed: float
    duration_ms: float
    requests: tuple[RequestResult, ...]

    @property
    def ok(self) -> int:
        """How many requests succeeded."""
        return sum(request.is_ok for request in self.requests)

    @property
    def failed(self) -> int:
        """How many requests failed."""
        return len(self.requests) - self.ok


@dataclass(frozen=True, slots=True)
class RoundStarted:
    """A round begins; ``str()`` is its line of the report."""

    number: int
    num_rounds: int
    elapsed: float
    available: int
    total: int

    def __str__(self) -> str:
        return (
            f"\n[Round {self.number}/{self.num_rounds}] "
            f"(elapsed: {self.elapsed:.1f}s, pool: {self.available}/{self.total} available)"
        )


@dataclass(frozen=True, slots=True)
class RoundCompleted:
    """A round is over; ``str()`` is its line of the report."""

    result: RoundResult

    def __str__(self) -> str:
        result = self.result
        return f"  Completed: {result.ok} OK, {result.failed} FAILED in {result.duration_ms:.1f}ms"


@dataclass(frozen=True, slots=True)
class RoundPause:
    """The rest before the next round begins; ``str()`` is its line of the report."""

    seconds: float

    def __str__(self) -> str:
        return f"  Waiting {seconds_text(self.seconds)} until next round..."


Progress = RoundStarted | RoundCompleted | RoundPause


def error_kind(error: Exception) -> str:
    """Return the stable error code, or the exception's name."""
    return error.code.value if isinstance(error, AvatarSDKError) else type(error).__name__


def error_sentence(error: Exception) -> str:
    """Return the failure on one line."""
    text = error.message if isinstance(error, AvatarSDKError) else str(error)
    return " ".join(text.split()) or type(error).__name__


def seconds_text(value: float) -> str:
    """One decimal at least, and no more than were given: ``30.0s``, ``0.25s``."""
    return f"{round(float(value), 3)}s"
