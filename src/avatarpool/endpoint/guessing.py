"""Keys that are wrong, and how fast they may come."""

from __future__ import annotations

import asyncio

# Wrong keys in a second that are told so at once. A connection, which each of them ends,
# costs a millisecond; those beyond take so many seconds.
_FREE_GUESSES = 10
_GUESS_SECONDS = 0.25


class Guesses:
    """Holds up who sends wrong keys faster than a mistake does; shared by all who ask for keys."""

    def __init__(self) -> None:
        self._guessed = 0.0  # the time up to which the latest wrong keys have used their share

    async def wrong(self) -> None:
        """Note one more; returns when it may be told."""
        now = asyncio.get_running_loop().time()
        self._guessed = max(self._guessed, now - 1.0) + 1.0 / _FREE_GUESSES
        if self._guessed > now:
            await asyncio.sleep(_GUESS_SECONDS)
