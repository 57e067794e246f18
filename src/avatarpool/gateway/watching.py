"""Follows a group of pools, and tells how it stands. Pure, but for the clock it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from heapq import nlargest
from itertools import chain, islice
from typing import Protocol

from avatarpool.fleet.stats import GroupStats
from avatarpool.gateway.advice import advise
from avatarpool.gateway.snapshot import (
    BudgetShown,
    ClientShown,
    FailureShown,
    History,
    Queue,
    Series,
    SessionShown,
    Snapshot,
    States,
)
from avatarpool.gateway.windows import SLICE_SECONDS, SLICES, Durations, Recent, Slice
from avatarpool.pool.events import PoolEvent
from avatarpool.pool.events import PoolEventKind as Kind
from avatarpool.untrusted import hidden

MOST_SHOWN = 200
"""Sessions, and clients, that are listed."""

MOST_FAILURES = 50
"""Failures that are remembered, those that read alike being one."""

_LONGEST_CAUSE = 200  # characters
_LONGEST_NAME = 100  # ... of a key or a client

TURN_SECONDS: ContextVar[float] = ContextVar("turn_seconds", default=0.0)
"""Seconds for which the request that runs in this context has waited for its turn: set before
it borrows a session, they count towards its wait (the pool tells of that in the same context)."""


class Group(Protocol):
    """What is asked of an `AvatarPoolGroup`."""

    name: str

    def get_stats(self) -> GroupStats:
        """Return its numbers."""


class Standing(Protocol):
    """What is asked of a client of the gateway."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def running(self) -> int:
        """Requests that have had their turn, and are not over."""

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""

    @property
    def requests(self) -> int:
        """Requests that it began, ever."""

    @property
    def refused(self) -> Mapping[str, int]:
        """Those that were refused or failed, by the reason's name."""

    @property
    def audio_seconds(self) -> float:
        """Audio that was animated for it, ever."""


