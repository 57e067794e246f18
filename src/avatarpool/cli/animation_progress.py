"""How far ``avatarpool animate`` is, on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextmanager
def animation_progress(total: int) -> Iterator[Callable[[int, float], None]]:
    """Show a bar on standard error while the block runs, if that is a terminal.

    Yields:
        What moves it, from any thread: to the number of files that are finished, and
        the same with the parts of those under way.
    """
    console = Console(stderr=True)
    # One that cannot move its cursor is as a file: a bar would be noise there.
    if not console.is_terminal or console.is_dumb_terminal:
        yield lambda _finished, _done: None
        return
    progress = Progress(
        TextColumn("{task.fields[finished]}/{task.total} files"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        redirect_stdout=False,  # it has the results, and is for whoever takes them
    )
    task = progress.add_task("", total=total, finished=0)

    def show(finished: int, done: float) -> None:
        progress.update(task, finished=finished, completed=done)

    with progress:
        yield show
