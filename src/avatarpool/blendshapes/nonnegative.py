"""Least squares whose unknowns are not negative."""

from __future__ import annotations

from collections.abc import Sequence
from operator import mul

_TINY = 1e-10


def nonnegative(gram: Sequence[Sequence[float]], goal: Sequence[float]) -> list[float]:
    """Return the x of least ``x'Gx / 2 - g'x`` without a negative value.

    By an active set, as Lawson and Hanson have it (Solving Least Squares Problems,
    1974, chapter 23): unknowns are freed one by one while that helps, and held at 0
    again where they would become negative.

    Args:
        gram: G, symmetric and positive definite.
        goal: g.
    """
    values = [0.0] * len(goal)
    free: list[int] = []
    for _ in range(3 * len(goal)):  # more than it takes, unless rounding goes in circles
        slope = [g - sum(map(mul, row, values)) for g, row in zip(goal, gram, strict=True)]
        held = [i for i in range(len(goal)) if i not in free and slope[i] > _TINY]
        if not held:
            break
        free.append(max(held, key=slope.__getitem__))
        while free:
            found = _solve([[gram[i][j] for j in free] for i in free], [goal[i] for i in free])
            if min(found) > 0:
                for i, value in zip(free, found, strict=True):
                    values[i] = value
                break
            step = min(
                values[i] / (values[i] - value)
                for i, value in zip(free, found, strict=True)
                if value <= 0
            )
            for i, value in zip(free, found, strict=True):
                values[i] += step * (value - values[i])
                if value <= 0 and values[i] <= _TINY:
                    values[i] = 0.0
            free = [i for i in free if values[i] > 0.0]
    return values


def _solve(matrix: list[list[float]], right: list[float]) -> list[float]:
    """Solve a positive definite system, which needs no pivoting."""
    size = len(right)
    for i in range(size):
        for j in range(i + 1, size):
            factor = matrix[j][i] / matrix[i][i]
            for k in range(i, size):
                matrix[j][k] -= factor * matrix[i][k]
            right[j] -= factor * right[i]
    for i in reversed(range(size)):
        right[i] = (right[i] - sum(map(mul, matrix[i][i + 1 :], right[i + 1 :]))) / matrix[i][i]
    return right
