"""Arguments that are found wrong when they are given, and not under load."""

from __future__ import annotations

from math import isnan

from avatarpool.exceptions import ConfigurationError


def check_number(what: str, **given: object) -> None:
    """Raise `ConfigurationError` for what is no number."""
    problems = [
        f"{name} {value!r} must be a number"
        for name, value in given.items()
        if not is_number(value)
    ]
    if problems:
        raise ConfigurationError(what, problems)


def is_number(value: object) -> bool:
    """Whether a value can be told as seconds, or compared with others."""
    try:
        return isinstance(value, (int, float)) and not isnan(value)
    except OverflowError:  # an integer of hundreds of digits
        return False


def negative(**limits: float) -> list[str]:
    """Name the limits that cannot be kept."""
    return [
        f"{name} {limit!r} is negative or no number"
        for name, limit in limits.items()
        if not (is_number(limit) and limit >= 0)
    ]


def uncountable(**given: object) -> list[str]:
    """Name what was given for a number of things and is none."""
    return [
        f"{name} {value!r} is no whole number"
        for name, value in given.items()
        if not isinstance(value, int)
    ]


def uncallable(**given: object) -> list[str]:
    """Name what was given for a function and is none."""
    return [
        f"{name} {value!r} cannot be called"
        for name, value in given.items()
        if not (value is None or callable(value))
    ]


def out_of_bounds(min_size: int, max_size: int) -> list[str]:
    """Name what keeps two whole numbers from being a pool's size."""
    problems = []
    if min_size < 0:
        problems.append(f"min_size {min_size} is negative")
    if max_size < 1:
        problems.append(f"max_size {max_size} is not at least 1")
    if max_size < min_size:
        problems.append(f"max_size {max_size} is smaller than min_size {min_size}")
    return problems
