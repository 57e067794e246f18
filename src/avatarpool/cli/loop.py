"""The event loop of a command: uvloop where it is installed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


def run_in_loop(main: Coroutine[object, object, T]) -> T:
    """Run a command's coroutine to its end; Ctrl-C cancels it, a second one interrupts it."""
    factory = _loop_factory()
    try:
        with _interruptible(), asyncio.Runner(loop_factory=factory) as runner:
            runner.get_loop().set_exception_handler(_report)
            return runner.run(main)
    finally:
        main.close()  # interrupted before it began, it would be missed


@contextmanager
def _interruptible() -> Iterator[None]:
    # Of Python's own handler alone asyncio makes a cancellation.
    previous = signal.getsignal(signal.SIGINT)
    if previous is None or previous == signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # Of a TLS peer that hangs up, aiofastnet reports the error's class, on which logging
    # chokes; whoever connects gets the error itself.
    if not isinstance(context.get("exception"), type):
        loop.default_exception_handler(context)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    return uvloop.new_event_loop
