"""``avatarpool run``: rounds of requests through a pool."""

from __future__ import annotations

import json
from array import array
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from avatarpool.audio import read_audio
from avatarpool.cli.exit_codes import INTERRUPTED
from avatarpool.cli.opening import open_pool
from avatarpool.cli.screen import Screen, open_screen
from avatarpool.cli.signals import Interruptible
from avatarpool.cli.target import avatar_service
from avatarpool.environment import Settings
from avatarpool.exceptions import AudioError, PoolError
from avatarpool.load import (
    LoadPlan,
    LoadReport,
    Progress,
    RoundCompleted,
    RoundResult,
    load_speech_clip,
    opening_text,
    plan_text,
    run_multiple_rounds,
)
from avatarpool.pool import AvatarConnectionPool, PoolEvent, PoolEventKind


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the command was asked for.

    Attributes:
        plan: Rounds, requests, interval and pool size.
        session_ttl_minutes: How long a session may live.
        request_timeout: Seconds for each request.
        audio: The clip to send; None is the one that ships with the package.
        json_file: Where the results go as JSON too.
    """

    plan: LoadPlan
    session_ttl_minutes: float
    request_timeout: float
    audio: Path | None = None
    json_file: Path | None = None


async def run(options: RunOptions, settings: Settings) -> int:
    """Run the rounds, print the report and return the command's exit code.

    Raises:
        AvatarPoolError: The audio cannot be used, or no connection could be opened.
        OSError: A file cannot be read or written.
    """
    audio = load_speech_clip() if options.audio is None else _read(options.audio)
    plan = options.plan
    async with avatar_service(settings) as config_factory:
        pool = AvatarConnectionPool(
            pool_size=plan.pool_size,
            config_factory=config_factory,
            session_ttl_minutes=options.session_ttl_minutes,
            request_timeout=options.request_timeout,
        )
        with open_screen(plan.num_rounds * plan.requests_per_round) as screen:
            screen.line(f"Loaded audio file: {len(audio)} bytes")
            rounds = Rounds(pool, options, screen)
            try:
                report = await rounds.run(audio)
            finally:
                try:
                    screen.line("\nClosing connection pool...")
                finally:
                    await pool.close()
                screen.line("Connection pool closed")
    if options.json_file is not None:
        text = json.dumps(report.to_dict(), indent=2)
        options.json_file.write_text(text + "\n", encoding="utf-8")
    if report.was_interrupted:
        return INTERRUPTED
    return 1 if report.has_failures else 0


def _read(file: Path) -> bytes:
    try:
        return read_audio(file)
    except AudioError as error:
        raise AudioError(f"{file}: {error}") from error


class Rounds:
    """One run and what it has done so far, whenever it is stopped."""

    def __init__(self, pool: AvatarConnectionPool, options: RunOptions, screen: Screen) -> None:
        self._pool = pool
        self._options = options
        self._screen = screen
        self._done: list[RoundResult] = []
        self._first_frames_ms = array("d")  # the pool's own statistics forget the oldest
        pool.add_listener(self._follow)

    async def run(self, audio: bytes) -> LoadReport:
        """Open the pool and run until the last round or the first signal."""
        plan, screen = self._options.plan, self._screen
        started: float | None = None
        async with Interruptible(is_told=True) as scope:
            await self._initialize()
            screen.line(plan_text(plan))
            started = perf_counter()
            await run_multiple_rounds(
                pool=self._pool,
                audio=audio,
                num_rounds=plan.num_rounds,
                requests_per_round=plan.requests_per_round,
                interval_seconds=plan.interval_seconds,
                request_timeout=self._options.request_timeout,
                on_progress=self._heard,
                on_result=screen.advance,
            )
        report = LoadReport(
            plan=plan,
            rounds=tuple(self._done),
            total_seconds=0.0 if started is None else perf_counter() - started,
            pool=self._pool.get_stats(),
            was_interrupted=scope.was_interrupted,
            first_frames_ms=tuple(self._first_frames_ms),
        )
        screen.line(report.to_text())
        screen.line(report.latency_text())
        return report

    async def _initialize(self) -> None:
        size = self._options.plan.pool_size
        self._screen.line(f"Initializing connection pool with {size} connections...")
        try:
            await open_pool(self._pool)
        except PoolError:
            self._show_opening()
            raise
        self._show_opening()

    def _show_opening(self) -> None:
        pool, size = self._pool, self._options.plan.pool_size
        self._screen.line(opening_text(pool.get_stats(), size, pool.last_open_error))

    def _follow(self, event: PoolEvent) -> None:
        if event.kind is PoolEventKind.FIRST_FRAME:
            self._first_frames_ms.append(1000 * event.seconds)

    def _heard(self, step: Progress) -> None:
        if isinstance(step, RoundCompleted):
            self._done.append(step.result)
        self._screen.line(step)
