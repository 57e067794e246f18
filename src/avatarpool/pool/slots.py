"""What a pool asks that shares an account's sessions with other pools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from avatarpool.pool.connection import Connection

if TYPE_CHECKING:
    from avatarpool.pool.keeper import Keeper


class Slots(Protocol):
    """A pool's part in a number of sessions; everything here is decided at once.

    A session takes a slot from before it is opened until it is closed. The pool counts
    its own (`PoolState.used`), so that none is ever lost.
    """

    @property
    def has_spare(self) -> bool:
        """Whether an old session and its successor may be open side by side."""

    def attach(self, keeper: Keeper) -> None:
        """Learn whose slots these are; ``keeper.act`` opens what was not granted before."""

    def grant(self, wanted: int) -> int:
        """Return how many of so many sessions may be opened now."""

    def is_claimed(self, connection: Connection) -> bool:
        """Whether a connection that is free must go, since another pool needs its slot."""

    def opened(self) -> None:
        """Learn that the service has let one more session in."""

    def filled(self) -> None:
        """Learn that the service has as many sessions as it allows, wherever they are."""

    def changed(self) -> None:
        """Learn that the pool may have fewer sessions now."""
