"""What a soak has seen, what of it is wrong, and the report on it.

Nothing here does I/O or knows a clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import Enum
from statistics import median

from avatarpool.stats import PoolStats

BORROW_TIMEOUT = 5.0
"""Seconds that a borrower waits; with the load's few milliseconds a request, plenty."""

REQUEST_TIMEOUT = 5.0
"""Seconds for a request's last frame, likewise."""

SEND_TIMEOUT = 2.0
"""Seconds that a peer may leave audio unread."""

SLACK = 2.0
"""Seconds by which a busy machine may be late."""

HEAL_TIMEOUT = 20.0
"""Seconds from a fault's end to the pool's full size. What was sent under the fault
takes `REQUEST_TIMEOUT` to fail; and after a fault of 3 s the pool's pauses between
attempts, which double from 0.5 s, are 4 s at most, each attempt 3 s."""

LEFTOVER_TIMEOUT = 5.0
"""Seconds for the service of an idle pool to finish, and for the last tasks and sockets
after closing."""

MEMORY_BOUND = 16 * 1024 * 1024
"""Bytes that the process may have grown between the first and the last third."""

_MEMORY_SAMPLES = 12  # fewer say nothing
_RULE = "=" * 60
_LABEL_WIDTH = 26


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
    LOGGED = "logged error"
    TASKS = "leaked tasks"
    SOCKETS = "leaked sockets"
    MEMORY = "memory growth"


@dataclass(frozen=True, slots=True)
class SoakPlan:
    """What a soak is asked to do.

    Attributes:
        seconds: How long.
        connections: Size of the pool.
        borrowers: Tasks that make requests at the same time.
        faults: Which faults, by name.
        seed: Decides the order of faults and requests, as far as timing lets it.
        heal_timeout: Seconds that the pool has to be whole after a fault.
    """

    seconds: float
    connections: int = 5
    borrowers: int = 20
    faults: str = "mixed"
    seed: int = 0
    heal_timeout: float = HEAL_TIMEOUT


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

    Attributes:
        ways: What borrowers set out to do, by name.
        borrows: Connections asked for.
        requests: Requests made on those that were had.
        failures: Borrows and requests that failed, by cause; giving up on purpose is none.
        answered: Requests whose answer was whole and theirs.
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

    def __init__(self) -> None:
        self.ways: Counter[str] = Counter()
        self.borrows = 0
        self.requests = 0
        self.failures: Counter[str] = Counter()
        self.answered = 0
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
                Violation.MEMORY, f"memory grew by {_mb(growth)}, {_mb(MEMORY_BOUND)} are allowed"
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


@dataclass(frozen=True, slots=True)
class SoakReport:
    """A whole soak, finished or interrupted.

    Attributes:
        plan: What was asked for.
        seconds: How long it ran.
        tally: What was seen.
        pool: The pool's statistics before it closed.
        leaked_tasks: Tasks that closing left behind.
        leaked_sockets: Sockets likewise; None: this system cannot count them.
        was_interrupted: Whether it was stopped before its time.
    """

    plan: SoakPlan
    seconds: float
    tally: Tally
    pool: PoolStats
    leaked_tasks: int
    leaked_sockets: int | None
    was_interrupted: bool = False

    @property
    def has_violations(self) -> bool:
        """Whether anything happened that never must."""
        return bool(self.tally.violations)

    def to_text(self) -> str:
        """The report as it is printed."""
        outcome = "FAILED" if self.has_violations else "PASSED"
        if self.was_interrupted:
            outcome += " (INTERRUPTED)"
        lines = ["", _RULE, f"SOAK {outcome}", _RULE]
        lines += [f"{label + ':':<{_LABEL_WIDTH}}{value}" for label, value in self._rows()]
        for title, counts in (
            ("Failures by cause", self.tally.failures),
            ("Borrowers, by what they set out to do", self.tally.ways),
            ("Faults", self.tally.faults),
        ):
            lines += ["", f"{title}:", *(f"  {n:>7} {name}" for name, n in counts.most_common())]
            if not counts:
                lines.append("  none")
        lines += ["", "Violations:"]
        lines += [
            f"  {f.count} x {f.kind.value}: {f.first}{f' ({f.fault})' if f.fault else ''}"
            for f in self.tally.findings
        ]
        if not self.has_violations:
            lines.append("  none")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, object]:
        """Everything that the report knows, in values that JSON takes; times in seconds."""
        tally = self.tally
        return {
            "plan": asdict(self.plan),
            "was_interrupted": self.was_interrupted,
            "seconds": self.seconds,
            "borrows": tally.borrows,
            "requests": tally.requests,
            "answered": tally.answered,
            "frames": tally.frames,
            "failures": dict(tally.failures),
            "borrowers": dict(tally.ways),
            "faults": dict(tally.faults),
            "operations": dict(tally.operations),
            "longest_wait": tally.longest_wait,
            "longest_heal": tally.longest_heal,
            "leaked_tasks": self.leaked_tasks,
            "leaked_sockets": self.leaked_sockets,
            "memory_growth_bytes": memory_growth(tally.memory),
            "violations": [asdict(finding) for finding in tally.findings],
            "pool": dict(self.pool),
        }

    def _rows(self) -> list[tuple[str, str]]:
        tally, pool = self.tally, self.pool
        growth = memory_growth(tally.memory)
        mixed = [f.count for f in tally.findings if f.kind is Violation.MIXED]
        operations = [f"{count} x {name}" for name, count in sorted(tally.operations.items())]
        sockets = "not countable here" if self.leaked_sockets is None else str(self.leaked_sockets)
        return [
            ("Duration", f"{self.seconds:.1f} s of {self.plan.seconds:.1f} s"),
            ("Seed", str(self.plan.seed)),
            ("Borrows", str(tally.borrows)),
            ("Requests", f"{tally.requests} ({tally.answered} answers, {tally.frames} frames)"),
            ("Failed", str(tally.failures.total())),
            ("Mixed frames", str(sum(mixed))),
            ("Longest wait", f"{tally.longest_wait:.3f} s (timeout {BORROW_TIMEOUT:.1f} s)"),
            ("Longest healing", f"{tally.longest_heal:.2f} s"),
            ("Connections lost", str(pool["connections_lost"])),
            ("Connections retired", str(pool["connections_retired"])),
            ("Failed openings", str(pool["connections_errors"])),
            ("Pool operations", ", ".join(operations) or "none"),
            ("Leaked tasks", str(self.leaked_tasks)),
            ("Leaked sockets", sockets),
            ("Memory growth", "too short to tell" if growth is None else _mb(growth)),
        ]


def progress_text(tally: Tally, elapsed: float, plan: SoakPlan) -> str:
    """One line on how far a soak is."""
    return (
        f"{elapsed:.0f} of {plan.seconds:.0f} s: {tally.requests} requests, "
        f"{tally.failures.total()} failed, {tally.violations} violations; "
        f"fault: {tally.fault or 'none'}"
    )


def _mb(size: float) -> str:
    return f"{size / 1024 / 1024:.1f} MiB"
