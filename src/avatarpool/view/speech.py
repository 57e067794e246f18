"""One clip through the pool, frame by frame as they come."""

from __future__ import annotations

import asyncio
import math
import sys
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from operator import mul

from avatarpool.pool import AvatarConnectionPool
from avatarpool.protocol.keyframes import FRAMES_PER_SECOND, Keyframe
from avatarpool.protocol.messages import AnimationFrame
from avatarpool.protocol.settings import DEFAULT_SAMPLE_RATE
from avatarpool.view.face import pose_of

Emit = Callable[[dict[str, object]], Awaitable[None]]
"""Takes one object of what the page is to learn."""

SAMPLE_RATE = DEFAULT_SAMPLE_RATE
"""Samples per second of the audio that is sent."""

_SILENCE_DB = -100.0


async def animate(pool: AvatarConnectionPool, pcm: bytes, patience: float, emit: Emit) -> None:
    """Have a clip animated; emit its request id, then its frames.

    Args:
        pool: Lends the session.
        pcm: Mono s16le samples at `SAMPLE_RATE`.
        patience: Seconds in which each frame must come.
        emit: Takes ``{"request_id"}`` and, for each keyframe, ``{"pose",
            "jaw_rad", "lids", "loudness_db"}``: `Pose`, radians, 0 open to 1
            closed, and dB of full scale. What it raises ends the request.

    Raises:
        RequestTimeout: No frame for ``patience`` seconds.
        AvatarPoolError: There is no session, or its request failed.
    """
    async with pool.borrow() as conn:
        try:
            async with (
                aclosing(conn.collector.stream(math.inf, patience)) as frames,
                asyncio.TaskGroup() as group,
            ):
                # Long clips are answered while they are still being sent.
                group.create_task(conn.session.send_audio(pcm, end=True))
                await relay(frames, emit, _loudness(pcm))
        except ExceptionGroup as group_of_one:
            raise group_of_one.exceptions[0] from None


async def relay(
    frames: AsyncIterator[AnimationFrame], emit: Emit, loudness: Iterator[float] | None = None
) -> None:
    """Emit a request's id and its frames, as `animate` does.

    Args:
        frames: As they come.
        emit: Takes them.
        loudness: Of each frame's audio in dB; left out, nothing is told of it.
    """
    is_first = True
    async for frame in frames:
        if is_first:
            await emit({"request_id": frame.req_id})
            is_first = False
        for keyframe in frame.keyframes:
            told = _told(keyframe)
            if loudness is not None:
                told["loudness_db"] = round(next(loudness, _SILENCE_DB), 1)
            await emit(told)


def _told(keyframe: Keyframe) -> dict[str, object]:
    lids = keyframe.eye_lid or (0.0,)
    return {
        # A tenth of a pixel on a 4K screen needs no more digits.
        "pose": {name: round(value, 4) for name, value in pose_of(keyframe).items()},
        "jaw_rad": round(_finite(*keyframe.jaw_pose[:1]), 4),
        "lids": round(_finite(sum(lids) / len(lids)), 3),
    }


def _finite(value: float = 0.0) -> float:
    """The value, or 0 for what JSON has no word for."""
    return value if math.isfinite(value) else 0.0


def _loudness(pcm: bytes) -> Iterator[float]:
    """Loudness of each frame's 40 ms."""
    samples = array("h", pcm)
    if sys.byteorder == "big":
        samples.byteswap()
    size = SAMPLE_RATE // FRAMES_PER_SECOND
    for start in range(0, len(samples), size):
        yield _level_db(samples[start : start + size])


def _level_db(samples: array[int]) -> float:
    power = sum(map(mul, samples, samples)) / len(samples) / 32768.0**2
    return max(_SILENCE_DB, 10.0 * math.log10(power)) if power else _SILENCE_DB