class Watching:
    """Remembers the last five minutes of a group, in memory of a fixed size.

    ::

        watching = Watching(loop.time)
        group.add_listener(watching.heard)
        watching.snapshot(group, clients)

    Args:
        clock: Gives the seconds now; wherever it begins, it never goes back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._recent = Recent(clock())
        # By what they read: how many, and when the latest was. The oldest is the first.
        self._failures: dict[tuple[str, str, str], tuple[int, float]] = {}

    def heard(self, event: PoolEvent) -> None:
        """Learn of an event of any pool of the group: its listener."""
        now = self._recent.at(self._clock())
        match event.kind:
            case Kind.LENT:
                now.arrivals += 1
                now.wait.add(TURN_SECONDS.get() + event.seconds)
            case Kind.NOT_LENT:
                now.arrivals += 1
                now.wait.add(TURN_SECONDS.get() + event.seconds)
                self._failed("not lent", event.pool, event.error)
            case Kind.RETURNED:
                now.usage.add(event.seconds)
            case Kind.FIRST_FRAME:
                now.first_frame.add(event.seconds)
            case Kind.REQUEST_ENDED:
                now.duration.add(event.seconds)
                self._failed("request failed", event.pool, event.error)
            case Kind.LOST:
                self._remember("session lost", event.pool, event.reason)
            case Kind.REFUSED:
                self._remember("opening refused", event.pool, event.reason)

    def turned_away(self, client: str, cause: str, waited: float = 0.0) -> None:
        """Learn of a request that got no turn: it waited too long, or there was no room to.

        It counts as one that came, for which there were too few sessions.

        Args:
            client: Whose it was.
            cause: One sentence.
            waited: Seconds that it waited.
        """
        now = self._recent.at(self._clock())
        now.arrivals += 1
        now.wait.add(waited)
        self._remember("turned away", client, cause)

    def snapshot(
        self, group: Group, clients: Iterable[Standing], *, is_paused: bool = False
    ) -> Snapshot:
        """Tell how the group and its clients stand, and of the last five minutes.

        Args:
            group: Whose events are heard.
            clients: All of them.
            is_paused: Whether somebody paused the gateway.
        """
        now = self._clock()
        stats = group.get_stats()
        slices = self._recent.each(now)
        seconds = self._recent.seconds(now)
        traffic = Slice(slices)
        standings = list(clients)
        queue = Queue(
            turns=sum(client.waiting for client in standings),
            sessions=stats["total"]["requests_waiting"],
        )
        held = sum(
            each["state"] == "lent" and each["state_seconds"] > seconds
            for each in stats["total"]["connections"]
        )
        return Snapshot(
            is_paused=is_paused,
            budget=BudgetShown(sessions=stats["budget"], used=stats["used"]),
            states=_states(stats),
            sessions=_sessions(stats),
            running=sum(client.running for client in standings),
            queue=queue,
            window_seconds=round(seconds, 1),
            arrivals=traffic.arrivals,
            wait_ms=traffic.wait.summary(),
            first_frame_ms=traffic.first_frame.summary(),
            duration_ms=traffic.duration.summary(),
            history=_history(slices),
            clients_total=len(standings),
            clients=_clients(standings),
            failures=self._failures_shown(now, f"{group.name}/"),
            advice=advise(
                traffic,
                seconds,
                stats["budget"],
                waiting=queue["turns"] + queue["sessions"],
                held=held,
            ),
        )

    def _failed(self, kind: str, where: str, error: BaseException | None) -> None:
        """Remember what failed, unless nothing did or somebody only left."""
        if isinstance(error, Exception):  # CancelledError is none
            self._remember(kind, where, str(error) or type(error).__name__)

    def _remember(self, kind: str, where: str, cause: str) -> None:
        now = self._clock()
        self._recent.at(now).failures += 1
        what = (kind, _cut(where, 2 * _LONGEST_NAME), _cut(hidden(cause), _LONGEST_CAUSE))
        count, _ = self._failures.pop(what, (0, 0.0))
        self._failures[what] = (count + 1, now)
        if len(self._failures) > MOST_FAILURES:
            del self._failures[next(iter(self._failures))]

    def _failures_shown(self, now: float, group: str) -> list[FailureShown]:
        window = SLICE_SECONDS * SLICES
        self._failures = {
            what: (count, at) for what, (count, at) in self._failures.items() if at > now - window
        }
        return [
            FailureShown(
                kind=kind,
                where=_cut(where.removeprefix(group), _LONGEST_NAME),
                cause=cause,
                count=count,
                seconds_ago=round(now - at, 1),
            )
            for (kind, where, cause), (count, at) in reversed(self._failures.items())
        ]


def _states(stats: GroupStats) -> States:
    total = stats["total"]
    return States(
        idle=total["available_connections"],
        lent=total["connections_lent"],
        draining=total["connections_draining"],
        opening=total["connections_opening"],
    )


def _sessions(stats: GroupStats) -> list[SessionShown]:
    """List the open sessions, the oldest first, and then those that are being opened."""
    opened = [
        (connection, key)
        for key, pool in stats["keys"].items()
        for connection in pool["connections"]
    ]
    opened.sort(key=lambda each: -each[0]["age_seconds"])
    shown = (
        SessionShown(
            key=_cut(key, _LONGEST_NAME),
            connection_id=_cut(connection["connection_id"], _LONGEST_NAME),
            state=connection["state"],
            state_seconds=round(connection["state_seconds"], 1),
            age_seconds=round(connection["age_seconds"], 1),
            requests=connection["request_count"],
        )
        for connection, key in opened
    )
    opening = (
        SessionShown(
            key=_cut(key, _LONGEST_NAME),
            connection_id="",
            state="opening",
            state_seconds=None,
            age_seconds=None,
            requests=0,
        )
        for key, pool in stats["keys"].items()
        for _ in range(pool["connections_opening"])
    )
    return list(islice(chain(shown, opening), MOST_SHOWN))


def _clients(clients: list[Standing]) -> list[ClientShown]:
    """List the clients by their names; of too many, those that have asked for the most."""
    most = nlargest(MOST_SHOWN, clients, key=lambda client: client.requests)
    return [
        ClientShown(
            name=_cut(client.name, _LONGEST_NAME),
            running=client.running,
            waiting=client.waiting,
            requests=client.requests,
            refused=dict(client.refused),
            audio_seconds=round(client.audio_seconds, 1),
        )
        for client in sorted(most, key=lambda client: client.name)
    ]


def _history(slices: list[Slice]) -> History:
    return History(
        slice_seconds=SLICE_SECONDS,
        wait_ms=_series([each.wait for each in slices]),
        first_frame_ms=_series([each.first_frame for each in slices]),
        arrivals=[each.arrivals for each in slices],
        failures=[each.failures for each in slices],
    )


def _series(each: list[Durations]) -> Series:
    told = [durations.percentiles(50, 95) if durations.count else None for durations in each]
    return Series(
        p50=[round(1000 * p[0], 1) if p else None for p in told],
        p95=[round(1000 * p[1], 1) if p else None for p in told],
    )


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
