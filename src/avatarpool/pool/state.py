"""What the pool decides: pure, synchronous, without I/O and without a clock.

Every event is one method; what it decides is in the phases of the members it
touched, in the waiters it served, and in `to_close`. Whatever leaves something to
close or to open wakes whoever acts on that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from math import inf
from typing import Any, Generic, Protocol, TypeVar

from avatarpool.exceptions import ConfigurationError, TooManyRequests
from avatarpool.pool.arguments import out_of_bounds, uncountable
from avatarpool.pool.queue import FairQueue


class Phase(Enum):
    """Where a member of the pool stands."""

    IDLE = auto()
    LENT = auto()
    DRAINING = auto()  # returned, but its request is not known to be over
    OUT = auto()  # closed, lost or about to be closed: never lent again


# Looked up once: on Python 3.11 an enum's member costs a call, and each borrow takes several.
IDLE, LENT, DRAINING, OUT = Phase

GIVEN_UP = "another pool needs its place"
"""Why a member goes whose pool shares its sessions with others."""

NO_LONGER_OPEN = "no longer open"
"""Why a member goes that has ended, or is about to."""


class Member:
    """One connection as the state sees it.

    Attributes:
        phase: Where it stands.
        opened_at: When it joined, on the event loop's clock.
        renew_at: When its successor should be opened.
        retire_at: When it is too old to be lent.
        since: When it entered its phase.
        drains_until: When it is replaced unless its request has ended.
        is_aging: Whether its successor is due.
        is_playing: Whether a room still plays what it was sent: its age is no reason to go.
        why: Why it was retired, or is to be once it comes back.
    """

    __slots__ = (
        "drains_until",
        "is_aging",
        "is_playing",
        "opened_at",
        "phase",
        "renew_at",
        "retire_at",
        "since",
        "why",
    )

    def __init__(self, opened_at: float, retire_at: float, renew_at: float | None = None) -> None:
        self.phase = OUT
        self.opened_at = opened_at
        self.renew_at = retire_at if renew_at is None else renew_at
        self.retire_at = retire_at
        self.since = opened_at
        self.drains_until = inf
        self.is_aging = False
        self.is_playing = False
        self.why = ""

    @property
    def is_ending(self) -> bool:
        """Whether its end is known to be near: it is of no use to a borrower."""
        return False


M = TypeVar("M", bound=Member)
M_contra = TypeVar("M_contra", bound=Member, contravariant=True)


class Waiter(Protocol[M_contra]):
    """A borrower in the queue, for ``timeout`` seconds."""

    timeout: float

    def hand_over(self, member: M_contra) -> bool:
        """Take the member; False: the borrower is gone, try the next one."""

    def fail(self, error: Exception) -> None:
        """Learn that no connection will come."""


W = TypeVar("W", bound=Waiter[Any])


class PoolState(Generic[M, W]):
    """The members, the queue of waiters and every decision about them.

    Idle members are lent first in, first out, which spreads the use; waiters
    are served first come, first served, but for their priority. While anyone
    waits nothing is idle. A member that grows old is used until its successor
    has joined; for that time there may be more members than ``max_size``.

    Args:
        name: The pool's, for its messages.
        min_size: Members to keep, if the service lets us.
        max_size: Members to grow to while borrowers wait.
        max_waiting: Borrowers that may wait; 0 for any number.
        max_idle: Seconds after which an idle member beyond ``min_size`` goes.
        quarantine_timeout: Seconds that a member may drain in silence.

    Attributes:
        wake: Called after a decision that leaves something to close or to open, at once;
            set by whoever acts on it.
        is_claimed: Whether a member that is free must make room for another pool's; asked
            only of a pool that shares its sessions with others.
    """

    def __init__(
        self,
        name: str = "",
        *,
        min_size: int,
        max_size: int,
        max_waiting: int,
        max_idle: float,
        quarantine_timeout: float,
    ) -> None:
        self.name = name
        self.wake: Callable[[], object] = _wake_nobody
        self.is_claimed: Callable[[M], bool] | None = None
        self._decisions = 0  # under way, that are one with others
        self.max_waiting = max_waiting
        self.max_idle = max_idle
        self.quarantine_timeout = quarantine_timeout
        self.is_closed = False
        self.opening = 0  # connections being opened, not members yet
        self.closing = 0  # connections being closed, not members any more
        self.members: dict[M, None] = {}  # a set that keeps the order of arrival
        self.to_close: list[M] = []
        self._aging = 0  # members whose successors are due
        self.idle_members: deque[M] = deque()
        self.draining_members: dict[M, None] = {}
        self._waiters: FairQueue[W] = FairQueue()
        self.resize(min_size, max_size)

    # --- what one may ask ------------------------------------------------------------

    @property
    def idle(self) -> int:
        """Members ready to be lent."""
        return len(self.idle_members)

    @property
    def waiting(self) -> int:
        """Borrowers in the queue."""
        return len(self._waiters)

    @property
    def used(self) -> int:
        """Sessions that the service may count: open ones, and those on their way in or out."""
        return len(self.members) + self.opening + self.closing + len(self.to_close)

    @property
    def unserved(self) -> int:
        """Borrowers in the queue whom no connection that is being opened will serve."""
        return max(0, len(self._waiters) - self.opening)

    @property
    def next_turn(self) -> float:
        """The turn of the borrower who is next: when it came, less what its priority counts."""
        return self._waiters.next_turn

    def count(self, phase: Phase) -> int:
        """Members in a phase."""
        # A copy: metrics are read by other threads while members come and go.
        return sum(member.phase is phase for member in list(self.members))

    @property
    def missing(self) -> int:
        """Connections to open now, beyond those being opened."""
        if self.is_closed:
            return 0
        have = len(self.members) - self._aging + self.opening
        # One for each waiter that no opening connection will serve yet.
        wanted = max(self.min_size - have, self.unserved)
        return max(0, min(wanted, self.max_size - have))

    @property
    def has_room(self) -> bool:
        """Whether the pool may grow."""
        return len(self.members) - self._aging + self.opening < self.max_size

    # --- borrowing ---------------------------------------------------------------------

    def lend(self, now: float) -> M | None:
        """Take the longest idle member; None: wait for one."""
        lent = None
        idle = self.idle_members
        while idle:
            member = idle.popleft()
            if member.retire_at > now and not member.is_ending:
                member.phase = LENT
                member.since = now
                lent = member
                break
            self._let_go(member, "too old" if member.retire_at <= now else NO_LONGER_OPEN)
        if self.to_close:
            self._changed()
        return lent

    def take_out(self, member: M, now: float) -> bool:
        """Keep an idle member from borrowers, until it is recycled; False: it is not idle."""
        if member.phase is not IDLE:
            return False
        self.idle_members.remove(member)
        member.phase = LENT
        member.since = now
        return True

    def enqueue(self, waiter: W, now: float, priority: float = 0.0, timeout: float = inf) -> None:
        """Put a borrower into the queue, for so many seconds.

        Raises:
            TooManyRequests: ``max_waiting`` borrowers wait already.
        """
        if self.max_waiting and len(self._waiters) >= self.max_waiting:
            raise TooManyRequests(
                f"pool {self.name!r} has {len(self._waiters)} borrowers waiting already, "
                f"and max_waiting is {self.max_waiting}"
            )
        self._waiters.push(waiter, now, priority, timeout)
        if self.has_room:
            self._changed()  # one more borrower may be a reason to grow

    @property
    def next_deadline(self) -> float:
        """When the first borrower in the queue runs out of time."""
        return self._waiters.next_deadline

    def overdue(self, now: float) -> list[W]:
        """Take those out of the queue whose time is over."""
        return self._waiters.overdue(now)

    def waiters(self) -> Iterable[W]:
        """Those in the queue, in the order they came."""
        return self._waiters.present

    def leave(self, waiter: W) -> None:
        """Take a borrower out of the queue; harmless if it is not there."""
        self._waiters.discard(waiter)

    def fail_waiters(self, error: Exception) -> None:
        """Send every waiter away."""
        while self._waiters:
            self._waiters.pop().fail(error)

    # --- members come and go -----------------------------------------------------------

    def join(self, member: M, now: float) -> None:
        """Take in a connection that has just opened."""
        with self.together():
            self.members[member] = None
            self.recycle(member, now)
            self._retire_succeeded()

    def welcome(self, member: M, now: float) -> None:
        """Take in a connection that has just opened, if it is still of use.

        One that was opened for borrowers who were served meanwhile goes at once: a
        spike of short borrows is no reason to hold more sessions for `max_idle`. The
        only one stays: who waits for less than an opening takes would never have any.
        """
        if self._waiters or len(self.members) - self._aging < max(self.min_size, 1):
            self.join(member, now)
        else:
            member.why = "nobody waits for it any more"
            self.to_close.append(member)
            self._changed()

    def recycle(self, member: M, now: float) -> None:
        """A clean member is free: hand it to the next waiter, or keep it idle."""
        if self.is_closed:
            self.retire(member, "the pool closes")
            return
        if member.retire_at <= now and (self._waiters or not member.is_playing):
            self.retire(member, "too old")
            return
        may_go = member.is_aging or len(self.members) > self.max_size
        if may_go and self._is_surplus(member):
            self.retire(member, "one too many")
            return
        if self.is_claimed is not None and self.is_claimed(member):
            self.retire(member, GIVEN_UP)
            return
        member.since = now
        if member.phase is DRAINING:
            del self.draining_members[member]
        waiters = self._waiters
        while waiters.present:
            member.phase = LENT
            if waiters.pop().hand_over(member):
                return
        member.phase = IDLE
        self.idle_members.append(member)

    def quarantine(self, member: M, now: float) -> bool:
        """A member came back with its request not over: keep it from everybody.

        False: there is no time for that any more, and it was retired.
        """
        if self.is_closed:
            self.retire(member, "the pool closes")
            return False
        member.phase = DRAINING
        member.since = now
        member.drains_until = now + self.quarantine_timeout
        self.draining_members[member] = None
        return True

    def retire(self, member: M, why: str) -> None:
        """Let a member go and have it closed."""
        if self._let_go(member, why):
            self._changed()

    def lose(self, member: M) -> bool:
        """A member's connection died; False: it was not ours any more."""
        was_ours = self._remove(member)
        if was_ours:
            self._changed()
        return was_ours

    def sweep(self, now: float) -> None:
        """Retire what is too old or too long idle, or did not drain in time."""
        with self.together():
            self._sweep(now)

    def _sweep(self, now: float) -> None:
        self.sweep_draining(now)
        spare = len(self.members) - self.min_size
        for member in list(self.members):
            if member.renew_at <= now and not member.is_aging:
                member.is_aging = True
                self._aging += 1
            if member.phase is IDLE and not member.is_playing:
                is_spare = spare > 0 and now - member.since >= self.max_idle
                if is_spare or member.retire_at <= now:
                    self.retire(member, "idle for long" if is_spare else "too old")
                    spare -= 1

    def sweep_draining(self, now: float) -> None:
        """Retire what did not drain in time."""
        with self.together():
            for member in list(self.draining_members):
                if now >= member.drains_until:
                    self.retire(member, "its request did not end")

    def expire(self, now: float) -> None:
        """Make every member too old: idle ones go now, lent ones on their return."""
        for member in self.members:
            member.retire_at = min(member.retire_at, now)
        self.sweep(now)

    def resize(self, min_size: int, max_size: int) -> None:
        """Set the bounds.

        Raises:
            ConfigurationError: They are no bounds.
        """
        problems = uncountable(min_size=min_size, max_size=max_size)
        problems = problems or out_of_bounds(min_size, max_size)
        if problems:
            raise ConfigurationError("the pool's size cannot work", problems)
        self.min_size = min_size
        self.max_size = max_size
        self._changed()

    def shrink(self) -> None:
        """Retire idle members beyond ``max_size``, the longest idle first."""
        with self.together():
            while self.idle_members and len(self.members) > self.max_size:
                self.retire(self.idle_members[0], "one too many")

    def close(self, error: Exception) -> None:
        """Send waiters away and retire all that is not lent; nothing is lent again."""
        with self.together():
            self.is_closed = True
            self.fail_waiters(error)
            for member in list(self.members):
                if member.phase is not LENT:
                    self.retire(member, "the pool closes")

    # --- whoever acts on it ------------------------------------------------------------

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make one of several decisions, and of what else belongs to them: one wake after all."""
        self._decisions += 1
        try:
            yield
        finally:
            self._decisions -= 1
            self._changed()

    def _changed(self) -> None:
        if not self._decisions:
            self.wake()

    def _is_surplus(self, member: M) -> bool:
        """Whether there is one too many, or this one's successor is there."""
        fresh = len(self.members) - self._aging
        return fresh > self.max_size or (member.is_aging and fresh >= self.min_size)

    def _retire_succeeded(self) -> None:
        """Retire idle members whose successors have joined, the longest idle first."""
        for member in list(self.idle_members):
            if member.is_aging and self._is_surplus(member):
                self.retire(member, "succeeded")

    def _let_go(self, member: M, why: str) -> bool:
        if not self._remove(member):
            return False
        member.why = why
        self.to_close.append(member)
        return True

    def _remove(self, member: M) -> bool:
        if member not in self.members:
            return False
        del self.members[member]
        self._aging -= member.is_aging
        if member.phase is IDLE and member in self.idle_members:
            self.idle_members.remove(member)
        self.draining_members.pop(member, None)
        member.phase = OUT
        return True


def _wake_nobody() -> None:
    """Nobody acts on the state yet."""
