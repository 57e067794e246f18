"""The standard streams, also where whoever started the command closed them."""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def open_missing_streams() -> None:
    """Open the null device in place of closed standard streams.

    Otherwise the event loop's own files would get their numbers.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def drop_output() -> None:
    """Give what standard output did not take to the null device.

    Python would try again as it ends, say that in two lines, and exit with 120.
    """
    with suppress(OSError):  # it may be no file at all
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def note(text: str) -> None:
    """Print to standard error what is no result, at once."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201
