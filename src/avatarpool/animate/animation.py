"""One clip's animation, and the request that brings it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from avatarpool.animate.clips import SAMPLE_RATE
from avatarpool.pool import PooledConnection
from avatarpool.protocol.frames import keyframes_of
from avatarpool.protocol.keyframes import Keyframe
from avatarpool.protocol.messages import AnimationFrame
from avatarpool.protocol.refusals import protocol_violation

Tick = Callable[[], object]
"""Called after each step of what takes long; ends it by raising."""


@dataclass(frozen=True, slots=True)
class Animation:
    """A clip and the messages that animate it.

    Attributes:
        pcm: Mono s16le samples at `SAMPLE_RATE`.
        frames: The messages, in order of arrival.
        mark: Names the speech file in what is made of it; empty for none.
        name: The speech file's path; empty for none.
    """

    pcm: bytes = field(repr=False)
    frames: Sequence[AnimationFrame] = field(repr=False)
    mark: str = ""
    name: str = ""

    @property
    def seconds(self) -> float:
        """How long the speech is."""
        return len(self.pcm) / (2 * SAMPLE_RATE)

    def keyframes(self) -> Iterator[Keyframe]:
        """Decode the keyframes one after another: kept as objects, they are large.

        Raises:
            AvatarSDKError: A message's animation cannot be decoded (``protocolError``).
        """
        return keyframes_of(self.frames)


async def request_animation(
    conn: PooledConnection, pcm: bytes, mark: str, patience: float, tick: Tick
) -> Animation:
    """Have a clip animated.

    Args:
        conn: Makes the request.
        pcm: Mono s16le samples at `SAMPLE_RATE`.
        mark: The animation's.
        patience: Seconds in which the next frame must come.
        tick: Called with each frame.

    Raises:
        RequestTimeout: No frame for ``patience`` seconds.
        AvatarSDKError: The request or its connection failed, or it gave no keyframes.
    """
    await conn.session.send_audio(pcm, end=True)
    collector = conn.collector
    async for _ in collector.stream(math.inf, patience):
        tick()
    if not any(True for _ in keyframes_of(collector.frames)):
        raise protocol_violation(
            f"request {collector.req_id} ended without a keyframe", req_id=collector.req_id
        )
    return Animation(pcm, collector.frames, mark)
