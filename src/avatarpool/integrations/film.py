"""A drawn face as it speaks: one picture after another, each when it is to be seen.

It is the face of ``avatarpool view``, for rooms that have no renderer.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

try:
    from avatarpool.view.painting import Painters
except ImportError as error:
    raise ImportError(
        "what paints the face is not installed: install avatarpool's extra 'render'"
    ) from error

from avatarpool.integrations.timeline import Timeline
from avatarpool.protocol.keyframes import FRAMES_PER_SECOND
from avatarpool.view.face import Pose, pose_of

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger("avatarpool.integrations")

WIDTH, HEIGHT = 224, 252
"""Of a picture: a process paints some 20 in a second, and LiveKit wants multiples of 4."""

_FRAME = 1 / FRAMES_PER_SECOND
_MOST_AHEAD = 0.2  # seconds: a process that starts takes longer than any picture
_PAUSE = 1.0  # seconds until another process is started where one was killed


class Film:
    """Pictures of what a timeline has, as many as one process can paint, 25 a second at most.

    One task asks for them. Pictures that would come too late are left out.
    """

    def __init__(self) -> None:
        self.timeline = Timeline()
        self._painters = Painters(1)
        self._painting: asyncio.Future[Image] | None = None
        self._took = 0.0  # seconds, the last one
        self._next_at = 0.0

    async def next(self) -> Image:
        """Wait until a picture is to be seen, and return it: RGB, `WIDTH` by `HEIGHT`."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            at = max(self._next_at, began + min(self._took, _MOST_AHEAD))
            pose = pose_of(self.timeline.pose(at))
            self._painting = loop.run_in_executor(None, self._paint, pose)
            try:
                picture = await asyncio.shield(self._painting)
            except OSError as failure:  # it was killed, or cannot be started
                log.warning("a picture is missing: %s", failure)
                await asyncio.sleep(_PAUSE)
                continue
            self._took = loop.time() - began
            self._next_at = at + _FRAME
            await asyncio.sleep(max(0.0, at - loop.time()))
            return picture

    async def aclose(self) -> None:
        """End the process that paints; nobody asks any more."""
        self._painters.kill()
        if self._painting is not None:
            with suppress(OSError):  # as it was killed
                await self._painting
        self._painters.close()

    def _paint(self, pose: Pose) -> Image:
        (picture,) = self._painters.paint((pose,), WIDTH)
        return picture
