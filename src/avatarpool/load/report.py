"""The report on a load run, made from figures alone. Pure, and without a clock."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from avatarpool.load.results import LoadPlan, RequestResult, RoundResult, seconds_text
from avatarpool.stats import ConnectionStats, PoolStats, percentiles

_RULE = "=" * 60
_SHORT_ID = 6
_LABEL = re.compile(r"[^-_:]*[-_:]")


@dataclass(frozen=True, slots=True)
class LoadReport:
    """A whole run, finished or interrupted.

    Attributes:
        plan: What was asked for.
        rounds: What was done; an interrupted round holds the requests that finished.
        total_seconds: From the first round's start to the end.
        pool: The pool's statistics at the end, as `get_stats()` gives them.
        was_interrupted: Whether the run was stopped before its last round ended.
        first_frames_ms: From each request's first audio to its first frame.
    """

    plan: LoadPlan
    rounds: tuple[RoundResult, ...]
    total_seconds: float
    pool: PoolStats
    was_interrupted: bool = False
    first_frames_ms: tuple[float, ...] = ()

    @property
    def requests(self) -> tuple[RequestResult, ...]:
        """Every finished request of every round."""
        return _all_requests(self.rounds)

    @property
    def has_failures(self) -> bool:
        """Whether any request failed."""
        return any(result.failed for result in self.rounds)

    @property
    def requests_per_second(self) -> float:
        """Requests that succeeded in a second of the rounds' time; rests do not count."""
        seconds = sum(result.duration_ms for result in self.rounds) / 1000
        return sum(result.ok for result in self.rounds) / seconds if seconds else 0.0

    def to_text(self) -> str:
        """The closing banner and the summary, as they are printed."""
        banner = completion_text(self.total_seconds, was_interrupted=self.was_interrupted)
        return f"{banner}\n{summary_text(self.rounds, self.pool)}"

    def latency_text(self) -> str:
        """What the summary does not say: percentiles, and how many requests a second."""
        return "\n".join(
            (
                "",
                "Latency and Throughput:",
                f"  Duration: {_percentiles_text(self._durations_ms)}",
                f"  First frame: {_percentiles_text(self.first_frames_ms)}",
                f"  Requests per second: {self.requests_per_second:.1f}",
            )
        )

    @property
    def _durations_ms(self) -> list[float]:
        return [request.duration_ms for request in self.requests if request.is_ok]

    def to_dict(self) -> dict[str, object]:
        """Everything that the report knows, in values that JSON takes.

        Durations are milliseconds where the name says so, seconds otherwise.
        """
        requests = self.requests
        durations = self._durations_ms
        return {
            "plan": asdict(self.plan),
            "was_interrupted": self.was_interrupted,
            "total_seconds": self.total_seconds,
            "total_requests": len(requests),
            "ok": sum(request.is_ok for request in requests),
            "failed": sum(not request.is_ok for request in requests),
            "duration_ms": {**_spread(durations), **_percentiles(durations)},
            "first_frame_ms": _percentiles(self.first_frames_ms),
            "requests_per_second": self.requests_per_second,
            "failures": dict(Counter(r.error_kind for r in requests if r.error_kind)),
            "connections": _uses(requests),
            "rounds": [
                {**asdict(result), "ok": result.ok, "failed": result.failed}
                for result in self.rounds
            ],
            "pool": dict(self.pool),
        }


def opening_text(pool: PoolStats, pool_size: int, reason: object = None) -> str:
    """One line per connection and one for the pool, once it was initialized.

    Args:
        pool: The pool's statistics then.
        pool_size: How many connections were asked for.
        reason: Why the missing ones did not open.
    """
    names = short_ids(c["connection_id"] for c in pool["connections"])
    lines = [
        f"  Connection {index}: OK (connection_id={names[connection['connection_id']]})"
        for index, connection in enumerate(pool["connections"])
    ]
    lines += [
        f"  Connection {index}: FAILED ({reason or 'not open yet'})"
        for index in range(len(lines), pool_size)
    ]
    lines.append(f"Pool initialized with {len(pool['connections'])}/{pool_size} connections")
    return "\n".join(lines)


def plan_text(plan: LoadPlan) -> str:
    """The opening banner."""
    return "\n".join(
        (
            "",
            _RULE,
            "STARTING MULTI-ROUND TEST",
            _RULE,
            f"Rounds: {plan.num_rounds}",
            f"Requests per round: {plan.requests_per_round}",
            f"Interval between rounds: {seconds_text(plan.interval_seconds)}",
            f"Expected total duration: ~{plan.expected_minutes:.1f} minutes",
            f"Pool size: {plan.pool_size} connections",
            _RULE,
        )
    )


def completion_text(total_seconds: float, *, was_interrupted: bool = False) -> str:
    """The closing banner."""
    return "\n".join(
        (
            "",
            _RULE,
            f"MULTI-ROUND TEST {'INTERRUPTED' if was_interrupted else 'COMPLETE'}",
            f"Total duration: {total_seconds:.1f}s ({total_seconds / 60:.1f} minutes)",
            _RULE,
        )
    )


