"""What happened in the last minutes, in memory of a fixed size. Pure: the time is handed in.

Time goes by in slices of `SLICE_SECONDS`; the oldest one goes as a new one begins. Durations
are counted in bins whose limits grow by one factor, so that any percentile is off by
`ACCURACY` of itself at most (C. Masson, J. E. Rim, H. K. Lee, "DDSketch: a fast and
fully-mergeable quantile sketch with relative-error guarantees", PVLDB 12(12), 2019).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from math import ceil, floor, log
from typing import TypedDict

SLICE_SECONDS = 5.0
SLICES = 60
"""Slices that are remembered: five minutes, the one under way included."""

ACCURACY = 0.025

_GROWTH = (1.0 + ACCURACY) / (1.0 - ACCURACY)
_SHORTEST = 1e-4  # seconds; what is shorter counts as nothing
_LONGEST = 1e5  # seconds; what is longer counts as this


class Percentiles(TypedDict):
    """Milliseconds over the last five minutes, within 2.5 %; zeros while there are none."""

    p50: float
    p95: float
    p99: float
    max: float
    count: int


class Durations:
    """How long things took: counted, so that percentiles can be told.

    Attributes:
        count: How many there are.
        sum: Their seconds together.
        squares: The sum of their squares.
        max: The longest one, in seconds.
    """

    __slots__ = ("_bins", "count", "max", "squares", "sum")

    def __init__(self, parts: Iterable[Durations] = ()) -> None:
        self._bins: Counter[int] = Counter()
        self.count = 0
        self.sum = 0.0
        self.squares = 0.0
        self.max = 0.0
        for part in parts:
            self._bins.update(part._bins)  # noqa: SLF001  # our own
            self.count += part.count
            self.sum += part.sum
            self.squares += part.squares
            self.max = max(self.max, part.max)

    def add(self, seconds: float) -> None:
        """Count one more."""
        seconds = min(seconds, _LONGEST)
        n = ceil(log(seconds / _SHORTEST) / log(_GROWTH)) if seconds > _SHORTEST else 0
        self._bins[n] += 1
        self.count += 1
        self.sum += seconds
        self.squares += seconds * seconds
        self.max = max(self.max, seconds)

    def percentiles(self, *percents: float) -> list[float]:
        """Return the seconds within which these parts of them were, by the nearest rank.

        Args:
            percents: Ascending, each above 0 and up to 100; all are 0 where there is nothing.
        """
        found = []
        passed, bins = 0, iter(sorted(self._bins.items()))
        seconds = 0.0
        for percent in percents:
            while passed < min(self.count, ceil(percent * self.count / 100.0)):
                n, count = next(bins)
                passed += count
                # The middle of the bin, as seen from both of its limits.
                seconds = 2.0 * _SHORTEST * _GROWTH**n / (_GROWTH + 1.0) if n else 0.0
            found.append(min(seconds, self.max))
        return found

    def summary(self) -> Percentiles:
        """Return the percentiles that are shown."""
        p50, p95, p99 = (1000.0 * seconds for seconds in self.percentiles(50, 95, 99))
        return Percentiles(p50=p50, p95=p95, p99=p99, max=1000.0 * self.max, count=self.count)


class Slice:
    """What happened in a few seconds, or in several slices together.

    Attributes:
        arrivals: Requests that came.
        failures: What failed, of all kinds.
        wait: How long requests waited for a session, in vain too.
        first_frame: From their first audio to their first frame.
        duration: From their first audio to their end.
        usage: How long sessions were lent.
    """

    __slots__ = ("arrivals", "duration", "failures", "first_frame", "usage", "wait")

    def __init__(self, parts: Iterable[Slice] = ()) -> None:
        parts = list(parts)
        self.arrivals: int = sum(part.arrivals for part in parts)
        self.failures: int = sum(part.failures for part in parts)
        self.wait: Durations = Durations(part.wait for part in parts)
        self.first_frame: Durations = Durations(part.first_frame for part in parts)
        self.duration: Durations = Durations(part.duration for part in parts)
        self.usage: Durations = Durations(part.usage for part in parts)


class Recent:
    """The slices of the last five minutes.

    Args:
        now: When it begins, in seconds on the clock of all times that follow.
    """

    def __init__(self, now: float) -> None:
        self._began = now
        self._latest = self._number(now)
        self._slices: deque[tuple[int, Slice]] = deque([(self._latest, Slice())], maxlen=SLICES)

    def at(self, now: float) -> Slice:
        """Return the slice under way."""
        if self._number(now) > self._latest:
            self._latest = self._number(now)
            self._slices.append((self._latest, Slice()))
        return self._slices[-1][1]

    def each(self, now: float) -> list[Slice]:
        """Return as many slices as are remembered, the oldest first; some may be empty."""
        self.at(now)
        known = dict(self._slices)
        first = self._latest - SLICES + 1
        return [known.get(n) or Slice() for n in range(first, self._latest + 1)]

    def seconds(self, now: float) -> float:
        """Return how much of the last five minutes they tell of."""
        oldest = (self._latest - SLICES + 1) * SLICE_SECONDS
        return max(0.0, now - max(self._began, oldest))

    def _number(self, now: float) -> int:
        return floor(now / SLICE_SECONDS)
