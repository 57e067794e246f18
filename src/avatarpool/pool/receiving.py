"""Where the frames of a borrowed connection go: a collector, or whatever stands in for it."""

from __future__ import annotations

from typing import Protocol

from avatarpool.protocol.messages import AnimationFrame


class Reception(Protocol):
    """Takes the frames of one request, each as it comes, and its end."""

    doubt: Exception | None
    """An error that came and may be this request's: why, where its time runs out."""

    def add(self, frame: AnimationFrame) -> Exception | None:
        """Take a frame; an error fails the request, whose other frames are dropped."""

    def finish(self, error: Exception | None = None) -> None:
        """Learn that the request is over, and with which error if it failed."""


class Receiver(Protocol):
    """Takes what comes for one request after another."""

    def begin(self, req_id: str) -> Reception:
        """A request begins: say where its frames go."""