def summary_text(rounds: Sequence[RoundResult], pool: PoolStats) -> str:
    """The summary of all rounds and of the pool that served them."""
    requests = _all_requests(rounds)
    used = (request.connection_id for request in requests if request.connection_id)
    names = short_ids([*(c["connection_id"] for c in pool["connections"]), *used])
    lines = ["", _RULE, "MULTI-ROUND SUMMARY", _RULE, ""]
    lines += _overall(rounds, requests)
    lines += ["", "Request Performance:", *_performance(requests)]
    lines += ["", "Per-Round Breakdown:", *_breakdown(rounds)]
    lines += _failures(requests)
    lines += ["", "Connection Usage Distribution:", *_distribution(requests, names)]
    lines += ["", "Final Pool Statistics:", *_final(pool, names)]
    return "\n".join(lines)


def short_ids(connection_ids: Iterable[str]) -> dict[str, str]:
    """Shorten ids to their first characters: six, or as many as tell them apart.

    A label that all of them begin with, such as ``local-``, does not count.
    """
    distinct = list(dict.fromkeys(connection_ids))
    labels = {match[0] if (match := _LABEL.match(name)) else "" for name in distinct}
    length = _SHORT_ID + (len(labels.pop()) if len(labels) == 1 else 0)
    while len({name[:length] for name in distinct}) < len(distinct):
        length += 1
    return {name: f"{name[:length]}..." for name in distinct}


def _all_requests(rounds: Iterable[RoundResult]) -> tuple[RequestResult, ...]:
    return tuple(request for result in rounds for request in result.requests)


def _overall(rounds: Sequence[RoundResult], requests: Sequence[RequestResult]) -> list[str]:
    ok = sum(request.is_ok for request in requests)
    failed = len(requests) - ok
    return [
        "Overall Statistics:",
        f"  Total rounds: {len(rounds)}",
        f"  Total requests: {len(requests)}",
        f"  Successful: {ok} ({_percent(ok, len(requests)):.1f}%)",
        f"  Failed: {failed} ({_percent(failed, len(requests)):.1f}%)",
    ]


def _performance(requests: Sequence[RequestResult]) -> list[str]:
    succeeded = [request for request in requests if request.is_ok]
    if not succeeded:
        return ["  No request succeeded"]
    durations = _spread([request.duration_ms for request in succeeded])
    frames = sum(request.frames for request in succeeded) / len(succeeded)
    return [
        f"  Avg duration: {durations['avg']:.2f}ms",
        f"  Min duration: {durations['min']:.2f}ms",
        f"  Max duration: {durations['max']:.2f}ms",
        f"  Avg frames: {frames:.1f}",
    ]


def _breakdown(rounds: Iterable[RoundResult]) -> list[str]:
    columns = ("Round", 6), ("Time(s)", 10), ("Duration(ms)", 14), ("OK", 6), ("FAIL", 6)
    return [
        "  " + " ".join(f"{name:<{width}}" for name, width in columns),
        "  " + " ".join("-" * width for _, width in columns),
        *(
            f"  {r.number:<6} {r.elapsed:<10.1f} {r.duration_ms:<14.1f} {r.ok:<6} {r.failed:<6}"
            for r in rounds
        ),
    ]


def _failures(requests: Iterable[RequestResult]) -> list[str]:
    """Each kind of failure with its count and its first sentence; nothing if all went well."""
    failed = [request for request in requests if not request.is_ok]
    if not failed:
        return []
    first = {request.error_kind: request.error for request in reversed(failed)}
    counts = Counter(request.error_kind for request in failed).most_common()
    return ["", "Failures:", *(f"  {count} x {kind}: {first[kind]}" for kind, count in counts)]


def _distribution(requests: Sequence[RequestResult], names: Mapping[str, str]) -> list[str]:
    uses = _uses(requests)
    ordered = sorted(uses, key=lambda name: (-uses[name], list(names).index(name)))
    return [
        f"  {names[name]}: {uses[name]} requests ({_percent(uses[name], len(requests)):.1f}%)"
        for name in ordered
    ]


def _final(pool: PoolStats, names: Mapping[str, str]) -> list[str]:
    def line(connection: ConnectionStats) -> str:
        name, count = names[connection["connection_id"]], connection["request_count"]
        age = connection["age_seconds"]
        return f"  Connection {name}: {count} requests, age: {age:.1f}s ({age / 60:.1f} min)"

    return [
        f"  Total requests served: {pool['total_requests_served']}",
        f"  Connections in pool: {pool['total_connections']}",
        *map(line, pool["connections"]),
    ]


def _uses(requests: Iterable[RequestResult]) -> dict[str, int]:
    return dict(Counter(r.connection_id for r in requests if r.connection_id))


def _spread(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    return {"avg": sum(values) / len(values), "min": min(values), "max": max(values)}


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    return dict(zip(("p50", "p95", "p99"), percentiles(sorted(values)), strict=True))


def _percentiles_text(values: Sequence[float]) -> str:
    found = _percentiles(values)
    return ", ".join(f"{name} {ms:.2f}ms" for name, ms in found.items()) or "none"


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0
