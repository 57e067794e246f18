"""A thousand barge-ins on three sessions: what does a service's manner of stopping cost?

``python tests/faults/barge_in.py`` has 1,000 for each of five manners, and half-open
peers, and prints a table; then the same with an official SDK's sessions, a twentieth as
often. A number as its argument makes it as many. It takes some four minutes, as a
service that stops in silence is given 0.3 s each time.

Guests talk with the sessions and leave them in the middle, each in another way. Marks
in the audio tell whose a frame is. Somebody waits all the time, and a session that comes
back clean is lent on at once: so what the next borrower waits beyond undisturbed is the
time from a return to the next loan of the same session.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from statistics import median

if __name__ == "__main__":
    tests = Path(__file__).resolve().parents[1]
    sys.path[:0] = [str(tests), str(tests / "pool")]

from echo import marked_audio, marks
from faults.laboratory import port_of
from faults.peers import served
from faults.proxy import Link, Proxy
from faults.speaker import FIRST_FRAME, STEP, Manner, Speaker

from avatarpool import AvatarConnectionPool, PooledConnection
from avatarpool.pool.events import PoolEvent, PoolEventKind

SIZE = 3
GUESTS = 9
FRAMES = 16
TURN = FIRST_FRAME + FRAMES * STEP
"""Seconds that an answer takes."""

LATENCY = 0.005
"""Seconds that each way takes, so that things cross on it."""

PATIENCE = 20.0
"""Seconds that must never pass."""


HEADING = """\
| an interrupt is answered by | barge-ins | sessions lost | frames mixed | others failed | \
wait, p50 | wait, longest |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |"""


@dataclass
class Outcome:
    """What came of the barge-ins at one kind of service.

    Attributes:
        barge_ins: Requests that were left before their last frame.
        lost: Sessions that the pool replaced.
        mixed: Frames that were given to another request.
        failed: Why requests failed that nobody had left.
        waits: Seconds from each return to the session's next loan, or to that of its
            successor; where frames flow on, from the last of them.
    """

    barge_ins: int = 0
    lost: int = 0
    mixed: int = 0
    failed: list[BaseException] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    def row(self, what: str) -> str:
        """Return its line of the table."""
        p50, longest = median(self.waits), max(self.waits)
        numbers = f"{self.barge_ins:,} | {self.lost} | {self.mixed} | {len(self.failed)}"
        return f"| {what} | {numbers} | {p50:.2f} s | {longest:.2f} s |"


@asynccontextmanager
async def talks(manner: Manner, *, size: int = SIZE, **options: object) -> AsyncIterator[Talks]:
    """Give a pool in front of a service, the way between them taking its time."""
    async with served(Speaker(manner=manner)) as peer, Proxy(port_of(peer.url)) as way:
        way.on_link = _take_time

        def config_factory() -> dict[str, object]:  # what the official SDKs know, too
            config = peer.config_factory()
            names = ("avatar_id", "api_key", "app_id", "console_endpoint_url")
            given: dict[str, object] = {name: getattr(config, name) for name in names}
            given["ingress_endpoint_url"] = f"http://127.0.0.1:{way.port}"
            return given

        try:
            async with AvatarConnectionPool(
                size, config_factory, session_ttl_minutes=60, timeout=PATIENCE, **options
            ) as pool:
                yield Talks(peer, way, pool)
        finally:
            way.cut()


def _take_time(link: Link) -> None:
    link.up.delay = link.down.delay = LATENCY


class Talks:
    """Guests that talk with the sessions of a pool.

    Args:
        peer: The service.
        way: What is between it and the pool.
        pool: The pool.
    """

    def __init__(self, peer: Speaker, way: Proxy, pool: AvatarConnectionPool) -> None:
        self.peer = peer
        self.way = way
        self.pool = pool
        self.outcome = Outcome()
        self._marks = count(1)
        self._left_at: dict[str, float] = {}  # since when sessions are in quarantine
        self._lost_at: deque[float] = deque()  # ... those that did not come back
        self._loop = asyncio.get_running_loop()
        pool.add_listener(self._follow)

    def _follow(self, event: PoolEvent) -> None:
        now, name = self._loop.time(), event.connection_id
        if event.kind is PoolEventKind.QUARANTINED:
            self._left_at[name] = now
        elif event.kind is PoolEventKind.RETIRED and name in self._left_at:
            self._lost_at.append(self._left_at.pop(name))
        elif event.kind is PoolEventKind.OPENED and self._lost_at:
            self._left_at[name] = self._lost_at.popleft()
        elif event.kind is PoolEventKind.LENT and name in self._left_at:
            since = self._left_at.pop(name)
            if self.peer.manner is Manner.FLOWS:
                since = max(since, self.peer.spoke_at.get(name, since))
            self.outcome.waits.append(now - since)

    async def go_on(self, goal: int, seed: int) -> None:
        """Have guests come and go until so many requests were left."""

        async def guest(rng: Random) -> None:
            while self.outcome.barge_ins < goal:
                await rng.choice(LEAVINGS)(self, rng)

        async with asyncio.TaskGroup() as group:
            for number in range(GUESTS):
                group.create_task(guest(Random(f"{seed} {number}")))
        stats = self.pool.get_stats()
        self.outcome.lost = stats["connections_lost"] + stats["connections_retired"]
        self.outcome.lost = max(self.outcome.lost, self.peer.sessions - SIZE)

    @asynccontextmanager
    async def borrowed(self) -> AsyncIterator[PooledConnection]:
        """Borrow; count a request that is left, and look at what came of each."""
        async with self.pool.borrow() as conn:
            try:
                yield conn
            finally:
                self.outcome.barge_ins += conn.collector.req_id is not None and (
                    not conn.collector.is_done
                )

    async def begin(self, conn: PooledConnection, *, frames: int = FRAMES, end: bool = True) -> int:
        """Send a request's audio; return its mark."""
        mark = next(self._marks) % 30_000
        await conn.session.send_audio(marked_audio(mark, frames), end=end)
        return mark

    async def interrupt(self, conn: PooledConnection) -> None:
        """Interrupt a request, which may be over."""
        self.outcome.barge_ins += not conn.collector.is_done
        await conn.session.interrupt()

    async def hear(self, conn: PooledConnection, mark: int) -> None:
        """Wait for a request's answer, which must be its own and whole."""
        try:
            await conn.collector.wait()
        except Exception as error:  # noqa: BLE001  # whatever it is
            self.outcome.failed.append(error)
        else:
            frames = self.judge(conn, mark)
            if frames != FRAMES:
                self.outcome.failed.append(AssertionError(f"{frames} frames for {FRAMES}"))

    def judge(self, conn: PooledConnection, mark: int) -> int:
        """Look at what came of a request; return how many frames."""
        got = marks([*conn.collector.frames])
        self.outcome.mixed += len(got) - got.count(mark)
        return len(got)


