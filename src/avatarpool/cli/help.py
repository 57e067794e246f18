"""Help that is shown whole, however narrow the terminal."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

_ANY_LENGTH = 10_000


class Commands(TyperGroup):
    """Commands whose first sentences are wrapped in the list of them, and not cut."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for command in self.commands.values():
            command.short_help = command.get_short_help_str(limit=_ANY_LENGTH)
