"""``avatarpool plan``: how many sessions a load needs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import cast

from avatarpool.cli.streams import note
from avatarpool.exceptions import ConfigurationError
from avatarpool.fleet.sizing import (
    Load,
    Waits,
    measured_arrivals,
    measured_durations,
    sessions_needed,
    waits,
)

_MOST_BYTES = 64 * 1024 * 1024  # the report on a run of a hundred thousand requests has half of it
_BAR = 38  # columns


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What the command was asked for; None where it was not said.

    Attributes:
        arrivals: Borrowers a second.
        duration: Mean seconds for which one has a session.
        spread: Standard deviation of these over their mean.
        wait_p99: Seconds that 99 % of the borrowers may wait at most.
        budget: Sessions that the account allows.
        source: Statistics in JSON that tell what was not said; ``-`` is standard input.
        seconds: The time that these cover.
        is_json: Whether to print JSON.
    """

    arrivals: float | None
    duration: float | None
    spread: float | None
    wait_p99: float
    budget: int | None
    source: Path | None
    seconds: float | None
    is_json: bool


def plan(options: PlanOptions) -> int:
    """Print the plan and return the command's exit code.

    Raises:
        ConfigurationError: The options or the file do not say what the load is.
        OSError: The file cannot be read.
    """
    load = _load(options)
    sessions = sessions_needed(load, options.wait_p99)
    shown = {n for n in range(sessions - 1, sessions + 2) if n > 0}
    if options.budget is not None:
        shown.add(options.budget)
    rows = [waits(load, n) for n in sorted(shown)]
    if options.is_json:
        text = json.dumps(_to_dict(load, options, sessions, rows), indent=2)
    else:
        around = range(max(1, sessions - 3), sessions + 4)
        bars = [waits(load, n) for n in sorted({*around, *shown})]
        text = to_text(load, options.wait_p99, sessions, rows, bars)
    print(text, flush=True)  # noqa: T201
    return _judge(load, options, sessions)


def _judge(load: Load, options: PlanOptions, sessions: int) -> int:
    """Say in one sentence what the account's number lacks, if it lacks anything."""
    budget = options.budget
    if budget is None or budget >= sessions:
        return 0
    if budget <= load.busy:
        why = f"{load.busy:.2f} are busy on average, so that the queue grows without end"
    else:
        p99 = waits(load, budget).percentile(99)
        why = f"1 % of borrowers wait longer than {_time(p99)}"
    note(
        f"avatarpool: a budget of {budget} is not enough: {why}; "
        f"{sessions} {'keeps' if sessions == 1 else 'keep'} that to {_time(options.wait_p99)}"
    )
    return 1


# --- what the load is ------------------------------------------------------------------


def _load(options: PlanOptions) -> Load:
    """Take what was said, and what was not from the statistics."""
    arrivals, mean, spread = options.arrivals, options.duration, options.spread
    if options.source is not None:
        stats, covered = _statistics(options.source)
        if mean is None or spread is None:
            measured_mean, measured_spread = measured_durations(stats)
            mean = measured_mean if mean is None else mean
            spread = measured_spread if spread is None else spread
        if arrivals is None:
            arrivals = _arrivals(stats, options.seconds, covered)
    if mean is None:
        raise _unsaid("--duration, or --from with a pool's statistics")
    if arrivals is None:
        raise _unsaid("--arrivals, or --from with a pool's statistics")
    return Load(arrivals, mean, 1.0 if spread is None else spread)


def _arrivals(stats: Mapping[str, object], seconds: float | None, covered: float | None) -> float:
    if seconds is None and covered is None:
        raise _unsaid("--arrivals, or with --over the seconds that the statistics cover")
    if covered is not None:
        note("The run's requests came in rounds; the plan takes as many that come one by one.")
    return measured_arrivals(stats, cast("float", covered if seconds is None else seconds))


def _unsaid(what: str) -> ConfigurationError:
    return ConfigurationError("no sessions can be planned", [f"say {what}"])


def _statistics(source: Path) -> tuple[Mapping[str, object], float | None]:
    """Read a pool's statistics, or those within a run's report or a group's; and their seconds."""
    name = "standard input" if str(source) == "-" else str(source)
    if str(source) == "-":
        data = sys.stdin.buffer.read(_MOST_BYTES + 1)
    else:
        with source.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise _unreadable(f"{name} has more than {_MOST_BYTES // 1024**2} MiB")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _unreadable(f"{name} is no JSON") from error
    if isinstance(found, dict):
        for part in ("pool", "total"):
            if isinstance(found.get(part), dict):
                covered = found.get("total_seconds")
                return found[part], covered if isinstance(covered, int | float) else None
        return cast("dict[str, object]", found), None
    raise _unreadable(f"{name} has no pool's statistics, which are an object")


