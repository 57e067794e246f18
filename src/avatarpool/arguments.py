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
    return isinstance(value, (int, float)) and not isnan(value)
