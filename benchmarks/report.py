"""Tables of what was measured, as Markdown."""

from __future__ import annotations

import importlib
import os
import platform
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from case import LOOPS, Case, wall_of
from chart import bars, curves

Results = dict[str, dict[str, dict[str, float]]]
"""Case, then ``peer loop``, then figure: the median over the rounds."""

DOCS = Path(__file__).parents[1] / "docs"

PEERS = {
    "ours": "avatarpool",
    "group": "its group",
    "leased": "its group, leased from Redis",
    "naive": "naive pool",
    "websockets": "`websockets`, tuned",
    "picows": "raw picows",
    "tcp": "bare TCP copy",
    "ssl": "bare `ssl` copy",
    "psycopg": "psycopg_pool",
    "asyncpg": "asyncpg",
    "sqlalchemy": "SQLAlchemy",
    "bare": "bare deques",
    "none": "no pool",
    "haproxy": "HAProxy, TCP",
    "relay": "bare picows relay",
    "direct": "no gateway",
}


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the summary: a figure and what it is to reach, all on asyncio.

    Attributes:
        what: The figure in words.
        case: Where it is measured.
        figure: Its name there.
        unit: What the table shows it in.
        most: What it is to be at most, in that unit.
        of_naive: The same, as a share of the naive pool's.
        of_picows: The same, as a share of raw picows's.
        of_haproxy: The same, as a share of HAProxy's.
    """

    what: str
    case: str
    figure: str
    unit: str
    most: float | None = None
    of_naive: float | None = None
    of_picows: float | None = None
    of_haproxy: float | None = None

    @property
    def scale(self) -> float:
        """What one of the unit is in the figure's own, which ends its name."""
        return 1000.0 if self.unit == "ms" and self.figure.endswith("_us") else 1.0

    def __str__(self) -> str:
        shares = {"naive": self.of_naive, "picows": self.of_picows, "HAProxy": self.of_haproxy}
        limits = [f"{share:g} x {whose}" for whose, share in shares.items() if share is not None]
        if self.most is not None:
            limits.append(f"{self.most:g}")
        return ", ".join(limits)


GOALS = (
    Goal("wss, 80 ms away: a request, one by one", "link_wss", "single_ms", "ms", of_naive=1.05),
    Goal("wss, 80 ms away: a request, in a burst", "link_wss", "burst_ms", "ms", of_naive=1.05),
    Goal("wss, 80 ms away: first frame", "link_wss", "first_ms", "ms", of_naive=1),
    Goal("wss, 80 ms away: of 558 kB", "link_wss", "clip_first_ms", "ms", of_naive=1),
    Goal("plain, 80 ms away: a request, one by one", "link", "single_ms", "ms", of_naive=1.05),
    Goal("plain, 80 ms away: a request, in a burst", "link", "burst_ms", "ms", of_naive=1.05),
    Goal("plain, 80 ms away: first frame", "link", "first_ms", "ms", of_naive=1),
    Goal("plain, 80 ms away: of 558 kB", "link", "clip_first_ms", "ms", of_naive=1),
    Goal("wss: wall per request, one by one", "request_single_wss", "wall_us", "ms", of_naive=0.8),
    Goal("wss: CPU per request, one by one", "request_single_wss", "cpu_us", "ms", of_naive=0.6),
    Goal("wss: wall per request, in a burst", "request_wss", "wall_us", "ms", of_naive=0.8),
    Goal("wss: CPU per request, in a burst", "request_wss", "cpu_us", "ms", of_naive=0.6),
    Goal("wss: memory per pooled idle connection", "memory_wss", "opened_kb", "kB", 45),
    Goal("wss: the same after a 558 kB request each", "memory_wss", "served_kb", "kB", 100),
    Goal("wss: CPU to open a connection", "opening_wss", "cpu_us", "ms", of_naive=0.7),
    Goal(
        "wall per request, one by one",
        "request_single",
        "wall_us",
        "ms",
        of_naive=0.7,
        of_picows=1.3,
    ),
    Goal("CPU per request, in a burst", "request", "cpu_us", "ms", 1.5),
    Goal("memory per pooled idle connection", "memory", "opened_kb", "kB", 20),
    Goal("the same after a 558 kB request each", "memory", "served_kb", "kB", 60),
    Goal("CPU to open a connection", "opening", "cpu_us", "ms", 0.7),
    Goal("borrow and return, uncontended", "borrow", "cpu_us", "µs", 3),
    Goal("borrow and return, 500 tasks on 10", "borrow_contended", "cpu_us", "µs", 6),
    Goal("first frame later than raw picows'", "first_frame", "added_us", "µs", 50),
    Goal("CPU of 2,000 idle connections", "idle", "core_percent", "% of a core", 1),
    Goal("errors with 5,000 connections", "many", "errors", "", 0),
)

GATEWAY_GOALS = (
    Goal("CPU per relayed frame", "gateway_frames", "cpu_us", "µs", of_haproxy=2),
    Goal("frames over 40 ms late, of 200 requests at once", "gateway_frames", "late", "", 0),
    Goal("first frame later than without it", "gateway_first_frame", "added_ms", "ms", 1),
    Goal("memory with 2,000 idle clients", "gateway_idle", "idle_mb", "MB", 120),
    Goal(
        "p99 first frame later beside 200 bad handshakes a second",
        "gateway_hostile",
        "added_ms",
        "ms",
        20,
    ),
)


def number(value: float | None) -> str:
    """Return three significant digits."""
    if value is None:
        return ""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{0 if value == 0 else digits}f}"


