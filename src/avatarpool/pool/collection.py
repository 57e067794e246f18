"""The frames of one request: within limits, and for whoever waits for them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Protocol

from avatarpool.exceptions import RequestTimeout
from avatarpool.protocol.messages import AnimationFrame
from avatarpool.protocol.refusals import protocol_violation


class Wakeup(Protocol):
    """One waiter's place to sleep until something changes."""

    def notify(self) -> None:
        """Wake the waiter; harmless if it is awake."""

    def now(self) -> float:
        """Return the waiter's clock, in seconds."""

    async def wait(self, timeout: float | None) -> None:
        """Sleep until notified; raise TimeoutError after ``timeout`` seconds."""


@dataclass(frozen=True, slots=True)
class CollectionLimits:
    """What one request may bring, and how long its frames may take.

    Attributes:
        timeout: Seconds for the last one; None for no limit.
        first_frame_timeout: Seconds for the first one; None for no limit.
        frame_gap_timeout: Seconds between two frames; None for no limit.
        max_frames: Frames of one request.
        max_frame_bytes: Bytes of one request's messages together.
    """

    timeout: float | None = None
    first_frame_timeout: float | None = None
    frame_gap_timeout: float | None = None
    max_frames: int = 100_000
    max_frame_bytes: int = 64 * 1024 * 1024


class Collection:
    """The frames of one request: growing, complete or failed."""

    __slots__ = (
        "_frame_bytes",
        "_limits",
        "done_waiters",
        "doubt",
        "error",
        "frame_waiters",
        "frames",
        "is_done",
        "req_id",
        "was_read",
    )

    def __init__(self, limits: CollectionLimits) -> None:
        self._limits = limits
        self._frame_bytes = 0
        self.req_id: str | None = None  # None until the request begins
        self.frames: list[AnimationFrame] = []
        self.error: Exception | None = None
        self.doubt: Exception | None = None  # an error that may be this request's
        self.is_done = False
        self.was_read = False  # whether somebody was given its end
        # Two lists, so that waiting for the end wakes up once and not per frame.
        self.done_waiters: list[Wakeup] = []
        self.frame_waiters: list[Wakeup] = []

    def add(self, frame: AnimationFrame) -> Exception | None:
        """Append a frame; the last one completes the collection, one too many fails it.

        Returns why it has failed, if it has.
        """
        if self.is_done:
            return self.error
        limits = self._limits
        self._frame_bytes += len(frame)
        if len(self.frames) >= limits.max_frames or self._frame_bytes > limits.max_frame_bytes:
            error = protocol_violation(
                f"request {self.req_id} gave more than {limits.max_frames} frames or "
                f"{limits.max_frame_bytes} bytes of them",
                req_id=self.req_id,
            )
            self.finish(error)
            return error
        self.frames.append(frame)
        for waiter in self.frame_waiters:
            waiter.notify()
        if frame.end:
            self.finish()
        return None

    def finish(self, error: Exception | None = None) -> None:
        """Complete or fail the collection, once."""
        if self.is_done:
            return
        self.is_done = True
        self.error = error
        for waiter in (*self.done_waiters, *self.frame_waiters):
            waiter.notify()

    async def until_done(self, wakeup: Wakeup, timeout: float | None) -> None:
        """Wait for the end, under one limit and with one sleep."""
        self.done_waiters.append(wakeup)
        try:
            await wakeup.wait(timeout)
        except TimeoutError as error:
            if not self.is_done:  # it may have ended in the very last moment
                cause = self.doubt or error
                raise RequestTimeout(self.req_id, timeout or 0.0, len(self.frames)) from cause
        finally:
            self.done_waiters.remove(wakeup)

    async def until_more(
        self, wakeup: Wakeup, seen: int, gap: float, timeout: float, deadline: float
    ) -> None:
        """Sleep until there may be more than the frames seen, within two limits.

        Args:
            wakeup: One of `frame_waiters`.
            seen: Frames that were taken.
            gap: Seconds for the next frame.
            timeout: Seconds that there were for the last one.
            deadline: When those are over, by the wakeup's clock.

        Raises:
            RequestTimeout: Neither a frame nor the end came in time.
        """
        patience = min(deadline - wakeup.now(), gap)
        try:
            await wakeup.wait(None if patience == inf else patience)
        except TimeoutError as error:
            if self.is_done or len(self.frames) > seen:
                return  # it came in the very last moment
            cause = self.doubt or error
            if patience == gap:
                awaited = "next frame" if seen else "first frame"
                raise RequestTimeout(self.req_id, gap, seen, awaited) from cause
            raise RequestTimeout(self.req_id, timeout, seen) from cause
