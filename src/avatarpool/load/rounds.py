"""Rounds of concurrent requests through a pool.

What is measured here is measured with ``perf_counter``: uvloop's own clock
counts whole milliseconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter

from avatarpool.load.results import (
    Progress,
    RequestResult,
    RoundCompleted,
    RoundPause,
    RoundResult,
    RoundStarted,
    error_kind,
    error_sentence,
)
from avatarpool.pool import AvatarConnectionPool


async def process_audio(
    pool: AvatarConnectionPool,
    audio: bytes,
    timeout: float = 45.0,
) -> RequestResult:
    """Send one clip over a borrowed connection and collect its frames.

    A failure is the result, not an exception. Cancelling gives the connection
    back and is passed on.

    Args:
        pool: Where the connection comes from.
        audio: The whole clip, in the format of the pool's sessions.
        timeout: Seconds to wait for a connection, and then for the last frame.
    """
    started = perf_counter()
    lent: float | None = None
    connection_id = request_id = None
    frames = 0
    failure: Exception | None = None
    try:
        async with pool.borrow(timeout=timeout) as conn:
            lent = perf_counter()
            connection_id = conn.connection_id
            try:
                request_id = await conn.session.send_audio(audio, end=True)
                await conn.collector.wait(timeout=timeout)
            finally:
                frames = len(conn.collector.frames)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this request's result
        failure = error
    ended = perf_counter()
    return RequestResult(
        duration_ms=1000 * (ended - started),
        wait_ms=1000 * ((ended if lent is None else lent) - started),
        frames=frames,
        connection_id=connection_id,
        request_id=request_id,
        error_kind=error_kind(failure) if failure else None,
        error=error_sentence(failure) if failure else None,
    )


async def run_concurrent_requests(
    pool: AvatarConnectionPool,
    audio: bytes,
    num_requests: int = 5,
    *,
    request_timeout: float = 45.0,
    on_result: Callable[[RequestResult], object] | None = None,
) -> list[RequestResult]:
    """Make several requests at once and return their results as they finished.

    Cancelling cancels those under way and waits until they have given their
    connections back.

    Args:
        pool: Where the connections come from; requests beyond its size queue up.
        audio: The clip that each request sends.
        num_requests: How many.
        request_timeout: As `process_audio`'s ``timeout``.
        on_result: Called with each result at once, so that a cancelled caller
            still has those that finished.
    """
    results: list[RequestResult] = []

    async def request() -> None:
        result = await process_audio(pool, audio, request_timeout)
        results.append(result)
        if on_result is not None:
            on_result(result)

    async with asyncio.TaskGroup() as group:
        for _ in range(num_requests):
            group.create_task(request())
    return results


async def run_multiple_rounds(
    *,
    pool: AvatarConnectionPool,
    audio: bytes,
    num_rounds: int = 10,
    requests_per_round: int = 5,
    interval_seconds: float = 30.0,
    request_timeout: float = 45.0,
    on_progress: Callable[[Progress], object] | None = None,
    on_result: Callable[[RequestResult], object] | None = None,
) -> list[RoundResult]:
    """Run rounds of concurrent requests, with a rest between them.

    Failed requests are part of the results and stop nothing. Cancelling ends
    the round under way first: its finished requests are reported to
    ``on_progress`` as one more `RoundCompleted`, and no task is left.

    Args:
        pool: An initialized pool.
        audio: The clip that each request sends.
        num_rounds: How many rounds.
        requests_per_round: Concurrent requests of each round.
        interval_seconds: Seconds between the end of a round and the next one.
        request_timeout: As `process_audio`'s ``timeout``.
        on_progress: Called as the run goes on; ``print`` shows each step.
        on_result: Called with each request's result.

    Raises:
        ValueError: Fewer than one round or request, or a negative interval.
    """
    if num_rounds < 1 or requests_per_round < 1 or interval_seconds < 0:
        raise ValueError(
            f"{num_rounds} rounds of {requests_per_round} requests every {interval_seconds} s: "
            "at least one round of one request, and no negative interval"
        )
    tell = on_progress or _ignore
    beginning = perf_counter()
    rounds: list[RoundResult] = []
    for number in range(1, num_rounds + 1):
        if rounds:
            tell(RoundPause(interval_seconds))
            await asyncio.sleep(interval_seconds)
        started = perf_counter()
        elapsed = started - beginning
        tell(RoundStarted(number, num_rounds, elapsed, pool.available_count, pool.total_count))
        finished = _Finished(on_result or _ignore)
        try:
            await run_concurrent_requests(
                pool,
                audio,
                requests_per_round,
                request_timeout=request_timeout,
                on_result=finished.add,
            )
        finally:
            duration_ms = 1000 * (perf_counter() - started)
            rounds.append(RoundResult(number, elapsed, duration_ms, tuple(finished.results)))
            tell(RoundCompleted(rounds[-1]))
    return rounds


class _Finished:
    """One round's results as they come, also told to whoever listens."""

    def __init__(self, listener: Callable[[RequestResult], object]) -> None:
        self.results: list[RequestResult] = []
        self._listener = listener

    def add(self, result: RequestResult) -> None:
        self.results.append(result)
        self._listener(result)


def _ignore(_: object) -> None:
    """Take what nobody listens to."""
