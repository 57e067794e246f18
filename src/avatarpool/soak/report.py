"""The report on a soak. Pure, and without a clock."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from avatarpool.soak.plan import BORROW_TIMEOUT, SoakPlan
from avatarpool.soak.tally import Tally, Violation, mebibytes, memory_growth
from avatarpool.stats import PoolStats

_RULE = "=" * 60
_LABEL_WIDTH = 26


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
            ("Memory growth", "too short to tell" if growth is None else mebibytes(growth)),
        ]


def progress_text(tally: Tally, elapsed: float, plan: SoakPlan) -> str:
    """One line on how far a soak is."""
    return (
        f"{elapsed:.0f} of {plan.seconds:.0f} s: {tally.requests} requests, "
        f"{tally.failures.total()} failed, {tally.violations} violations; "
        f"fault: {tally.fault or 'none'}"
    )
