"""Tables of what was measured, as Markdown."""

from __future__ import annotations

import importlib
import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from case import Case
from chart import bars, curves

Results = dict[str, dict[str, dict[str, float]]]
"""Case, then ``peer loop``, then figure: the median over the rounds."""

LOOPS = ("asyncio", "uvloop")

DOCS = Path(__file__).parents[1] / "docs"

PEERS = {
    "ours": "avatarpool",
    "naive": "naive pool",
    "websockets": "`websockets`, tuned",
    "picows": "raw picows",
    "tcp": "bare TCP copy",
    "psycopg": "psycopg_pool",
    "asyncpg": "asyncpg",
    "sqlalchemy": "SQLAlchemy",
    "bare": "bare deques",
    "none": "no pool",
}


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the summary: a figure and what it is to reach."""

    what: str
    case: str
    figure: str
    unit: str
    limit: float
    scale: float = 1.0  # what one of the unit is in the figure's own


GOALS = (
    Goal("CPU per request", "request", "cpu_us", "ms", 1.5, 1000.0),
    Goal("memory per pooled idle connection", "memory", "opened_kb", "kB", 20.0),
    Goal("the same after a 558 kB request each", "memory", "served_kb", "kB", 60.0),
    Goal("CPU to open a connection", "opening", "cpu_us", "ms", 0.7, 1000.0),
    Goal("borrow and return, uncontended", "borrow", "cpu_us", "µs", 3.0),
    Goal("borrow and return, 500 tasks on 10", "borrow_contended", "cpu_us", "µs", 6.0),
    Goal("first frame later than raw picows'", "first_frame", "added_us", "µs", 50.0),
    Goal("CPU of 2,000 idle connections", "idle", "core_percent", "% of a core", 1.0),
    Goal("errors with 5,000 connections", "many", "errors", "", 0.0),
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
    """Return the table of goals."""
    lines = []
    for goal in GOALS:
        if goal.case not in results:
            continue
        ours, on_uvloop, naive = (
            found[goal.figure] / goal.scale if (found := results[goal.case].get(who)) else None
            for who in ("ours asyncio", "ours uvloop", "naive asyncio")
        )
        ratio = f"{ours / naive:.2f}" if ours is not None and naive else ""
        what = f"{goal.what}, {goal.unit}" if goal.unit else goal.what
        cells = [number(value) for value in (naive, ours, on_uvloop)]
        lines.append([what, *cells, ratio, f"{goal.limit:g}"])
    head = ["", "naive pool, official SDK", "avatarpool", "on uvloop", "ratio", "goal, at most"]
    return table_of(head, lines)


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
    for peer in case.peers:
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
            *(number(found[f"{peer} {loop}"][name]) for name in case.figures),
        ]
        for peer in case.peers
        for loop in LOOPS
    ]
    return table_of(["", *case.figures.values()], lines)


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
    return (
        f"Python {platform.python_version()}, {platform.system()} on {platform.machine()}, "
        f"{os.cpu_count()} cores; {versions}."
    )


def tables(results: Results) -> str:
    """Return everything as Markdown."""
    parts = [summary(results), *(details(name, found) for name, found in results.items())]
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
