"""What all sessions hold of what their clients have sent, and who goes when it is too much."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Holder(Protocol):
    """A session."""

    @property
    def is_ending(self) -> bool:
        """Whether it was told to end."""

    @property
    def held_bytes(self) -> int:
        """What has come and is not dealt with."""

    def end_greedy(self) -> None:
        """End a session that holds too much, and take nothing more of it."""


def end_greediest(holders: Iterable[Holder], most: int) -> None:
    """End those that hold the most, until all the others hold no more than so many bytes."""
    held = sorted(
        (
            (each.held_bytes, index, each)
            for index, each in enumerate(holders)
            if not each.is_ending
        ),
        reverse=True,
    )
    excess = sum(size for size, _, _ in held) - most
    for size, _, holder in held:
        if excess <= 0:
            return
        excess -= size
        holder.end_greedy()
