"""Where a run's lines go: plain to a file or a pipe, above a bar on a terminal."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class Screen(Protocol):
    """What a run shows itself on; a context manager."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave nothing but the lines behind."""

    def line(self, text: object) -> None:
        """Show a line of the report."""

    def advance(self, _result: object = None) -> None:
        """Count one more finished request."""


class PlainScreen:
    """Lines on standard output, each at once, and nothing else."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing was opened."""

    def line(self, text: object) -> None:
        """Print the line and flush it, so that a pipe sees it as it happens."""
        print(text, flush=True)  # noqa: T201

    def advance(self, _result: object = None) -> None:
        """Lines alone tell how far the run is."""


class BarScreen:
    """Lines on a terminal, with a bar below them that goes when the run ends.

    Args:
        console: The terminal.
        total: Requests of the whole run.
    """

    def __init__(self, console: Console, total: int) -> None:
        self._progress = Progress(
            TextColumn("requests"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            redirect_stderr=sys.stderr.isatty(),  # a file's lines are not for the terminal
        )
        self._task = self._progress.add_task("", total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def line(self, text: object) -> None:
        """Print the line as it is above the bar: no wrapping, no markup."""
        self._progress.console.out(str(text), highlight=False)

    def advance(self, _result: object = None) -> None:
        """Move the bar on."""
        self._progress.advance(self._task)


def open_screen(total: int) -> Screen:
    """Choose the screen that fits standard output."""
    console = terminal()
    return PlainScreen() if console is None else BarScreen(console, total)


def terminal() -> Console | None:
    """Return standard output if it is a terminal that can rewrite a line."""
    console = Console(file=sys.stdout)
    # One that cannot move its cursor is as a file: a bar would be noise there.
    return console if console.is_terminal and not console.is_dumb_terminal else None
