"""The charts of docs/performance.md, as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from html import escape

Results = Mapping[str, Mapping[str, Mapping[str, float]]]

PANELS = (
    ("wss, 80 ms away: wall per request, ms", "link_wss", "single_ms", 1.0),
    ("wss, 80 ms away: CPU per request, ms", "link_wss", "single_cpu_ms", 1.0),
    ("wss on loopback: wall per request, ms", "request_single_wss", "wall_us", 1000.0),
    ("wss on loopback: CPU per request, ms", "request_single_wss", "cpu_us", 1000.0),
    ("wss: memory per idle connection, kB", "memory_wss", "opened_kb", 1.0),
    ("wss: memory after a request each, kB", "memory_wss", "served_kb", 1.0),
    ("wss: CPU to open a connection, ms", "opening_wss", "cpu_us", 1000.0),
    ("Plain on loopback: wall per request, ms", "request_single", "wall_us", 1000.0),
    ("Borrow and return, µs", "borrow", "cpu_us", 1.0),
    ("500 tasks on 10 connections, µs", "borrow_contended", "cpu_us", 1.0),
)

CURVES = {
    "avatarpool": "ours asyncio",
    "avatarpool, uvloop": "ours uvloop",
    "naive pool": "naive asyncio",
    "naive pool, uvloop": "naive uvloop",
    "bare deques": "bare asyncio",
    "raw picows": "picows asyncio",
}

INK, FAINT, OURS, OTHERS = "#24292f", "#d0d7de", "#0969da", "#8c959f"

WIDTH, BAR, GAP, LABEL = 400, 16, 6, 150


def bars(results: Results, names: Mapping[str, str]) -> str:
    """Return two columns of panels of bars: asyncio's medians, shorter is better."""
    shapes: list[str] = []
    bottoms = [0, 0]
    for index, (title, case, figure, scale) in enumerate(PANELS):
        column = index % 2
        if column == 0:
            bottoms = [max(bottoms)] * 2
        values = {
            names[who.partition(" ")[0]]: figures[figure] / scale
            for who, figures in results[case].items()
            if who.endswith(" asyncio") and not who.startswith("none ")
        }
        shapes += _panel(WIDTH * column + 10, bottoms[column], title, values)
        bottoms[column] += 44 + len(values) * (BAR + GAP)
    return _svg(2 * WIDTH + 10, max(bottoms) + 10, shapes)


def _panel(x: int, y: int, title: str, values: Mapping[str, float]) -> Iterable[str]:
    yield _text(x, y + 26, title, weight="600")
    most = max(values.values())
    for index, (name, value) in enumerate(values.items()):
        top = y + 38 + index * (BAR + GAP)
        length = max(1.0, value / most * (WIDTH - LABEL - 70))
        color = OURS if index == 0 else OTHERS
        yield _text(x + LABEL - 8, top + 12, name.replace("`", ""), anchor="end")
        yield (
            f'<rect x="{x + LABEL}" y="{top}" width="{length:.1f}" height="{BAR}" '
            f'rx="2" fill="{color}"/>'
        )
        shown = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
        yield _text(x + LABEL + length + 6, top + 12, shown)


def curves(results: Results) -> str:
    """Return cost against size."""
    panels = (
        ("A borrow, CPU µs, by connections", "borrow_us", "many_borrows"),
        ("A short request, CPU µs, by connections", "request_us", "many_requests"),
        ("A borrow, CPU µs, by waiters", "borrow_us", "waiters"),
    )
    shapes: list[str] = []
    for index, (title, figure, case) in enumerate(panels):
        found = results[case]
        lines = {name: _points(found[who], figure) for name, who in CURVES.items() if who in found}
        shapes += _plot(300 * index + 10, title, lines)
    return _svg(3 * 300 + 10, 300, shapes)


def _points(figures: Mapping[str, float], prefix: str) -> list[tuple[float, float]]:
    return [
        (float(name.partition("@")[2]), value)
        for name, value in figures.items()
        if name.startswith(f"{prefix}@")
    ]


def _plot(x: int, title: str, lines: Mapping[str, list[tuple[float, float]]]) -> Iterable[str]:
    """Draw lines over a logarithmic axis of sizes and a linear one from zero."""
    width, top, bottom = 270, 44, 190
    sizes = sorted({size for points in lines.values() for size, _ in points})
    most = 1.15 * max(value for points in lines.values() for _, value in points)
    first, last = math.log10(sizes[0]), math.log10(sizes[-1])

    def place(size: float, value: float) -> tuple[float, float]:
        return (
            x + 8 + (math.log10(size) - first) / (last - first) * (width - 20),
            bottom - value / most * (bottom - top),
        )

    yield _text(x, 26, title, weight="600")
    yield f'<path d="M{x} {bottom}h{width}" stroke="{FAINT}"/>'
    for size in sizes:
        yield _text(place(size, 0)[0], bottom + 16, f"{size:,.0f}", anchor="middle")
    for index, (name, points) in enumerate(lines.items()):
        color = OURS if name.startswith("avatarpool") else OTHERS
        dash = ' stroke-dasharray="4 3"' if "uvloop" in name else ""
        places = " ".join("{:.1f},{:.1f}".format(*place(*point)) for point in points)
        yield f'<polyline points="{places}" fill="none" stroke="{color}" stroke-width="2"{dash}/>'
        y = bottom + 34 + 15 * index
        yield f'<path d="M{x} {y - 4}h24" stroke="{color}" stroke-width="2"{dash}/>'
        yield _text(x + 30, y, f"{name}: from {points[0][1]:.3g} to {points[-1][1]:.3g}")


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "400") -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-weight="{weight}" '
        f'fill="{INK}">{escape(text)}</text>'
    )


def _svg(width: int, height: int, shapes: Iterable[str]) -> str:
    body = "\n".join(shapes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="12">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'
    )
