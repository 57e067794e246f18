"""Tables of what was measured, as Markdown."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

from case import Case
from chart import bars, curves

Results = dict[str, dict[str, dict[str, float]]]
"""Case, then ``peer loop``, then figure: the median over the rounds."""

DOCS = Path(__file__).parents[1] / "docs"

PEERS = {
    "ours": "avatarpool",
    "naive": "naive pool, official SDK",
    "websockets": "`websockets`, tuned",
    "picows": "raw picows",
    "tcp": "bare TCP copy",
    "psycopg": "psycopg_pool",
    "asyncpg": "asyncpg",
    "sqlalchemy": "SQLAlchemy",
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


def row(cells: list[str]) -> str:
    """Return a row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def summary(results: Results) -> str:
    """Return the table of goals."""
    lines = [
        row(["", "naive pool, official SDK", "avatarpool", "on uvloop", "ratio", "goal"]),
        row(["---", "---:", "---:", "---:", "---:", "---:"]),
    ]
    for goal in GOALS:
        if goal.case not in results:
            continue

        def of(who: str, goal: Goal = goal) -> float | None:
            figures = results[goal.case].get(who)
            return figures[goal.figure] / goal.scale if figures else None

        ours, naive = of("ours asyncio"), of("naive asyncio")
        ratio = f"{ours / naive:.2f}" if ours is not None and naive else ""
        cells = [number(value) for value in (naive, ours, of("ours uvloop"))]
        what = f"{goal.what}, {goal.unit}" if goal.unit else goal.what
        lines.append(row([what, *cells, ratio, f"{goal.limit:g}"]))
    return "\n".join(lines)


def details(name: str, by_peer: dict[str, dict[str, float]]) -> str:
    """Return one case's table: a line per peer, each figure on both loops."""
    case: Case = importlib.import_module(f"cases.{name}").CASE
    main = next(iter(case.figures))
    has_ratio = len(case.peers) > 1
    head = [""] + [cell for title in case.figures.values() for cell in (title, "on uvloop")]
    lines = [
        row(head + ["to ours"] * has_ratio),
        row(["---"] + ["---:"] * (len(head) - 1 + has_ratio)),
    ]
    for peer in case.peers:
        on = [by_peer[f"{peer} {loop}"] for loop in ("asyncio", "uvloop")]
        cells = [number(figures.get(figure)) for figure in case.figures for figures in on]
        if has_ratio:
            cells.append(f"{on[0][main] / by_peer['ours asyncio'][main]:.2f}")
        lines.append(row([PEERS[peer], *cells]))
    return f"**{case.title}**\n\n" + "\n".join(lines)


def growth(results: Results) -> str:
    """Return what a borrow and a request cost as the pool grows."""
    if "many" not in results:
        return ""
    by_loop = {loop: results["many"][f"ours {loop}"] for loop in ("asyncio", "uvloop")}
    sizes = [name.partition("@")[2] for name in by_loop["asyncio"] if name.startswith("borrow_us@")]
    lines = [
        row(["connections", *(f"{int(size):,}" for size in sizes)]),
        row(["---", *["---:" for _ in sizes]]),
    ]
    for figure, what in (("borrow_us", "a borrow"), ("request_us", "a short request")):
        for loop, figures in by_loop.items():
            cells = [number(figures[f"{figure}@{size}"]) for size in sizes]
            lines.append(row([f"{what}, {loop}, CPU µs", *cells]))
    return "**Cost as the pool grows**\n\n" + "\n".join(lines)


def tables(results: Results) -> str:
    """Return everything as Markdown."""
    parts = [summary(results), *(details(name, found) for name, found in results.items())]
    return "\n\n".join(part for part in (*parts, growth(results)) if part) + "\n"


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
