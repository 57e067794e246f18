"""How many sessions there may be: the account's number, kept within one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from avatarpool.exceptions import ConfigurationError
from avatarpool.pool.arguments import uncountable

FULL_FOR = 30.0
"""Seconds for which the number of open sessions is taken for the budget, once the service
has refused one more; then one is tried."""


MOST_SESSIONS = 1_000_000
"""Sessions that a budget may have: more are a slip of the hand."""


class Budget(Protocol):
    """What a group asks of whoever knows how many sessions the account allows.

    Everything but `open` and `close` is answered at once, from what is known.
    """

    @property
    def sessions(self) -> int:
        """Sessions that the account allows, wherever they are open."""

    def resize(self, sessions: int) -> None:
        """Change the number of sessions; those beyond it go as they come free.

        Raises:
            ConfigurationError: That is no number of sessions.
        """

    async def open(self, wake: Callable[[], object]) -> None:
        """Take in a group; ``wake`` is called when there may be more, or must be fewer.

        Raises:
            ConfigurationError: The budget cannot work, or has a group already.
        """

    async def close(self) -> None:
        """Let the group go; its sessions are closed."""

    def may_open(self, now: float) -> int:
        """Return how many sessions the group may have when it opens one."""

    def may_keep(self, now: float) -> int:
        """Return the number of sessions beyond which the group gives some up."""

    def declare(self, used: int, wanted: int, idle: int) -> None:
        """Learn what the group has now, after each change and each second.

        Args:
            used: Sessions that it has, those on their way in or out included.
            wanted: Sessions that it could do with in all.
            idle: ... of which nobody needs now, if somebody elsewhere does.
        """

    def filled(self, used: int, now: float) -> None:
        """Learn that the service refused one more session than the group has."""

    def opened(self, now: float) -> None:
        """Learn that the service let one in."""


class LocalBudget:
    """A number of sessions for one group, in one process.

    Args:
        sessions: Sessions that the account allows.

    Attributes:
        ceiling: What the service was found to allow.

    Raises:
        ConfigurationError: That is no number of sessions.
    """

    def __init__(self, sessions: int) -> None:
        self.ceiling = Ceiling()
        self._wake: Callable[[], object] | None = None
        self.resize(sessions)

    def __repr__(self) -> str:
        return f"<LocalBudget {self.sessions} sessions>"

    def resize(self, sessions: int) -> None:
        check_sessions(sessions)
        self.sessions = sessions
        if self._wake is not None:
            self._wake()

    async def open(self, wake: Callable[[], object]) -> None:
        if self._wake is not None:
            raise ConfigurationError(
                "budget cannot be shared",
                ["it has a group already: one group has any number of keys"],
            )
        self._wake = wake

    async def close(self) -> None:
        self._wake = None

    def may_open(self, now: float) -> int:
        return self.ceiling.below(self.sessions, now)

    def may_keep(self, now: float) -> int:
        del now
        return self.sessions

    def declare(self, used: int, wanted: int, idle: int) -> None:
        pass  # nobody else could do with them

    def filled(self, used: int, now: float) -> None:
        self.ceiling.hit(used, now)

    def opened(self, now: float) -> None:
        self.ceiling.passed(now)


class Ceiling:
    """What the service was found to allow, while that is less than the budget. Pure.

    Attributes:
        seconds: For how long that is believed; then one more is tried.
    """

    def __init__(self) -> None:
        self.seconds = FULL_FOR
        self._height: int | None = None
        self._until = 0.0

    def hit(self, used: int, now: float) -> None:
        """One more session than these was refused."""
        self._height = used
        self._until = now + self.seconds

    def passed(self, now: float) -> None:
        """A session was let in: if that was the one that was tried, all is well again."""
        if now >= self._until:
            self._height = None

    def below(self, sessions: int, now: float) -> int:
        """Return how many sessions may be open."""
        if self._height is None:
            return sessions
        return min(sessions, self._height + (now >= self._until))


def check_sessions(sessions: int) -> None:
    """Raise `ConfigurationError` for what is no number of sessions."""
    problems = uncountable(sessions=sessions)
    if not problems and sessions < 1:
        problems = [f"sessions {sessions} is not at least 1"]
    elif not problems and sessions > MOST_SESSIONS:
        problems = [f"sessions {sessions:.4g} is more than {MOST_SESSIONS}"]
    if problems:
        raise ConfigurationError("budget cannot work", problems)
