"""Programs in processes that begin as copies of one that has imported what they want.

    python copies.py NUMBER_OF_A_SOCKET

To start Python and to import a command costs a second, and most tests are about what comes
after that. Each copy is a process as any other: it has a number, streams, signals, an
environment and an end of its own.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

_PRELOADED = (
    *(f"avatarpool.cli.{name}" for name in ("animate", "doctor", "driver", "fleet", "main")),
    *(f"avatarpool.cli.{name}" for name in ("pictures", "plan", "run", "service", "soak", "view")),
    *("avatarpool.service", "av", "redis.asyncio", "uvloop"),
)
_NUMBER = 4  # bytes


class Copy:
    """What tests use of ``subprocess.Popen``, for a copy."""

    def __init__(self, told: socket.socket, arguments: Sequence[str], streams: list[Any]) -> None:
        self.args = arguments
        self.stdin, self.stdout, self.stderr = streams
        self.returncode: int | None = None
        self._told = told
        self.pid = self._number()

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._told.settimeout(timeout)
            try:
                self.returncode = self._number()
            except TimeoutError:
                raise subprocess.TimeoutExpired(self.args, timeout or 0) from None
            self._told.close()
        return self.returncode

    def _number(self) -> int:
        said = self._told.recv(_NUMBER, socket.MSG_WAITALL)
        assert len(said) == _NUMBER, f"nobody waits for {self.args} any more"
        return int.from_bytes(said, sys.byteorder, signed=True)

    def communicate(self, given: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
        """Give and take everything; what takes longer than the timeout is killed."""
        with ThreadPoolExecutor(3) as threads:
            writing = threads.submit(self._give, given)
            outputs = [threads.submit(_rest, stream) for stream in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            except BaseException:
                self.kill()
                raise
        writing.result()
        stdout, stderr = (output.result() for output in outputs)
        return stdout, stderr

    def _give(self, given: Any) -> None:
        if self.stdin is not None and not self.stdin.closed:
            # What reads no more has had enough.
            with contextlib.suppress(BrokenPipeError), self.stdin:
                if given:
                    self.stdin.write(given)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _rest(stream: Any) -> Any:
    if stream is None or stream.closed:
        return None
    with stream:
        return stream.read()


class Original:
    """The process that is copied."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  # our own code
                [sys.executable, "-W", "error", __file__, str(theirs.fileno())],
                env={k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def start(
        self,
        *arguments: str,
        env: Mapping[str, str],
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        text: bool = False,
        start_new_session: bool = False,
    ) -> Copy:
        """Start ``python ARGUMENTS...``: a script, or ``-m`` and a module."""
        order = json.dumps([arguments, dict(env), str(Path.cwd()), start_new_session])
        told, theirs = socket.socketpair()
        ours = []
        with theirs, ExitStack() as stack, TemporaryFile("w+", encoding="utf-8") as file:
            numbers = [theirs.fileno(), file.fileno()]
            for number, stream in enumerate((stdin, stdout, stderr)):
                end, theirs_too = _ends(stream, number, stack, text=text)
                ours.append(end)
                numbers.append(theirs_too)
            file.write(order)
            file.seek(0)
            socket.send_fds(self._socket, [b"!"], numbers)
            return Copy(told, arguments, ours)

    def close(self) -> None:
        self._socket.close()
        try:
            assert self._process.wait(30) == 0
        finally:
            self._process.kill()


def _ends(stream: Any, number: int, stack: ExitStack, *, text: bool) -> tuple[Any, int]:
    """Return our end of a stream, if there is one, and the number of the copy's."""
    if stream is None:
        return None, number
    if stream == subprocess.DEVNULL:
        return None, stack.enter_context(Path(os.devnull).open("r+")).fileno()
    if stream != subprocess.PIPE:
        return None, stream if isinstance(stream, int) else stream.fileno()
    reader, writer = os.pipe()
    theirs, end = (writer, reader) if number else (reader, writer)
    stack.callback(os.close, theirs)
    mode = ("r" if number else "w") + ("" if text else "b")
    return os.fdopen(end, mode, encoding="utf-8" if text else None), theirs


# --- in the original, and in the copies ---------------------------------------------------


def become_a_copy(orders: socket.socket) -> list[str] | None:
    """Make copies until no more are wanted; in one of them, return what it has to run."""
    waiting = set()
    while True:
        wanted, files, _, _ = socket.recv_fds(orders, 1, 5)
        if not wanted:
            return None
        if not (waiter := os.fork()):
            break
        for file in files:
            os.close(file)
        waiting.add(waiter)
        waiting -= {each for each in waiting if os.waitpid(each, os.WNOHANG)[0]}
    orders.close()
    told, order, *streams = files
    copy = os.fork()
    if copy:  # this one waits
        for file in (order, *streams):
            os.close(file)
        _tell(told, copy)
        _, status = os.waitpid(copy, 0)
        _tell(told, os.waitstatus_to_exitcode(status))
        os._exit(0)
    os.close(told)
    with os.fdopen(order, encoding="utf-8") as file:
        arguments, environment, directory, is_leader = json.load(file)
    if is_leader:
        os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    is_prompt = sys.stdout.isatty() or bool(environment.get("PYTHONUNBUFFERED"))
    sys.stdout.reconfigure(line_buffering=is_prompt)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    return arguments


def _tell(told: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody may want to know any more
        os.write(told, number.to_bytes(_NUMBER, sys.byteorder, signed=True))


def _run(arguments: list[str]) -> None:
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path.insert(0, str(Path(arguments[0]).parent))
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    for module in _PRELOADED:
        import_module(module)
    gc.freeze()  # what is shared stays shared
    if wanted := become_a_copy(socket.socket(fileno=int(sys.argv[1]))):
        _run(wanted)
