"""Frames at 25 a second on 200 sessions at once, through one process that relays them.

What counts is its CPU while all of them flow, from the last first frame on, and the frames that
come more than 40 ms after their time: 40 ms after the one before, counted from the first.
The requests begin 10.1 ms after each other, so that their frames are spread over the 40 ms.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from case import Case
from clients import PicowsListener, Ports, open_all, open_picows
from picows import WSFrame, WSTransport
from relays import standing
from upstream import SPEECH_PACE

from avatarpool.client.console import ConsoleClient

CASE = Case(
    "Through a gateway: 200 requests at once, at 25 frames of 500 bytes a second each",
    ("ours", "haproxy", "relay", "direct"),
    {"cpu_us": "CPU µs a frame", "late": "frames over 40 ms late", "worst_ms": "latest, ms"},
    rounds=3,
)

SESSIONS = 200
SECONDS = 4.0
OVERDUE = SPEECH_PACE
APART = 0.0101
CHUNK = bytes(3200)


async def measure(
    peer: str, ports: Ports, *, is_quick: bool = False
) -> AsyncIterator[dict[str, float]]:
    """Yield the relay's CPU for each frame that a client got, and how late they were."""
    size = 50 if is_quick else SESSIONS
    seconds = 2.0 if is_quick else SECONDS
    frames = round((seconds + size * APART + 1.0) / SPEECH_PACE)
    async with (
        standing(peer, ports, sessions=size) as relay,
        _spectators(relay.ports, f"speech-{frames}", size) as spectators,
    ):
        while True:
            asked = []
            for each in spectators:
                asked.append(asyncio.create_task(each.request(CHUNK)))
                await asyncio.sleep(APART)
            while not all(each.count for each in spectators):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            cpu, count = relay.cpu_seconds, _count(spectators)
            await asyncio.sleep(seconds)
            cpu, count = relay.cpu_seconds - cpu, _count(spectators) - count
            await asyncio.gather(*asked)
            late = [lag for each in spectators for lag in each.lags if lag > OVERDUE]
            yield {
                "cpu_us": 1e6 * cpu / count,
                "late": float(len(late)),
                "worst_ms": 1000 * max(lag for each in spectators for lag in each.lags),
            }


class Spectator(PicowsListener):
    """Notes when each frame comes, and reads none."""

    def __init__(self, frames: int) -> None:
        super().__init__(frames)
        self._first = 0.0
        self.count = 0
        self.lags: list[float] = []

    async def request(self, audio: bytes) -> int:
        """Make one."""
        self.count, self.lags = 0, []
        return await super().request(audio)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Note one."""
        now = time.perf_counter()
        if not self.count:
            self._first = now
        self.lags.append(now - self._first - self.count * SPEECH_PACE)
        self.count += 1
        super().on_ws_frame(transport, frame)


@asynccontextmanager
async def _spectators(ports: Ports, avatar_id: str, size: int) -> AsyncIterator[list[Spectator]]:
    config, frames = ports.config(avatar_id), int(avatar_id.partition("-")[2])
    spectators: list[Spectator] = []
    async with ConsoleClient() as console:
        await open_all(
            size,
            lambda: open_picows(config, console, lambda: Spectator(frames), ports.tls()),
            spectators.append,
        )
        try:
            yield spectators
        finally:
            await asyncio.gather(*(each.close() for each in spectators))


def _count(spectators: Sequence[Spectator]) -> int:
    return sum(each.count for each in spectators)
