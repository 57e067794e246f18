"""What the service asks of whatever moves the face."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from avatarpool.protocol.keyframes import Keyframe


class Driver(Protocol):
    """Animates one request; made anew for each.

    A driver gives `ceil(samples / (sample_rate / 25))` keyframes in all,
    however the audio was cut into pieces. It is called from a worker thread,
    never from two at once, and must not block.
    """

    def feed(self, pcm: bytes) -> list[Keyframe]:
        """Take whole mono s16le samples; return the keyframes that are ready.

        A driver that holds back the newest keyframe until more audio or
        `finish` comes lets the service mark the last one as the last.
        """
        ...

    def finish(self) -> list[Keyframe]:
        """Return what is left; called once, after all audio."""
        ...


DriverFactory = Callable[[int, int], Driver]
"""Makes the driver of one request from its sample rate and the service's seed."""
