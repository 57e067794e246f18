"""One holder's part of the sessions that an account allows, leased for a time. Pure.

A holder is a process's group. What it has leased it may open sessions under, until the lease
runs out by its own clock, which it does before it does by the store's: the holder counts from
before it asked. Leases are alike: the group counts its sessions, and has no more of them than
leases when it opens one. A lease is given back only when the group has said, in that moment,
that it has no session for it; what was asked for and never answered is asked for again by the
same id, or given back.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from enum import Enum
from math import inf

POLL = 1.0
"""Seconds between calls of who waits: the store's messages may be lost."""

_APART = 0.02  # seconds between calls at least: what happens meanwhile goes together
_GROWING = 0.25  # ... of who waits, and could do with more than it said
_PAUSES = (0.1, 1.0)  # seconds before the first call after one that failed, and at most


class Notice(str, Enum):
    """What a call tells beside the numbers."""

    FILLED = "filled"  # the service refused one more session
    OPENED = "opened"  # it let one in
    LEAVE = "leave"
    INIT = "init"  # nobody has sessions open that the store does not know


@dataclass(frozen=True, slots=True)
class Call:
    """What a holder says to the store at one time.

    Attributes:
        sent_at: When.
        used: Sessions that it has.
        need: Sessions that it could do with in all, idle ones not counted.
        released: Leases given back.
        renewed: Leases to have for longer.
        rented: Leases to get.
        resize: The number of sessions that the account allows from now on, if it changes.
        notice: What else there is to tell.
    """

    sent_at: float = 0.0
    used: int = 0
    need: int = 0
    released: tuple[str, ...] = ()
    renewed: tuple[str, ...] = ()
    rented: tuple[str, ...] = ()
    resize: int | None = None
    notice: Notice | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the store says to that.

    Attributes:
        sessions: Sessions that the account allows.
        may_keep: Leases that the holder may keep, where it must make room; None for all.
        closed_for: Seconds for which nobody gets new leases, since the store may not know
            all that there are.
        is_trying: Whether one of the leases is beyond what the service was found to allow.
        lapsed: Leases that were not renewed: they had run out, and there was no room.
        refused: Leases that were not to be had.
    """

    sessions: int
    may_keep: int | None = None
    closed_for: float = 0.0
    is_trying: bool = False
    lapsed: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()


class Leases:
    """What one holder has leased, and what it says to the store next.

    Args:
        holder: Its name; no other has it.
        lease_ttl: Seconds that a lease lasts.
        sessions: Sessions that the account allows, until the store says.
    """

    def __init__(self, holder: str, lease_ttl: float, sessions: int) -> None:
        self.holder = holder
        self.sessions = sessions
        self.lapsed = 0  # leases lost so far, that their sessions outlived
        self.is_closed = False  # whether nobody gets new leases now
        self._ttl = lease_ttl
        self._numbers = itertools.count(1)
        self._held: dict[str, float] = {}  # ids, and until when sessions may be opened under them
        self._asked: dict[str, None] = {}  # ids that were asked for, and not answered
        self._parting: dict[str, float] = {}  # ids given back, and until when they may be there
        self._used = self._wanted = self._idle = 0
        self._told = 0  # what was wanted at most, in what was told since it waits
        self._may_keep: int | None = None
        self._is_trying = False
        self._resize: int | None = None
        self._notice: Notice | None = None
        self._renew_at = 0.0
        self._poll_at = 0.0
        self._not_before = 0.0
        self._pause = 0.0
        self._called_at = -inf
        self._is_called = False  # by a message

    def __repr__(self) -> str:
        return f"<Leases {len(self._held)} held, {len(self._asked)} asked for>"

    # --- what the group may do --------------------------------------------------------------

    @property
    def held(self) -> int:
        """Leases that it has, run out by its own clock or not."""
        return len(self._held)

    def may_open(self, now: float) -> int:
        """Return how many sessions there may be when one is opened."""
        valid = sum(until > now for until in self._held.values())
        return valid if self._may_keep is None else min(valid, self._may_keep)

    def may_keep(self) -> int:
        """Return how many sessions there may be at all."""
        return self.held if self._may_keep is None else min(self.held, self._may_keep)

    # --- what the group says ----------------------------------------------------------------

    def declare(self, used: int, wanted: int, idle: int, now: float) -> None:
        """Learn what the group has now, could do with, and can do without; give back the rest."""
        self._used, self._wanted, self._idle = used, min(wanted, self.sessions), idle
        keep = max(used, min(self._wanted, self.may_keep()))
        while len(self._held) > keep:
            self._part(self._held.popitem()[0], now)

    def filled(self, used: int, now: float) -> None:
        """Learn that the service refused one more session than the group has."""
        self.declare(used, used, 0, now)  # what no session is for is given back
        self._may_keep = min(used, self.may_keep())  # until the store has heard of it
        self._notice = Notice.FILLED

    def opened(self) -> None:
        """Learn that the service let one in."""
        if self._is_trying and self._notice is None:
            self._notice = Notice.OPENED

    def resize(self, sessions: int) -> None:
        """Change the number of sessions, for all."""
        self.sessions = self._resize = sessions

    def heard(self) -> None:
        """Learn that a call is worth while, from a message."""
        self._is_called = True

    # --- what is said to the store ----------------------------------------------------------

    def due(self) -> float:
        """Return when to call the store."""
        at = self._renew_at
        if self._missing or self._may_keep is not None:
            at = min(at, self._poll_at)
            if self._missing > self._told:
                at = min(at, self._called_at + _GROWING)
        if self._is_called or self._parting or self._notice or self._resize:
            at = 0.0
        return max(at, self._not_before)

    @property
    def _missing(self) -> int:
        return max(len(self._asked), self._wanted - len(self._held))

    def call(self, now: float) -> Call:
        """Return what to say now; `answered` or `failed` must follow."""
        wanted = 0 if self._may_keep is not None else max(0, self._wanted - len(self._held))
        for id_ in list(self._asked)[wanted:]:
            del self._asked[id_]
            self._part(id_, now)
        while len(self._asked) < wanted:
            self._asked[f"{self.holder}/{next(self._numbers)}"] = None
        self._parting = {id_: until for id_, until in self._parting.items() if until > now}
        self._told = max(self._told, self._missing)
        self._called_at = now
        self._not_before = now + _APART
        self._is_called = False
        return Call(
            sent_at=now,
            used=self._used,
            need=max(0, self._wanted - self._idle),
            released=tuple(self._parting),
            renewed=tuple(self._held) if now >= self._renew_at else (),
            rented=tuple(self._asked),
            resize=self._resize,
            notice=self._notice,
        )

    def last_call(self, now: float) -> Call:
        """Return what to say when the group is closed: everything is given back, once."""
        for id_ in [*self._held, *self._asked]:
            self._part(id_, now)
        self._held.clear()
        self._asked.clear()
        return Call(sent_at=now, released=tuple(self._parting), notice=Notice.LEAVE)

    def answered(self, call: Call, answer: Answer, now: float) -> bool:
        """Take in what the store said; return whether the group should look at it."""
        before = (self.held, self._may_keep, self.sessions)
        self._account_for(call, answer)
        if call.sent_at >= self._renew_at:
            self._renew_at = call.sent_at + self._ttl / 3.0
        if self._notice is call.notice:
            self._notice = None
        if self._resize == call.resize:
            self._resize = None
            self.sessions = answer.sessions
        if self._notice is not Notice.FILLED:
            self._may_keep = answer.may_keep
        self._is_trying = answer.is_trying
        self.is_closed = answer.closed_for > 0.0
        self._pause = 0.0
        if answer.refused or answer.may_keep is not None:
            self._poll_at = now + min(POLL, answer.closed_for or POLL)
        else:
            self._poll_at = 0.0
            self._told = 0
        return before != (self.held, self._may_keep, self.sessions)

    def _account_for(self, call: Call, answer: Answer) -> None:
        """Note what has become of each lease."""
        until = call.sent_at + self._ttl
        for id_ in call.released:
            self._parting.pop(id_, None)
        for id_ in call.renewed:
            if id_ not in self._held:
                continue
            if id_ in answer.lapsed:
                del self._held[id_]
                self.lapsed += 1
            elif not (answer.closed_for and self._held[id_] <= call.sent_at):
                # One that had run out may be another's by now, whom the store does not
                # know as long as it is closed: its session goes on, and none is opened.
                self._held[id_] = until
        for id_ in call.rented:
            del self._asked[id_]
            if id_ not in answer.refused:
                self._held[id_] = until

    def failed(self, now: float) -> float:
        """Learn that a call was not answered; return for how long there is none."""
        first, most = _PAUSES
        self._pause = min(most, self._pause * 2.0 or first)
        self._renew_at = 0.0  # who was away may have lost what it knew
        if self._notice is not Notice.FILLED:
            self._may_keep = None  # nobody else gets what is given up now
        self._not_before = now + self._pause
        return self._pause

    def _part(self, id_: str, now: float) -> None:
        # Renewed last by a call that was sent before now.
        self._parting[id_] = now + self._ttl
