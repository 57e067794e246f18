"""The frames of one request after another, as a borrower sees them.

No event loop is known here: whoever owns one hands in a `Wakeup` per waiter.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol

from avatarpool.exceptions import RequestTimeout, SessionStateError
from avatarpool.protocol.messages import AnimationFrame


class Wakeup(Protocol):
    """One waiter's place to sleep until something changes."""

    def notify(self) -> None:
        """Wake the waiter; harmless if it is awake."""

    async def wait(self, timeout: float | None) -> None:
        """Sleep until notified; raise TimeoutError after ``timeout`` seconds."""


class CallbackSink(Protocol):
    """Where a foreign session's callbacks lead."""

    def message(self, data: bytes) -> None:
        """Take one raw message."""

    def failed(self, error: Exception) -> None:
        """Take an error that no call raised."""

    def ended(self) -> None:
        """Take the end of the session."""


class Collection:
    """The frames of one request: growing, complete or failed."""

    __slots__ = ("done_waiters", "error", "frame_waiters", "frames", "is_done", "req_id")

    def __init__(self) -> None:
        self.req_id: str | None = None  # None until the request begins
        self.frames: list[AnimationFrame] = []
        self.error: Exception | None = None
        self.is_done = False
        # Two lists, so that waiting for the end wakes up once and not per frame.
        self.done_waiters: list[Wakeup] = []
        self.frame_waiters: list[Wakeup] = []

    def add(self, frame: AnimationFrame) -> None:
        """Append a frame; the last one completes the collection."""
        self.frames.append(frame)
        for waiter in self.frame_waiters:
            waiter.notify()
        if frame.end:
            self.finish()

    def finish(self, error: Exception | None = None) -> None:
        """Complete or fail the collection, once."""
        if self.is_done:
            return
        self.is_done = True
        self.error = error
        for waiter in (*self.done_waiters, *self.frame_waiters):
            waiter.notify()


class AnimationCollector:
    """Collects the frames of a borrower's current request.

    Each new request starts a fresh collection; `frames`, `error` and `wait()`
    speak of the current one. ``async for frame in collector`` gives frames as
    they arrive and ends with the request; it may start before the request does.

    Args:
        new_wakeup: Makes a `Wakeup` for each waiter.
        default_timeout: Seconds that `wait()` allows when it is not told.
    """

    def __init__(
        self,
        new_wakeup: Callable[[], Wakeup],
        *,
        default_timeout: float | None = None,
    ) -> None:
        self._new_wakeup = new_wakeup
        self._default_timeout = default_timeout
        # Where the callbacks below lead, for sessions that have no other way
        # to report; ours has, and needs none.
        self.sink: CallbackSink | None = None
        self._current = Collection()
        # Calls of the session callbacks below: whoever wraps a user's own
        # callback learns from it whether that one passed its call on.
        self.calls = 0

    def __repr__(self) -> str:
        current = self._current
        state = "failed" if current.error else "done" if current.is_done else "collecting"
        return f"<AnimationCollector {current.req_id} {state}, {len(current.frames)} frames>"

    @property
    def frames(self) -> list[AnimationFrame]:
        """The current request's frames so far, in order of arrival."""
        return self._current.frames

    @property
    def error(self) -> Exception | None:
        """Why the current request failed, if it has."""
        return self._current.error

    @property
    def req_id(self) -> str | None:
        """The current request's id, once its first audio was sent."""
        return self._current.req_id

    @property
    def is_done(self) -> bool:
        """Whether the current request is over, well or badly."""
        return self._current.is_done

    async def wait(self, timeout: float | None = None) -> list[AnimationFrame]:
        """Wait for the current request's last frame and return all its frames.

        Where frames go to a room there are none to wait for: the list is empty
        as soon as the audio is sent. An interrupted request is over at once,
        with the frames that had come. Cancelling ends the waiting alone; the
        request goes on.

        Args:
            timeout: Seconds; left out, the pool's ``request_timeout``.

        Raises:
            RequestTimeout: The last frame did not come in time.
            AvatarSDKError: The request or its connection failed.
            SessionStateError: The connection was returned before the end.
            PoolClosed: The pool was closed, and its patience ran out.
        """
        if timeout is None:
            timeout = self._default_timeout
        collection = self._current
        if not collection.is_done:
            wakeup = self._new_wakeup()
            collection.done_waiters.append(wakeup)
            try:
                await wakeup.wait(timeout)
            except TimeoutError as error:
                if not collection.is_done:  # it may have ended in the very last moment
                    raise RequestTimeout(
                        collection.req_id, timeout or 0.0, len(collection.frames)
                    ) from error
            finally:
                collection.done_waiters.remove(wakeup)
        if collection.error is not None:
            raise collection.error
        return collection.frames

    async def __aiter__(self) -> AsyncIterator[AnimationFrame]:
        collection, seen = self._current, 0
        wakeup = self._new_wakeup()
        collection.frame_waiters.append(wakeup)
        try:
            while True:
                while seen < len(collection.frames):
                    seen += 1
                    yield collection.frames[seen - 1]
                if collection.is_done:
                    break
                await wakeup.wait(None)
        finally:
            collection.frame_waiters.remove(wakeup)
        if collection.error is not None:
            raise collection.error

    # --- the session's callbacks, under the official SDKs' names --------------------

    def transport_frame(self, data: bytes, is_last: bool) -> None:  # noqa: ARG002, FBT001
        """Take a raw message; goes into ``transport_frames``."""
        self.calls += 1
        if self.sink is not None:
            self.sink.message(data)

    def on_error(self, error: Exception) -> None:
        """Take an error; goes into ``on_error``."""
        self.calls += 1
        if self.sink is not None:
            self.sink.failed(error)

    def on_close(self) -> None:
        """Take the end of the session; goes into ``on_close``."""
        self.calls += 1
        if self.sink is not None:
            self.sink.ended()

    # --- called by the pool ----------------------------------------------------------

    def begin(self, req_id: str) -> None:
        """Start a fresh collection; one that no request has begun is taken over."""
        previous = self._current
        if previous.req_id is not None:
            previous.finish(
                SessionStateError(f"request {previous.req_id} was followed by {req_id}")
            )
            self._current = Collection()
        self._current.req_id = req_id

    def add(self, frame: AnimationFrame) -> None:
        """Append a frame of the current request."""
        self._current.add(frame)

    def finish(self, error: Exception | None = None) -> None:
        """End the current collection; without an error, with what has come."""
        self._current.finish(error)