# --- ways to leave ------------------------------------------------------------------------


async def _is_heard(talks: Talks, rng: Random) -> None:
    async with talks.borrowed() as conn:
        await talks.hear(conn, await talks.begin(conn))


async def _interrupts_and_returns(talks: Talks, rng: Random) -> None:
    async with talks.borrowed() as conn:
        mark = await talks.begin(conn)
        await asyncio.sleep(rng.uniform(0, 1.2 * TURN))  # it may be over by then
        await talks.interrupt(conn)
    talks.judge(conn, mark)


async def _returns(talks: Talks, rng: Random) -> None:
    async with talks.borrowed() as conn:
        mark = await talks.begin(conn)
        await asyncio.sleep(rng.uniform(0, TURN))
    talks.judge(conn, mark)


async def _interrupts_and_goes_on(talks: Talks, rng: Random) -> None:
    async with talks.borrowed() as conn:
        for _ in range(2):
            mark = await talks.begin(conn)
            await asyncio.sleep(rng.uniform(0, 1.2 * TURN))
            talks.judge(conn, mark)
            await talks.interrupt(conn)
        await talks.hear(conn, await talks.begin(conn))


async def _is_half_sent(talks: Talks, rng: Random) -> None:
    async with talks.borrowed() as conn:
        mark = await talks.begin(conn, end=False)
        await asyncio.sleep(rng.uniform(0, 1.2 * TURN))
        if rng.random() < 0.5:
            await talks.interrupt(conn)
    talks.judge(conn, mark)


