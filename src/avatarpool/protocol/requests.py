"""The requests of one client session: which is current, which are not over yet."""

from __future__ import annotations

from collections import OrderedDict

from avatarpool.exceptions import SessionNotReady, SessionStateError
from avatarpool.protocol.request_ids import generate_log_id
from avatarpool.protocol.state import RequestEvent, RequestState, Role, next_request_state

_REMEMBERED = 64
"""Past requests whose late frames are told from frames of requests that never were."""


# Looked up once: on Python 3.11 an enum's member costs a call, and every frame takes some.
_NEW, _SENDING, _ANSWERED, _SENT, _INTERRUPTED, _DONE = RequestState


class RequestLog:
    """Follows the requests of one session by the client's table; does no I/O.

    A session serves one request at a time. An interrupted request does not
    stand in the way of the next one, yet keeps the session unsettled until its
    last frame is seen or it is written off.

    Args:
        expects_frames: False where frames go to a room: then a request is over
            as soon as its audio is sent or interrupted.
    """

    __slots__ = (
        "_crossed",
        "_is_answering",
        "_open",
        "_past",
        "_written_off",
        "current",
        "expects_frames",
        "is_interrupted",
        "last",
    )

    def __init__(self, *, expects_frames: bool = True) -> None:
        self.expects_frames = expects_frames
        self._open: dict[str, RequestState] = {}
        self.current: str | None = None  # whose audio or frames are under way
        self.last: str | None = None  # the most recent one, over or not
        self.is_interrupted = False  # whether that one was
        # Requests that are over, and whether they were cut short: of those, frames
        # may still be under way, an answer to an interrupt among them.
        self._past: OrderedDict[str, bool] = OrderedDict()
        # Those of them whose end was never seen, until a later request shows it.
        self._written_off: dict[str, None] = {}
        # Those whose end was seen, and whose interrupt may have crossed it, until then.
        self._crossed: dict[str, None] = {}
        self._is_answering = False  # whether the current request has a frame

    def __repr__(self) -> str:
        return f"<RequestLog current={self.current} open={len(self._open)}>"

    @property
    def is_settled(self) -> bool:
        """Whether nothing is half-sent and no frame can come any more."""
        return not self._open

    @property
    def is_half_sent(self) -> bool:
        """Whether the current request's audio has begun and not ended."""
        state = self._open.get(self.current or "")
        return state in (_SENDING, _ANSWERED)

    @property
    def is_speaking(self) -> bool:
        """Whether more audio of the current request would still be heard."""
        return self._open.get(self.current or "") is _SENDING

    @property
    def fading(self) -> str | None:
        """An interrupted request that may still be answered, written off or not.

        A service takes one at a time: once the current one has a frame, it is past them.
        """
        if self._is_answering:
            return None
        if self._written_off:
            return next(iter(self._written_off))
        return next((r for r, state in self._open.items() if state is _INTERRUPTED), None)

    @property
    def crossed(self) -> str | None:
        """A request that is over, and whose interrupt may still be answered."""
        return None if self._is_answering else next(iter(self._crossed), None)

    def audio(self, *, end: bool, req_id: str | None = None) -> tuple[str, bool]:
        """Record a piece of audio; return its request id and whether it is a new one.

        Args:
            end: Whether it is the request's last piece.
            req_id: The id that a foreign session chose; otherwise one is made.

        Raises:
            SessionStateError: The current request's audio has ended and its
                last frame has not come: a session serves one at a time.
        """
        is_new = not self.is_half_sent
        if is_new:
            self.check_free()
            self.current = self.last = req_id or generate_log_id()
            self.is_interrupted = self._is_answering = False
            self._open[self.current] = _NEW
        assert self.current is not None
        current = self.current
        self._advance(current, RequestEvent.LAST_AUDIO if end else RequestEvent.AUDIO)
        return current, is_new

    def check_free(self) -> None:
        """Raise `SessionStateError` if a new request cannot begin now."""
        if self.current is not None and not self.is_half_sent:
            raise SessionStateError(
                f"request {self.current} is still being answered: wait for its last frame "
                "or interrupt it before the next one, or borrow another connection"
            )

    def check_same(self, begun: str | None) -> None:
        """Raise `SessionStateError` if audio that waited its turn has lost its request."""
        if begun is not None and self.current != begun:
            raise SessionStateError(
                f"request {begun} was over before more of its audio could be sent"
            )

    def interrupt(self) -> str:
        """Record an interrupt of the most recent request and return its id.

        Raises:
            SessionNotReady: There was no request yet.
        """
        if self.last is None:
            raise SessionNotReady("there is no request to interrupt")
        if self.last in self._open:
            self._advance(self.last, RequestEvent.INTERRUPT)
        else:
            self._past[self.last] = True
            if self.expects_frames:  # otherwise no later request would show it
                self._crossed[self.last] = None
        self.current = None
        self._is_answering = False
        self.is_interrupted = True
        return self.last

    def frame(self, req_id: str, *, end: bool) -> bool:
        """Record a frame; return whether it belongs to the current request.

        False means that nobody wants it: its request is unknown, over or
        interrupted.
        """
        state = self._open.get(req_id)
        if state is None or state is _ANSWERED:
            if end:
                self._written_off.pop(req_id, None)
            return False
        wanted = req_id == self.current
        if wanted:
            self._is_answering = True
        if end:  # any other frame leaves its request where it is
            self._advance(req_id, RequestEvent.LAST_FRAME)
            if wanted:  # one at a time: the service is past the others
                self._written_off.clear()
                self._crossed.clear()
            else:
                self._crossed[req_id] = None
        return wanted

    def has_made(self, req_id: str) -> bool:
        """Whether a request is open, or among the latest that are over."""
        return req_id in self._open or req_id in self._past

    def breach(self, req_id: str) -> str | None:
        """Return what is wrong with an unwanted frame of a request; None: it is merely late."""
        if not self.expects_frames or req_id in self._open or self._past.get(req_id, False):
            return None
        if req_id in self._past:
            return f"request {req_id} was answered after its last frame"
        return f"a frame came for request {req_id[:64]!r}, which was never made"

    def fail(self, req_id: str) -> bool:
        """Record that the server gave a request up; return whether it was current."""
        self._written_off.pop(req_id, None)
        self._crossed.pop(req_id, None)
        if self._open.get(req_id) in (None, _ANSWERED):
            return False
        wanted = req_id == self.current
        self._advance(req_id, RequestEvent.FAIL)
        return wanted

    def write_off(self) -> None:
        """Take interrupted requests for over; what still comes of them is merely late."""
        for req_id in [r for r, state in self._open.items() if state is _INTERRUPTED]:
            self._advance(req_id, RequestEvent.WRITE_OFF)
            self._written_off[req_id] = None

    def _advance(self, req_id: str, event: RequestEvent) -> None:
        before = self._open[req_id]
        state = next_request_state(Role.CLIENT, before, event)
        waits = state in (_SENT, _INTERRUPTED)
        if state is _DONE or (waits and not self.expects_frames):
            del self._open[req_id]
            if self.current == req_id:
                self.current = None
            self._past[req_id] = before is not _SENT or event is RequestEvent.FAIL
            if len(self._past) > _REMEMBERED:
                forgotten, _ = self._past.popitem(last=False)
                self._written_off.pop(forgotten, None)
                self._crossed.pop(forgotten, None)
        else:
            self._open[req_id] = state
