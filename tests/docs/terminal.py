"""A terminal with `python -m asyncio` in it, into which a newcomer pastes."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

PATIENCE = 50.0  # seconds for a block, on a machine that has other things to do

MISHAP = re.compile(
    r"^(Traceback \(most|\w*(Error|Exception|Warning)\b.*:|.*Warning: )", re.MULTILINE
)


class Terminal:
    """The interpreter at the other end of a pseudo-terminal; leaving it closes both.

    Args:
        directory: Where it starts.
        environment: Its variables.
    """

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._master, slave = pty.openpty()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "asyncio"],
                stdin=slave,
                stdout=slave,
                stderr=slave,
                cwd=directory,
                # Plain line editing in every version: newer ones repaint the screen.
                env={**environment, "TERM": "dumb", "PYTHON_BASIC_REPL": "1"},
                start_new_session=True,
            )
        finally:
            os.close(slave)
        self._pasted = 0
        self._type = b""  # what is still to be typed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def paste(self, code: str) -> str:
        """Paste it, press Enter twice, and return what the screen shows until it has run."""
        self._pasted += 1
        # What is shown is not what was typed.
        self._type = f'{code.rstrip()}\n\nprint("pasted", "{self._pasted}")\n'.encode()
        return self._until(f"pasted {self._pasted}\r\n")

    def leave(self) -> str:
        """Say good bye as one does, and return what is shown then."""
        self._type = b"exit()\n"
        return self._until(None)

    def _until(self, shown: str | None) -> str:
        screen = b""
        deadline = time.monotonic() + PATIENCE
        while shown is None or shown.encode() not in screen:
            left = deadline - time.monotonic()
            wants = [self._master] if self._type else []
            readable, writable, _ = select.select([self._master], wants, [], max(left, 0))
            if left <= 0:
                raise TimeoutError(screen.decode(errors="replace"))
            if readable:
                try:
                    screen += os.read(self._master, 65536)
                except OSError:  # Linux's word for the end
                    break
            elif writable:
                # No more than a terminal's line buffer takes.
                self._type = self._type[os.write(self._master, self._type[:512]) :]
        return screen.decode(errors="replace").replace("\r\n", "\n")