def table_of(head: list[str], lines: list[list[str]]) -> str:
    """Return a Markdown table whose first column names and whose others count."""
    marks = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, marks, *lines])


def summary(results: Results) -> str:
    """Return the table of the pool's goals."""
    head = ["", "naive pool, official SDK", "raw picows", "avatarpool", "on uvloop"]
    lines = _against(GOALS, results, "naive", "picows")
    return table_of([*head, "to naive", "to picows", "goal, at most"], lines)


def gateway_summary(results: Results) -> str:
    """Return the table of the gateway's goals."""
    head = ["The gateway", "HAProxy, TCP", "bare picows relay", "gateway", "on uvloop"]
    lines = _against(GATEWAY_GOALS, results, "haproxy", "relay")
    return table_of([*head, "to HAProxy", "to the relay", "goal, at most"], lines)


def _against(goals: Iterable[Goal], results: Results, one: str, other: str) -> list[list[str]]:
    """Return a line for each goal that was measured, ours beside those of two peers."""
    lines = []
    for goal in goals:
        if goal.case not in results:
            continue
        first, second, ours, on_uvloop = (
            found[goal.figure] / goal.scale if (found := results[goal.case].get(who)) else None
            for who in (f"{one} asyncio", f"{other} asyncio", "ours asyncio", "ours uvloop")
        )
        what = f"{goal.what}, {goal.unit}" if goal.unit else goal.what
        values = [number(value) for value in (first, second, ours, on_uvloop)]
        ratios = [f"{ours / peer:.2f}" if ours and peer else "" for peer in (first, second)]
        lines.append([what, *values, *ratios, str(goal)])
    return lines


def details(name: str, found: dict[str, dict[str, float]]) -> str:
    """Return one case's table, in the shape that its peers and figures fit in."""
    case: Case = importlib.import_module(f"cases.{name}").CASE
    table = (
        figures_in_lines(case, found)
        if len(case.peers) == 1
        else loops_in_lines(case, found)
        if len(case.figures) > 2
        else peers_in_lines(case, found)
    )
    return f"**{case.title}**\n\n{table}"


def peers_in_lines(case: Case, found: dict[str, dict[str, float]]) -> str:
    """Return a line per peer: each figure on both loops, and the first one's ratio to ours."""
    main = next(iter(case.figures))
    head = [cell for title in case.figures.values() for cell in (title, "on uvloop")]
    lines = []
    for peer in _measured(case, found):
        on = [found[f"{peer} {loop}"] for loop in LOOPS]
        cells = [number(figures[figure]) for figure in case.figures for figures in on]
        ratio = on[0][main] / found["ours asyncio"][main]
        lines.append([PEERS[peer], *cells, f"{ratio:.2f}"])
    return table_of(["", *head, "to ours"], lines)


def loops_in_lines(case: Case, found: dict[str, dict[str, float]]) -> str:
    """Return a line per peer and loop."""
    lines = [
        [
            f"{PEERS[peer]}, {loop}",
            *(with_wall(found[f"{peer} {loop}"], name) for name in case.figures),
        ]
        for peer in _measured(case, found)
        for loop in case.loops
    ]
    return table_of(["", *case.figures.values()], lines)


def _measured(case: Case, found: dict[str, dict[str, float]]) -> list[str]:
    """Return the peers that were there."""
    return [peer for peer in case.peers if f"{peer} {case.loops[0]}" in found]


def with_wall(figures: dict[str, float], name: str) -> str:
    """Return a figure, and its wall time where it has one beside it."""
    cells = [number(figures[name])]
    if (wall := wall_of(name)) in figures:
        cells.append(number(figures[wall]))
    return ", ".join(cells)


def figures_in_lines(case: Case, found: dict[str, dict[str, float]]) -> str:
    """Return a line per figure of the only peer."""
    lines = [
        [title, *(number(found[f"{case.peers[0]} {loop}"][name]) for loop in LOOPS)]
        for name, title in case.figures.items()
    ]
    return table_of(["", *LOOPS], lines)


def surroundings() -> str:
    """Return on what it was measured."""
    packages = (
        "avatarkit",
        "picows",
        "websockets",
        "uvloop",
        "psycopg-pool",
        "asyncpg",
        "sqlalchemy",
    )
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    congestion = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text(encoding="ascii")
    return (
        f"Python {platform.python_version()}, {ssl.OPENSSL_VERSION}, {platform.system()} on "
        f"{platform.machine()}, {os.cpu_count()} cores, TCP with {congestion.strip()}; {versions}."
    )


def tables(results: Results) -> str:
    """Return everything as Markdown."""
    goals = [summary(results)]
    if any(name.startswith("gateway_") for name in results):
        goals.append(gateway_summary(results))
    parts = [*goals, *(details(name, found) for name, found in results.items())]
    return "\n\n".join((*parts, surroundings())) + "\n"


def publish(results: Results) -> None:
    """Renew the tables and charts of docs/performance.md."""
    page = DOCS / "performance.md"
    before, mark, rest = page.read_text(encoding="utf-8").partition("<!-- measured -->\n")
    _, end, after = rest.partition("<!-- end of measured -->")
    if not (mark and end):
        raise ValueError(f"{page} has no place for the tables between its two marks")
    text = f"{before}{mark}\n{tables(results)}\n{end}{after}"
    page.write_text(text, encoding="utf-8")
    (DOCS / "performance.svg").write_text(bars(results, PEERS), encoding="utf-8")
    (DOCS / "growth.svg").write_text(curves(results), encoding="utf-8")
