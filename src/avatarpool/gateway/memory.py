"""What the service refused for good: remembered for a while, so that it is not asked again."""

from __future__ import annotations

from collections import OrderedDict

from avatarpool.endpoint import refusals
from avatarpool.endpoint.refusals import UpgradeRefusal
from avatarpool.gateway.failures import Failure

REMEMBERED_FOR = 30.0
"""Seconds in which what a client should have heard at its upgrade is told there."""

_MOST = 1024  # avatars

_BILLING = ""  # in an avatar's place: it is refused whatever the avatar


class RefusalMemory:
    """Remembers avatars that the service does not know, and that there are no credits. Pure.

    Attributes:
        seconds: For how long.
    """

    def __init__(self) -> None:
        self.seconds = REMEMBERED_FOR
        self._refused: OrderedDict[str, tuple[Failure, float]] = OrderedDict()

    def note(self, avatar_id: str, failure: Failure, now: float) -> None:
        """Remember a failure, if it is of that kind."""
        if failure.status not in (402, 404):
            return
        about = _BILLING if failure.status == 402 else avatar_id
        self._refused[about] = failure, now + self.seconds
        self._refused.move_to_end(about)
        if len(self._refused) > _MOST:
            self._refused.popitem(last=False)

    def failure(self, avatar_id: str, now: float) -> Failure | None:
        """Return what a request for an avatar would fail of."""
        for about in (_BILLING, avatar_id):
            failure, until = self._refused.get(about, (None, 0.0))
            if failure is not None and now < until:
                return failure
        return None

    def upgrade(self, avatar_id: str, now: float) -> UpgradeRefusal | None:
        """Return what an upgrade for an avatar is refused with."""
        failure = self.failure(avatar_id, now)
        if failure is None:
            return None
        return refusals.BILLING if failure.status == 402 else refusals.avatar_unknown(avatar_id)
