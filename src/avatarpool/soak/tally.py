"""What a soak has seen, and what of it is wrong. Pure, and without a clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from statistics import median

from avatarpool.soak.plan import BORROW_TIMEOUT, REQUEST_TIMEOUT, SEND_TIMEOUT
from avatarpool.stats import PoolStats

SLACK = 2.0
"""Seconds by which a busy machine may be late."""

MEMORY_BOUND = 16 * 1024 * 1024
"""Bytes that the process may have grown between the first and the last third."""

_MEMORY_SAMPLES = 12  # fewer say nothing


class Violation(str, Enum):
    """What must never happen, whatever the faults."""

    MIXED = "mixed frames"
    WRONG_FRAMES = "wrong frames"
    UNEXPECTED = "unexpected error"
    CALM_FAILURE = "failure without a fault"
    LONG_WAIT = "waited too long"
    NOT_HEALED = "not healed"
    UNFINISHED = "unfinished requests"
    COUNTERS = "counters"
    OUT_OF_PLACE = "error out of place"
    BUDGET = "over the budget"
    LOGGED = "logged error"
    TASKS = "leaked tasks"
    SOCKETS = "leaked sockets"
    MEMORY = "memory growth"


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of violation: how often, and the first one in a sentence.

    Attributes:
        kind: Which.
        count: How often.
        first: The first one.
        fault: The fault then; empty if there was none.
    """

    kind: Violation
    count: int
    first: str
    fault: str = ""


class Tally:
    """Counts what happens during a soak; bounded, however long that is.

    Args:
        causes: What a failure may be called; None: anything.

    Attributes:
        ways: What borrowers set out to do, by name.
        borrows: Connections asked for.
        requests: Requests made on those that were had.
        failures: Borrows and requests that failed, by cause; giving up on purpose is none.
        answered: Requests whose answer was whole and theirs.
        answered_frames: Keyframes that those asked for.
        interrupts: Requests interrupted, or nearly so.
        frames: Frames that were looked at.
        faults: Faults made, by name.
        fault: The present one; empty without any.
        operations: Calls of the pool's own operations, by name.
        longest_wait: Seconds until a connection was lent or refused.
        longest_heal: Seconds from a fault's end to the pool's full size.
        memory: The process's resident bytes, once a second.
        calm: A number while nothing may fail, another one in each such time.
    """

    def __init__(self, causes: Collection[str] | None = None) -> None:
        self._causes = causes
        self.ways: Counter[str] = Counter()
        self.borrows = 0
        self.requests = 0
        self.failures: Counter[str] = Counter()
        self.answered = 0
        self.answered_frames = 0
        self.interrupts = 0
        self.frames = 0
        self.faults: Counter[str] = Counter()
        self.fault = ""
        self.operations: Counter[str] = Counter()
        self.longest_wait = 0.0
        self.longest_heal = 0.0
        self.memory: list[int] = []
        self.calm: int | None = None
        self._times = 0  # of calm
        self._findings: dict[Violation, Finding] = {}

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The violations, in the order of their first ones."""
        return tuple(self._findings.values())

    @property
    def violations(self) -> int:
        """How many violations there were."""
        return sum(finding.count for finding in self.findings)

    def found(self, kind: Violation, sentence: str) -> None:
        """Record a violation."""
        before = self._findings.get(kind) or Finding(kind, 0, sentence, self.fault)
        self._findings[kind] = replace(before, count=before.count + 1)

    def calm_begins(self) -> None:
        """From now on no request may fail."""
        self._times += 1
        self.calm = self._times

    def fault_begins(self, name: str) -> None:
        """From now on requests may fail, until the next calm."""
        self.calm = None
        self.fault = name
        self.faults[name] += 1

    def healed(self, seconds: float) -> None:
        """The pool is whole again, so many seconds after the fault's end."""
        self.fault = ""
        self.longest_heal = max(self.longest_heal, seconds)

    def failed(self, cause: str, sentence: str, *, calm: int | None) -> None:
        """Count a failure; it is a violation if it was calm from the request's start on."""
        self.failures[cause] += 1
        if self._causes is not None and cause not in self._causes:
            self.found(Violation.OUT_OF_PLACE, f"{cause}: {sentence}")
        if calm is not None and calm == self.calm:
            self.found(Violation.CALM_FAILURE, f"{cause}: {sentence}")

    def waited(self, seconds: float, timeout: float) -> None:
        """Note how long a borrower waited for a connection or a refusal."""
        self.longest_wait = max(self.longest_wait, seconds)
        if seconds > timeout + SLACK:
            self.found(
                Violation.LONG_WAIT,
                f"a borrower waited {seconds:.2f} s with a timeout of {timeout:.2f} s",
            )

    def answer_took(self, seconds: float) -> None:
        """Note how long a request took from its first audio to its end, good or bad."""
        # Sending may include another wait, if the connection died before the first byte.
        limit = BORROW_TIMEOUT + SEND_TIMEOUT + REQUEST_TIMEOUT + SLACK
        if seconds > limit:
            self.found(
                Violation.LONG_WAIT, f"a request took {seconds:.2f} s, {limit:.2f} s at most"
            )

    def check_counters(self, stats: PoolStats) -> None:
        """Compare the pool's counters with each other while it opens nothing."""
        opened = stats["connections_num"] - stats["connections_errors"]
        gone = stats["connections_lost"] + stats["connections_retired"]
        if opened != stats["total_connections"] + gone:
            self.found(
                Violation.COUNTERS,
                f"{opened} connections were opened, {stats['total_connections']} are open and "
                f"{gone} gone",
            )
        began, served = stats["requests_num"], stats["total_requests_served"]
        failed, open_now = stats["requests_errors"], stats["connections_lent"]
        others = began - served - failed
        if served < self.answered or not 0 <= others <= self.interrupts + open_now:
            self.found(
                Violation.COUNTERS,
                f"{began} requests began, {served} count as served, {failed} as failed; "
                f"{self.answered} were answered, {self.interrupts} interrupted, {open_now} at "
                "most are under way",
            )
        parts = "available_connections", "connections_lent", "connections_draining"
        if sum(stats[part] for part in parts) != stats["total_connections"]:  # type: ignore[literal-required]
            self.found(
                Violation.COUNTERS,
                "idle, lent and draining connections are not all: "
                + ", ".join(f"{part} {stats[part]}" for part in (*parts, "total_connections")),  # type: ignore[literal-required]
            )

    def check_memory(self) -> None:
        """Compare the last third with the first."""
        growth = memory_growth(self.memory)
        if growth is not None and growth > MEMORY_BOUND:
            self.found(
                Violation.MEMORY,
                f"memory grew by {mebibytes(growth)}, {mebibytes(MEMORY_BOUND)} are allowed",
            )


def memory_growth(samples: Sequence[int]) -> int | None:
    """Return by how much the last third exceeds the first, both by their medians.

    The first quarter is left out: until everything was used once, memory grows.
    None: too few samples to say.
    """
    warm = samples[len(samples) // 4 :]
    if len(warm) < _MEMORY_SAMPLES:
        return None
    third = len(warm) // 3
    return int(median(warm[-third:]) - median(warm[:third]))


def mebibytes(size: float) -> str:
    """Show a number of bytes."""
    return f"{size / 1024 / 1024:.1f} MiB"