def _unreadable(why: str) -> ConfigurationError:
    return ConfigurationError("no statistics can be read", [why])


# --- how it is shown -------------------------------------------------------------------


def to_text(
    load: Load, wait_p99: float, sessions: int, rows: Iterable[Waits], bars: Iterable[Waits]
) -> str:
    """The plan as it is printed: plain text of at most 60 columns.

    Args:
        load: What was planned for.
        wait_p99: Seconds that were allowed.
        sessions: How many are needed.
        rows: The numbers that the table shows.
        bars: The numbers that the plot shows.
    """
    head = ("sessions", "busy", "queued", "mean", "p50", "p95", "p99")
    return "\n".join(
        (
            f"{load.arrivals:.4g} a second, {load.duration:.4g} s each (spread {load.spread:.2f}):",
            f"{load.busy:.2f} sessions busy on average",
            f"{sessions} sessions needed for a p99 wait of at most {_time(wait_p99)}",
            "",
            " {:>8} {:>5} {:>6} {:>8} {:>8} {:>8} {:>8}".format(*head),
            *(_row(row, row.sessions == sessions) for row in rows),
            "",
            f"p99 wait by sessions{f'; | is {_time(wait_p99)}' if wait_p99 else ''}",
            *_plot(list(bars), wait_p99, sessions),
        )
    )


def _row(row: Waits, is_needed: bool) -> str:  # noqa: FBT001 - private
    times = row.mean, *map(row.percentile, (50, 95, 99))
    busy = f"{row.utilisation:.0%}" if row.utilisation < 9.995 else ">999%"
    cells = busy, _share(row.waiting), *map(_time, times)
    mark = ">" if is_needed else " "
    return f"{mark}{row.sessions:>8} {{:>5}} {{:>6}} {{:>8}} {{:>8}} {{:>8}} {{:>8}}".format(*cells)


def _plot(bars: list[Waits], wait_p99: float, sessions: int) -> Iterable[str]:
    """A bar for each number of sessions, to three times what is allowed."""
    finite = [p99 for row in bars if isfinite(p99 := row.percentile(99))]
    longest = 3 * wait_p99 or max(finite) or 1.0
    at = _BAR // 3 if wait_p99 else _BAR
    for row in bars:
        p99 = row.percentile(99)
        bar = ("#" * round(_BAR * min(1.0, p99 / longest))).ljust(_BAR)
        bar = f"{bar[:at]}|{bar[at:]}" if wait_p99 else bar
        more = ">" if p99 > longest else " "
        mark = ">" if row.sessions == sessions else " "
        yield f"{mark}{row.sessions:>8} {bar}{more}{_time(p99):>8}"


def _share(part: float) -> str:
    return f"{part:.1%}" if part < 0.1 else f"{part:.0%}"


def _time(seconds: float) -> str:
    """Three digits and a unit, in at most eight columns."""
    if seconds == inf:
        return "endless"
    if seconds < 0.9995:
        return f"{1000 * seconds:.3g} ms" if seconds >= 0.0005 else "0 ms"
    return f"{seconds:.3g} s" if seconds < 999.5 else f"{seconds / 3600:.3g} h"


def _to_dict(
    load: Load, options: PlanOptions, sessions: int, rows: Iterable[Waits]
) -> dict[str, object]:
    """The plan in values that JSON takes; null for what grows without end."""
    return {
        "arrivals_per_second": load.arrivals,
        "duration_seconds": load.duration,
        "duration_cv": load.spread,
        "wait_p99_seconds": options.wait_p99,
        "busy_sessions": load.busy,
        "sessions": sessions,
        "budget": options.budget,
        "waits": [
            {
                "sessions": row.sessions,
                "utilisation": row.utilisation,
                "waiting": row.waiting,
                "mean_seconds": _or_null(row.mean),
                "p50_seconds": _or_null(row.percentile(50)),
                "p95_seconds": _or_null(row.percentile(95)),
                "p99_seconds": _or_null(row.percentile(99)),
            }
            for row in rows
        ],
    }


def _or_null(seconds: float) -> float | None:
    return seconds if isfinite(seconds) else None
