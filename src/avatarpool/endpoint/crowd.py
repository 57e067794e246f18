"""How many connections there may be, and who gives way when there are more."""

from __future__ import annotations

import logging
import sys
from typing import Protocol

log = logging.getLogger("avatarpool.service")

_SPARE_FILES = 64  # that the process needs for all else, at the least


class Member(Protocol):
    """One connection; told by its identity."""

    def cut(self) -> None:
        """Cut it without a word."""

    def __hash__(self) -> int: ...


class Crowd:
    """The connections of a listener, no more than there may be.

    Whoever comes when it is full takes the place of the one that has waited longest without
    a whole request; if none does, there is no place.

    Args:
        max_connections: Of them; less where the process may open fewer files.
        share: Of those files, where there are other crowds in the process.
    """

    def __init__(self, max_connections: int, share: float = 1.0) -> None:
        self._max_connections = places(max_connections, share)
        self._idle: dict[Member, None] = {}  # in the order in which they began to wait
        self._busy: set[Member] = set()
        self._cut = 0  # since there was room

    def __len__(self) -> int:
        return len(self._idle) + len(self._busy)

    def came(self, connection: Member) -> bool:
        """Take a connection in; return whether there is a place for it."""
        if len(self) >= self._max_connections:
            self._note_cut()
            if not self._idle:
                return False
            longest = next(iter(self._idle))
            del self._idle[longest]
            longest.cut()
        self._idle[connection] = None
        return True

    def asked(self, connection: Member) -> None:
        """Note that a connection's request has come."""
        if connection in self._idle:
            del self._idle[connection]
            self._busy.add(connection)

    def answered(self, connection: Member) -> None:
        """Note that a connection waits for its next request."""
        if connection in self._busy:
            self._busy.remove(connection)
            self._idle[connection] = None

    def left(self, connection: Member) -> None:
        """Let a connection go."""
        self._idle.pop(connection, None)
        self._busy.discard(connection)
        if self._cut and len(self) <= self._max_connections * 3 // 4:
            log.warning("there is room for connections again; %d were cut for it", self._cut)
            self._cut = 0

    def cut(self) -> None:
        """Cut all that are there."""
        for connection in [*self._idle, *self._busy]:
            connection.cut()

    def _note_cut(self) -> None:
        if not self._cut:
            log.warning(
                "%d connections are open, the most that there may be: each new one is cut, or the "
                "one that has waited longest without a request",
                len(self),
            )
        self._cut += 1


def places(max_connections: int, share: float = 1.0) -> int:
    """Return how many connections a crowd has room for; the arguments are its own."""
    files = int(_open_files() * share)
    spared = min(files * 3 // 4, files - int(_SPARE_FILES * share))
    return max(1, min(max_connections, spared))


def _open_files() -> int:
    """Return how many files the process may have open."""
    try:
        import resource  # noqa: PLC0415
    except ImportError:  # Windows
        return sys.maxsize
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft
