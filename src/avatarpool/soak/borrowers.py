"""Borrowers of every kind: patient, hasty, careless; each answer is judged."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from time import perf_counter

from avatarpool.exceptions import AvatarSDKError, PoolTimeout, RequestTimeout
from avatarpool.load.results import error_kind, error_sentence
from avatarpool.pool import AvatarConnectionPool, PooledConnection
from avatarpool.soak.marks import NUMBERS, MarkedRequest
from avatarpool.soak.plan import BORROW_TIMEOUT
from avatarpool.soak.tally import Tally, Violation

# What faults may do to a request; whatever else is raised is a finding.
_EXPECTED = (AvatarSDKError, TimeoutError)  # PoolTimeout and RequestTimeout are such

_LONGEST_PAUSE = 0.05
_LONGEST_RETREAT = 0.5  # after a failure
_LONGEST_GAP = 0.005  # between two pieces of one request
_LONGEST_LIFE = 0.05  # of a request that is cancelled
_HEAD_START = 0.1  # priorities of 0.1 are worth 1 s of waiting
_SHORT, _LONG = (1, 25), (50, 150)  # keyframes


Way = Callable[[], Coroutine[object, object, None]]


class CarelessError(Exception):
    """What a careless borrower's own code raises between two pieces of audio."""


@dataclass(slots=True)
class _Answer:
    is_whole: bool = False  # whether the collector has said so


class Borrowers:
    """Make requests of random kinds until they are cancelled.

    Args:
        pool: Where they borrow.
        tally: Where they count what they see.
        rng: Source of all their choices.
        numbers: Tell their requests apart, and from those of others who share them.
    """

    def __init__(
        self,
        pool: AvatarConnectionPool,
        tally: Tally,
        rng: random.Random,
        numbers: Iterator[int],
    ) -> None:
        self._pool = pool
        self._tally = tally
        self._rng = rng
        self._numbers = numbers
        self._ways: dict[Way, int] = {
            self.answered: 8,
            self.answered_in_pieces: 4,
            self.answered_frame_by_frame: 2,
            self.answered_twice: 2,
            self.answered_in_a_burst: 1,
            self.cancelled: 3,
            self.interrupted: 2,
            self.impatient_for_frames: 1,
            self.impatient_for_a_connection: 1,
            self.left_unsent: 1,
            self.left_half_sent: 2,
        }

    async def run(self) -> None:
        """Be one borrower, until it is cancelled."""
        rng = self._rng
        while True:
            (way,) = rng.choices(list(self._ways), list(self._ways.values()))
            self._tally.ways[way.__name__.replace("_", " ")] += 1
            await self._try(way)
            await asyncio.sleep(rng.uniform(0.0, _LONGEST_PAUSE))

    async def _try(self, way: Way) -> None:
        calm = self._tally.calm
        try:
            await way()
        except _EXPECTED as error:
            self._tally.failed(error_kind(error), error_sentence(error), calm=calm)
            # Who is refused at once and asks again at once would be all the load.
            await asyncio.sleep(self._rng.uniform(0.0, _LONGEST_RETREAT))
        except Exception as error:  # noqa: BLE001  # reported, and the soak goes on
            self._tally.found(
                Violation.UNEXPECTED, f"{type(error).__name__}: {error_sentence(error)}"
            )

    # --- the ways, by their names in the report -------------------------------------------

    async def answered(self) -> None:
        """Send a whole request and wait for its answer."""
        async with self._borrowed() as conn:
            await self._ask(conn)

    async def answered_in_pieces(self) -> None:
        """Send a request as one who speaks: piece by piece, with gaps."""
        async with self._borrowed() as conn:
            await self._ask(conn, pieces=self._rng.randint(2, 8))

    async def answered_frame_by_frame(self) -> None:
        """Take the frames as they come."""
        async with self._borrowed() as conn:
            request = self._request()
            with self._judged(conn, request) as answer:
                await conn.session.send_audio(request.audio(), end=True)
                async for _ in conn.collector:
                    pass
                answer.is_whole = True

    async def answered_twice(self) -> None:
        """Make two requests in one borrow."""
        async with self._borrowed() as conn:
            await self._ask(conn)
            await self._ask(conn)

    async def answered_in_a_burst(self) -> None:
        """Make several requests at once."""
        await asyncio.gather(*(self._try(self.answered) for _ in range(self._rng.randint(2, 8))))

    async def cancelled(self) -> None:
        """Be cancelled at any moment: waiting, sending, receiving."""
        try:
            async with asyncio.timeout(self._rng.uniform(0.0, _LONGEST_LIFE)) as life:
                await self.answered_in_pieces()
        except TimeoutError:
            if not life.expired():  # or it is a failure: PoolTimeout, RequestTimeout
                raise

    async def interrupted(self) -> None:
        """Interrupt a long request, and be answered to the next one."""
        async with self._borrowed() as conn:
            request = self._request(_LONG)
            with self._judged(conn, request):
                await conn.session.send_audio(request.audio(), end=self._rng.random() < 0.5)
                await asyncio.sleep(self._rng.uniform(0.0, _LONGEST_GAP))
                self._tally.interrupts += 1
                await conn.session.interrupt()
            await self._ask(conn)

    async def impatient_for_frames(self) -> None:
        """Leave before the answer can be there."""
        async with self._borrowed() as conn:
            request = self._request(_LONG)
            with self._judged(conn, request) as answer:
                await conn.session.send_audio(request.audio(), end=True)
                try:
                    await conn.collector.wait(self._rng.uniform(0.0, _LONGEST_GAP))
                except RequestTimeout:
                    return
                answer.is_whole = True

    async def impatient_for_a_connection(self) -> None:
        """Wait for a connection for next to no time."""
        try:
            async with self._borrowed(self._rng.uniform(0.0, _LONGEST_GAP)) as conn:
                await self._ask(conn)
        except PoolTimeout:
            pass

    async def left_unsent(self) -> None:
        """Give the connection back unused."""
        async with self._borrowed():
            await asyncio.sleep(self._rng.uniform(0.0, _LONGEST_GAP))

    async def left_half_sent(self) -> None:
        """Raise between two pieces of audio."""
        try:
            async with self._borrowed() as conn:
                request = self._request()
                with self._judged(conn, request):
                    await conn.session.send_audio(request.audio())
                    await asyncio.sleep(self._rng.uniform(0.0, _LONGEST_GAP))
                    raise CarelessError
        except CarelessError:
            pass

    # --- what they have in common ---------------------------------------------------------

    @asynccontextmanager
    async def _borrowed(self, timeout: float = BORROW_TIMEOUT) -> AsyncIterator[PooledConnection]:
        borrow = self._pool.borrow(timeout, priority=self._rng.uniform(-_HEAD_START, _HEAD_START))
        self._tally.borrows += 1
        async with AsyncExitStack() as stack:
            began = perf_counter()
            try:
                conn = await stack.enter_async_context(borrow)
            finally:
                self._tally.waited(perf_counter() - began, timeout)
            yield conn

    async def _ask(self, conn: PooledConnection, pieces: int = 1) -> None:
        request = self._request()
        with self._judged(conn, request) as answer:
            await self._send(conn, request.audio(), pieces)
            await conn.collector.wait()
            answer.is_whole = True

    async def _send(self, conn: PooledConnection, audio: bytes, pieces: int) -> None:
        rng = self._rng
        # Between samples, anywhere: a piece is no whole number of keyframes.
        cuts = sorted(2 * rng.randrange(1, len(audio) // 2) for _ in range(pieces - 1))
        for begin, end in zip([0, *cuts], [*cuts, len(audio)], strict=True):
            if begin:
                await asyncio.sleep(rng.uniform(0.0, _LONGEST_GAP))
            if begin < end:
                await conn.session.send_audio(audio[begin:end], end=end == len(audio))

    def _request(self, frames: tuple[int, int] = _SHORT) -> MarkedRequest:
        return MarkedRequest(next(self._numbers) % NUMBERS, self._rng.randint(*frames))

    @contextmanager
    def _judged(self, conn: PooledConnection, request: MarkedRequest) -> Iterator[_Answer]:
        """Judge whatever frames a request got, however it ended."""
        tally, collector = self._tally, conn.collector
        tally.requests += 1
        before, began = collector.req_id, perf_counter()
        answer = _Answer()
        try:
            yield answer
        finally:
            tally.answer_took(perf_counter() - began)
            if collector.req_id != before:  # else it has not begun
                tally.answered += answer.is_whole
                tally.answered_frames += request.frames * answer.is_whole
                tally.frames += len(collector.frames)
                complaint = request.judge(collector.frames, is_whole=answer.is_whole)
                if complaint is not None:
                    tally.found(*complaint)