async def _is_cancelled(talks: Talks, rng: Random) -> None:
    is_lent = asyncio.Event()

    async def talk() -> None:
        try:
            async with talks.borrowed() as conn:
                is_lent.set()
                mark = await talks.begin(conn, end=False)
                await asyncio.sleep(rng.uniform(0, TURN))
                await conn.session.send_audio(marked_audio(mark, 1), end=True)
                await conn.collector.wait()
        finally:
            is_lent.set()

    task = asyncio.ensure_future(talk())
    if rng.random() < 0.8:  # otherwise while it waits, perhaps
        await is_lent.wait()
    await asyncio.wait([task], timeout=rng.uniform(0, TURN))
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()) is not None:
        talks.outcome.failed.append(error)


LEAVINGS: list[Callable[[Talks, Random], Awaitable[None]]] = [
    _is_heard,
    _interrupts_and_returns,
    _returns,
    _interrupts_and_goes_on,
    _is_half_sent,
    _is_cancelled,
]


async def barge_ins(manner: Manner, goal: int, seed: int = 0, **options: object) -> Outcome:
    """Have so many requests left at a service that stops in a manner."""
    async with talks(manner, **options) as each:
        await each.go_on(goal, seed)
        assert each.peer.cut_short == []  # an interrupt came before the audio's end
        return each.outcome


# --- half-open peers ----------------------------------------------------------------------


async def black_holes(rounds: int) -> Outcome:
    """Let all three ways vanish at the moment of the interrupt, again and again."""
    async with talks(Manner.STOPS, quarantine_timeout=PATIENCE) as each:
        for number in range(rounds):
            await _vanish(each, with_frames=number % 2 == 0, end=number % 3 != 0)
        each.outcome.lost = each.peer.sessions - SIZE
        return each.outcome


async def _vanish(each: Talks, *, with_frames: bool, end: bool) -> None:
    are_there = asyncio.Barrier(SIZE)

    async def leave() -> None:
        async with each.borrowed() as conn:
            mark = await each.begin(conn, end=end)
            if with_frames:
                async for _ in conn.collector:
                    break
            await are_there.wait()
            each.way.swallow()
            await each.interrupt(conn)
        each.judge(conn, mark)
        async with each.borrowed() as conn:
            await are_there.wait()  # each on one of its own
            await each.hear(conn, await each.begin(conn))

    async with asyncio.timeout(3 * PATIENCE), asyncio.TaskGroup() as group:
        for _ in range(SIZE):
            group.create_task(leave())


async def main(goal: int) -> None:
    """Print the tables."""
    import avatarkit  # noqa: PLC0415  # needed by the second table alone

    logging.disable(logging.CRITICAL)
    theirs = {"session_factory": avatarkit.new_avatar_session}
    outcomes = await asyncio.gather(
        *(barge_ins(manner, goal) for manner in Manner),
        *(barge_ins(manner, max(1, goal // 20), **theirs) for manner in Manner),
    )
    half_open = await black_holes(max(1, goal // 100))
    print(HEADING)  # noqa: T201
    for manner, outcome in zip(Manner, outcomes, strict=False):
        print(outcome.row(manner.value))  # noqa: T201
    print(half_open.row("nothing: the peer is half-open"))  # noqa: T201
    print("\nSessions of an official SDK (avatarkit) in our pool:\n\n" + HEADING)  # noqa: T201
    for manner, outcome in zip(Manner, outcomes[len(Manner) :], strict=True):
        print(outcome.row(manner.value))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if sys.argv[1:] else 1000))
