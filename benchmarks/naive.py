"""The naive pool, which the fault tests share, without our decoder in its collector."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from faults import naive_pool

NaivePool = naive_pool.NaivePool


class RawCollector(naive_pool.NaiveCollector):
    """Keeps the raw messages, so that the peer does not pay for reading them twice."""

    def transport_frame(self, data: bytes, is_last: bool) -> None:  # noqa: FBT001
        """Take a frame."""
        self.frames.append(data)
        if is_last:
            self.done.set()


naive_pool.NaiveCollector = RawCollector
