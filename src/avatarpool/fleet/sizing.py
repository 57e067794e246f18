"""How many sessions a load needs, and how long its borrowers wait for one. Pure.

Borrowers come independently of one another, each has a session for a while, and
who finds none waits in one queue: the queue M/G/c of the literature.

- Whether a borrower waits at all is Erlang's C formula, exact where durations are
  spread exponentially (A. K. Erlang, "Solution of some problems in the theory of
  probabilities of significance in automatic telephone exchanges", 1917).
- How long those who wait do is spread exponentially, exactly so in the same case.
  For other durations its mean is corrected by their spread (A. O. Allen,
  "Probability, Statistics, and Queueing Theory", 1978, the Allen-Cunneen
  approximation; W. Whitt, "Approximations for the GI/G/m queue", Production and
  Operations Management 2(2), 1993, for the whole distribution).

Spreads up to 1 are met closely; beyond that, many sessions wait less than this
says, and few a little longer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from math import inf, log, sqrt

from avatarpool.exceptions import ConfigurationError

MOST_BUSY = 100_000
"""Sessions busy on average beyond which nothing is planned."""

_CANNOT = "no sessions can be planned"


@dataclass(frozen=True, slots=True)
class Load:
    """What borrowers ask of sessions.

    Attributes:
        arrivals: Borrowers a second, on average; each comes by itself (a Poisson process).
        duration: Seconds for which one has a session, on average.
        spread: Standard deviation of the durations over their mean: 0 for equal
            ones, 1 for an exponential distribution.

    Raises:
        ConfigurationError: Arrivals or duration are not above 0 and up to 1e9, the spread
            is not from 0 to 100, or over `MOST_BUSY` sessions would be busy.
    """

    arrivals: float
    duration: float
    spread: float = 1.0

    def __post_init__(self) -> None:
        problems = [
            f"{name} {value!r} must be above 0 and at most 1e9"
            for name, value in (("arrivals", self.arrivals), ("duration", self.duration))
            if not 0 < value <= 1e9
        ]
        if not 0 <= self.spread <= 100:
            problems.append(f"spread {self.spread!r} must be from 0 to 100")
        if not problems and self.busy > MOST_BUSY:
            problems = [f"{self.busy:.3g} of them would be busy on average, {MOST_BUSY:,} may be"]
        if problems:
            raise ConfigurationError(_CANNOT, problems)

    @classmethod
    def from_stats(cls, stats: Mapping[str, object], seconds: float) -> Load:
        """Measure the load of a pool.

        Args:
            stats: Its `get_stats()` or `pop_stats()`, a group's ``total``, or one of
                these read from a file: what is in it is checked.
            seconds: How long it has counted: since its start, or the last `pop_stats()`.

        Raises:
            ConfigurationError: Nothing was returned yet, or the numbers cannot be.
        """
        return cls(measured_arrivals(stats, seconds), *measured_durations(stats))

    @property
    def busy(self) -> float:
        """Sessions busy on average: the offered load, in erlangs."""
        return self.arrivals * self.duration


@dataclass(frozen=True, slots=True)
class Waits:
    """How long borrowers wait for one of so many sessions.

    Attributes:
        sessions: How many there are.
        utilisation: Sessions busy on average over all; from 1 on, the queue grows without end.
        waiting: The share of borrowers that wait at all.
        mean_of_waiting: Seconds that those wait on average; infinite where the queue
            grows without end.
    """

    sessions: int
    utilisation: float
    waiting: float
    mean_of_waiting: float

    @property
    def mean(self) -> float:
        """Seconds that a borrower waits on average, those included that need not."""
        return self.waiting * self.mean_of_waiting

    def percentile(self, percent: float) -> float:
        """Return the seconds within which this part of all borrowers has a session.

        The t where P(wait > t) = waiting * exp(-t / mean_of_waiting) is 1 - percent / 100.

        Args:
            percent: 0 or more, and less than 100.
        """
        later = 1.0 - percent / 100.0
        if self.waiting <= later:
            return 0.0
        return self.mean_of_waiting * log(self.waiting / later)


def waits(load: Load, sessions: int) -> Waits:
    """Tell how long borrowers wait for one of so many sessions.

    Raises:
        ConfigurationError: ``sessions`` is not from 1 to twice `MOST_BUSY`.
    """
    if not 1 <= sessions <= 2 * MOST_BUSY:
        problem = f"{sessions} must be from 1 to {2 * MOST_BUSY:,}"
        raise ConfigurationError("no waits can be told for a number of sessions", [problem])
    if load.busy >= sessions:
        return _waits(load, sessions, 1.0)
    return next(_waits(load, n, lost) for n, lost in _erlang_b(load.busy) if n == sessions)


def sessions_needed(load: Load, wait: float, percent: float = 99.0) -> int:
    """Return the fewest sessions with which this part of the borrowers waits no longer.

    Args:
        load: What borrowers ask of them.
        wait: Seconds; 0 for sessions so many that this part need not wait at all.
        percent: The part, from 0 to below 100.

    Raises:
        ConfigurationError: ``wait`` is negative or no number, ``percent`` is no such part.
    """
    if not (wait >= 0 and 0 <= percent < 100):
        problem = f"{percent} % of borrowers cannot wait for {wait} s at most"
        raise ConfigurationError(_CANNOT, [problem])
    return next(
        sessions
        for sessions, lost in _erlang_b(load.busy)
        if sessions > load.busy and _waits(load, sessions, lost).percentile(percent) <= wait
    )


def measured_arrivals(stats: Mapping[str, object], seconds: float) -> float:
    """Return how many borrowers came each second; arguments and errors as of `Load.from_stats`."""
    if not 0 < seconds <= 1e12:
        raise ConfigurationError(_CANNOT, ["the statistics must cover over 0 and up to 1e12 s"])
    return _counted(stats, "borrows_num") / seconds


def measured_durations(stats: Mapping[str, object]) -> tuple[float, float]:
    """Return the mean of the seconds that sessions were lent, and their spread.

    With n durations of the sum s and the sum of squares q, the mean is s / n and the
    spread the root of (q / n) / (s / n)^2 - 1.

    Args:
        stats: As for `Load.from_stats`.

    Raises:
        ConfigurationError: Nothing was returned yet, or the numbers cannot be.
    """
    returned = _counted(stats, "returns_num")
    mean_ms = _counted(stats, "usage_ms") / max(returned, 1.0)
    if not (returned >= 1 and mean_ms > 0):
        raise ConfigurationError(_CANNOT, ["the statistics count no session that was lent yet"])
    square = _counted(stats, "usage_ms_squared") / returned / mean_ms / mean_ms
    # A hair below 1 by rounding, where all durations are equal.
    return mean_ms / 1000.0, sqrt(max(0.0, square - 1.0))


def _erlang_b(busy: float) -> Iterator[tuple[int, float]]:
    """Yield 1, 2, 3... sessions, each with the share that finds none where nobody waits.

    By B(n) = busy B(n - 1) / (n + busy B(n - 1)), which needs no factorials and loses
    no digits (V. B. Iversen, "Teletraffic Engineering and Network Planning", 2015, on
    the recursion for Erlang's B formula).
    """
    lost = 1.0
    for sessions in count(1):
        lost = busy * lost / (sessions + busy * lost)
        yield sessions, lost


def _waits(load: Load, sessions: int, lost: float) -> Waits:
    """Turn Erlang's B (``lost``) into C, and C into waits.

    C = B / (1 - u (1 - B)) with the utilisation u; who waits does so for
    duration / (sessions (1 - u)) * (1 + spread^2) / 2 seconds on average.
    """
    utilisation = load.busy / sessions
    if utilisation >= 1.0:
        return Waits(sessions, utilisation, 1.0, inf)
    waiting = lost / (1.0 - utilisation * (1.0 - lost))
    mean = load.duration / (sessions - load.busy) * (1.0 + load.spread * load.spread) / 2.0
    return Waits(sessions, utilisation, waiting, mean)


def _counted(stats: Mapping[str, object], name: str) -> float:
    """Look up a counter in numbers that may come from anywhere."""
    value = stats.get(name)
    if isinstance(value, int | float) and 0 <= value < 1e300:
        return float(value)
    said = "no" if value is None else "no usable"
    raise ConfigurationError(_CANNOT, [f"the statistics have {said} {name}"])
