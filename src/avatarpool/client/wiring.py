"""How a session tells what happens, where it has callbacks and nothing else."""

from __future__ import annotations

from typing import Protocol


class CallbackSink(Protocol):
    """Where a foreign session's callbacks lead."""

    def message(self, data: bytes) -> None:
        """Take one raw message."""

    def failed(self, error: Exception) -> None:
        """Take an error that no call raised."""

    def ended(self) -> None:
        """Take the end of the session."""


class Wiring(Protocol):
    """What a user's configuration may have as callbacks: a collector, before it collects.

    Attributes:
        sink: Where its callbacks lead; None: to itself.
        calls: How often one was called. Whoever wraps a user's own callback learns from
            it whether that one passed its call on.
    """

    sink: CallbackSink | None
    calls: int

    def transport_frame(self, data: bytes, is_last: bool) -> None:  # noqa: FBT001
        """Take a raw message."""

    def on_error(self, error: Exception) -> None:
        """Take an error that no call raised."""

    def on_close(self) -> None:
        """Take the end of the session."""


class Nowhere:
    """A `CallbackSink` for a session that has other ways to report."""

    def message(self, data: bytes) -> None:
        """Take one raw message."""

    def failed(self, error: Exception) -> None:
        """Take an error that no call raised."""

    def ended(self) -> None:
        """Take the end of the session."""
