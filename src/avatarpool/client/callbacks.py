"""Calling what a session's user has given: whatever it raises goes no further than the log."""

from __future__ import annotations

import logging
from collections.abc import Callable

from avatarpool.untrusted import raised

log = logging.getLogger("avatarpool.session")


def call(callback: Callable[..., object] | None, *args: object) -> None:
    """Call a user's callback, if there is one."""
    if callback is None:
        return
    failure = raised(callback, *args)
    if failure is not None:
        name = getattr(callback, "__qualname__", callback)
        log.error("callback %r failed", name, exc_info=failure)
