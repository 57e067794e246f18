"""Where the command begins: it hears Ctrl-C before it imports what takes its time."""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Run the command line.

    A signal that comes before there is an event loop ends the process at once and in
    silence: nothing was begun, and an exception amid somebody's import would be a
    traceback, or be lost.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, _leave)
    from avatarpool.cli.main import main  # noqa: PLC0415

    main()


def _leave(number: int, _frame: object) -> None:
    os._exit(128 + number)  # as a shell reports it
