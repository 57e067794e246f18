"""The frames of one request after another, as a borrower sees them.

What sleeps is a `Wakeup` per waiter; all else here is plain data.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from math import inf

from avatarpool.client.wiring import CallbackSink
from avatarpool.exceptions import AvatarSDKError, AvatarSDKErrorCode, SessionStateError
from avatarpool.pool.arguments import check_number
from avatarpool.pool.collection import Collection, CollectionLimits, Wakeup
from avatarpool.pool.wakeup import EventWakeup
from avatarpool.protocol.codec import decode
from avatarpool.protocol.messages import AnimationFrame

# Requests that `AnimationCollector.reset` left before their last frame and whose late
# frames are known; of older ones none are to be expected.
_REMEMBERED = 64


class AnimationCollector:
    """Collects the frames of a borrower's current request.

    Each new request starts a fresh collection; `frames`, `last`, `error` and `wait()`
    speak of the current one. ``async for frame in collector`` gives frames as
    they arrive and ends with the request; it may start before the request does:
    once the current one has been read to its end, it is about the next.

    Without a pool, ``AnimationCollector()`` is wired to a session by hand, ours or an
    official SDK's: `transport_frame`, `on_error` and `on_close` go into its
    callbacks. Such a collector hears of frames and not of requests: call `reset`
    before the next one.

    Args:
        new_wakeup: Makes a `Wakeup` for each waiter.
        limits: What a request may bring, and how long its frames may take.
    """

    def __init__(
        self,
        new_wakeup: Callable[[], Wakeup] = EventWakeup,
        limits: CollectionLimits | None = None,
    ) -> None:
        self._new_wakeup = new_wakeup
        self._limits = limits or CollectionLimits()
        # Where the callbacks below lead in a pool, for sessions that have no other
        # way to report; None: here.
        self.sink: CallbackSink | None = None
        self._current = Collection(self._limits)
        self._next: Collection | None = None  # that somebody reads already
        # Whether requests follow each other here, as on a borrowed connection until its return.
        self.goes_on = False
        # Calls of the session callbacks below: whoever wraps a user's own
        # callback learns from it whether that one passed its call on.
        self.calls = 0
        self._left: dict[str, None] = {}  # requests whose late frames are unwanted

    def __repr__(self) -> str:
        current = self._current
        state = "failed" if current.error else "done" if current.is_done else "collecting"
        return f"<AnimationCollector {current.req_id} {state}, {len(current.frames)} frames>"

    @property
    def frames(self) -> list[AnimationFrame]:
        """The current request's frames so far, in order of arrival."""
        return self._current.frames

    @property
    def last(self) -> bool:
        """Whether the current request's last frame has come."""
        frames = self._current.frames
        return bool(frames) and frames[-1].end

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

    @property
    def is_settled(self) -> bool:
        """Whether nobody waits for anything that has not come."""
        return self._current.is_done and self._next is None

    async def wait(self, timeout: float | None = None) -> list[AnimationFrame]:
        """Wait for the current request's last frame and return all its frames.

        Where frames go to a room there are none to wait for: the list is empty
        as soon as the audio is sent. An interrupted request is over at once,
        with the frames that had come. Cancelling ends the waiting alone; the
        request goes on.

        Args:
            timeout: Seconds; left out, the pool's ``request_timeout``, and without a
                pool no limit.

        Raises:
            RequestTimeout: The last frame did not come in time, or a watchdog
                of the pool (``first_frame_timeout``, ``frame_gap_timeout``) bit. Its
                cause is an error of the service that may have been about it, if any.
            AvatarSDKError: The request or its connection failed.
            SessionStateError: The connection was returned before the end.
            PoolClosed: The pool was closed, and its patience ran out.
            ConfigurationError: The timeout is no number.
        """
        if timeout is not None:
            check_number("the collector cannot wait", timeout=timeout)
        limits, collection = self._limits, self._current
        if timeout is None:
            timeout = limits.timeout
        if not collection.is_done:
            if (limits.first_frame_timeout, limits.frame_gap_timeout) == (None, None):
                await collection.until_done(self._new_wakeup(), timeout)
            else:
                async for _ in self.stream(timeout):
                    pass
        collection.was_read = True
        if collection.error is not None:
            raise collection.error
        return collection.frames

    def __aiter__(self) -> AsyncIterator[AnimationFrame]:
        return self.stream()

    async def stream(
        self, timeout: float | None = None, patience: float | None = None
    ) -> AsyncGenerator[AnimationFrame, None]:
        """Give the current request's frames as they arrive, and end with it.

        ``async for frame in collector`` does the same with the pool's limits. The
        time that the caller takes for a frame counts for ``timeout`` alone, and
        what has arrived is given however late it is asked for.

        Args:
            timeout: Seconds for all frames; left out, the pool's ``request_timeout``,
                and ``math.inf`` for no limit.
            patience: Seconds for the first frame and for each further one; left
                out, the pool's ``first_frame_timeout`` and ``frame_gap_timeout``.

        Raises:
            RequestTimeout: A frame did not come in time.
            AvatarSDKError, SessionStateError, PoolClosed: As `wait` does.
        """
        check_number("the collector cannot wait", timeout=timeout or 0, patience=patience or 0)
        limits, collection, wakeup = self._limits, self._unread(), self._new_wakeup()
        timeout = _first_of(timeout, limits.timeout)
        first = _first_of(patience, limits.first_frame_timeout)
        gap = _first_of(patience, limits.frame_gap_timeout)
        deadline = wakeup.now() + timeout
        seen = 0
        collection.frame_waiters.append(wakeup)
        try:
            while True:
                while seen < len(collection.frames):
                    seen += 1
                    yield collection.frames[seen - 1]
                if collection.is_done:
                    break
                await collection.until_more(wakeup, seen, gap if seen else first, timeout, deadline)
        finally:
            collection.frame_waiters.remove(wakeup)
        collection.was_read = True
        if collection.error is not None:
            raise collection.error

    def _unread(self) -> Collection:
        """The current request's collection, or the next one's where that was read."""
        current = self._current
        if not (self.goes_on and current.is_done and current.was_read):
            return current
        if self._next is None:
            self._next = Collection(self._limits)
        return self._next

    def reset(self) -> None:
        """Forget what was collected: what comes from now on is the next request's.

        Whoever still waits has a `SessionStateError`, and late frames of a request that
        was not over are dropped. In a pool this does nothing, as each new request
        starts afresh by itself.
        """
        if not self.calls:
            return
        self._leave_current()
        self._current.finish(SessionStateError("the collector was reset before the last frame"))
        self._current = self._next or Collection(self._limits)
        self._next = None

    # --- the session's callbacks, under the official SDKs' names --------------------

    def transport_frame(self, data: bytes, is_last: bool) -> None:  # noqa: ARG002, FBT001
        """Take a raw message; goes into ``transport_frames``."""
        self.calls += 1
        if self.sink is not None:
            self.sink.message(data)
        else:
            self._take(data)

    def on_error(self, error: Exception) -> None:
        """Take an error; goes into ``on_error``."""
        self.calls += 1
        if self.sink is not None:
            self.sink.failed(error)
        else:
            self._fail(error)

    def on_close(self) -> None:
        """Take the end of the session; goes into ``on_close``."""
        self.calls += 1
        if self.sink is not None:
            self.sink.ended()
        elif not self.is_done:
            self.finish(
                AvatarSDKError(
                    AvatarSDKErrorCode.connectionClosed,
                    "the session was closed before the last frame",
                    phase="websocket_runtime",
                    req_id=self.req_id,
                )
            )

    def _take(self, data: bytes) -> None:
        try:
            frame = decode(bytes(data))
        except AvatarSDKError as error:
            self._fail(error)
            return
        if not isinstance(frame, AnimationFrame):
            return
        if frame.req_id in self._left:
            if frame.end:
                del self._left[frame.req_id]
            return
        if frame.req_id != self.req_id:
            self._leave_current()
            self.begin(frame.req_id)
        self._current.add(frame)

    def _fail(self, error: Exception) -> None:
        req_id = getattr(error, "req_id", None) or None  # one SDK has "" there
        if req_id is None or (req_id not in self._left and self.req_id in (None, req_id)):
            self.finish(error)

    def _leave_current(self) -> None:
        """Remember whose late frames are unwanted, unless its last one has come."""
        if self.req_id is not None and not self.last:
            self._left[self.req_id] = None
            if len(self._left) > _REMEMBERED:
                del self._left[next(iter(self._left))]

    # --- called by the pool ----------------------------------------------------------

    def begin(self, req_id: str) -> Collection:
        """Start a fresh collection; one that no request has begun is taken over."""
        previous = self._current
        if previous.req_id is not None:
            previous.finish(
                SessionStateError(f"request {previous.req_id} was followed by {req_id}")
            )
            self._current = self._next or Collection(self._limits)
            self._next = None
        self._current.req_id = req_id
        return self._current

    def finish(self, error: Exception | None = None) -> None:
        """End the current collection, and a reader's hope for another one."""
        self._current.finish(error)
        if self._next is not None:
            self._next.finish(error)


def _first_of(told: float | None, limit: float | None) -> float:
    """The caller's own limit, or the pool's, or none."""
    if told is not None:
        return told
    return inf if limit is None else limit
