"""The requests of one served session: which are open, which ids are spent."""

from __future__ import annotations

from avatarpool.exceptions import SessionStateError
from avatarpool.protocol.state import RequestEvent, RequestState, Role, next_request_state
from avatarpool.protocol.texts import shown


class RequestRefused(Exception):
    """Audio that belongs to no request that could still take it."""


class RequestTable:
    """Follows every request of one session by the server's table; no I/O.

    Args:
        max_open: Unfinished requests at once.
        max_id_bytes: Length of a request id.
        max_remembered: Finished requests whose ids stay known, oldest forgotten
            first.
    """

    def __init__(self, *, max_open: int, max_id_bytes: int, max_remembered: int) -> None:
        self._max_open = max_open
        self._max_id_bytes = max_id_bytes
        self._max_remembered = max_remembered
        self._open: dict[str, RequestState] = {}
        self._over: dict[str, None] = {}  # ids in the order in which they ended
        # Given up by us while their audio still comes: the client was told
        # once, the rest of that audio is dropped in silence.
        self._failed: set[str] = set()

    def __repr__(self) -> str:
        return f"<RequestTable {len(self._open)} open>"

    def __contains__(self, req_id: str) -> bool:
        return req_id in self._open

    def __len__(self) -> int:
        return len(self._open)

    @property
    def is_answering(self) -> bool:
        """Whether all audio of some request is here and its last frame is not out."""
        return RequestState.SENT in self._open.values()

    def audio(self, req_id: str, *, end: bool) -> bool:
        """Record a piece of audio; return whether it is wanted.

        Raises:
            RequestRefused: Its request is over, or may not begin.
        """
        if req_id in self._failed:
            if end:
                self._failed.discard(req_id)
            return False
        state = self._open.get(req_id)
        if state is None:
            self._check_new(req_id, end=end)
            state = RequestState.NEW
        event = RequestEvent.LAST_AUDIO if end else RequestEvent.AUDIO
        try:
            self._open[req_id] = next_request_state(Role.SERVER, state, event)
        except SessionStateError:
            raise RequestRefused(f"audio after the end of request {shown(req_id)}") from None
        return True

    def interrupt(self, req_id: str) -> bool:
        """Record an interrupt; return whether a last frame is owed.

        One is owed unless it went out already: to an id never heard of as
        well, so that a client that waits for it is not left waiting.

        Raises:
            RequestRefused: The id cannot be one of a request.
        """
        if req_id in self._over:
            return False
        self._check_id(req_id)
        self._finish(req_id, RequestEvent.INTERRUPT)
        return True

    def frame(self, req_id: str, *, end: bool) -> None:
        """Record a frame that is about to be sent.

        Raises:
            SessionStateError: The request is not open, or may not end yet.
        """
        if not end and req_id in self._open:
            return  # it leaves its request where it is
        state = self._open.get(req_id, RequestState.DONE)
        event = RequestEvent.LAST_FRAME if end else RequestEvent.FRAME
        next_request_state(Role.SERVER, state, event)
        del self._open[req_id]
        self._remember(req_id)

    def fail(self, req_id: str) -> None:
        """Record that the request is given up, its error about to be sent."""
        if self._open.get(req_id) is RequestState.SENDING:
            self._failed.add(req_id)
        self._finish(req_id, RequestEvent.FAIL)

    def abandon(self) -> None:
        """Forget the requests that are open: nobody will answer them."""
        self._open.clear()

    def _finish(self, req_id: str, event: RequestEvent) -> None:
        state = self._open.pop(req_id, None)
        if state is not None:
            next_request_state(Role.SERVER, state, event)
        self._remember(req_id)

    def _remember(self, req_id: str) -> None:
        self._over[req_id] = None
        if len(self._over) > self._max_remembered:
            oldest = next(iter(self._over))
            del self._over[oldest]
            self._failed.discard(oldest)

    def _check_new(self, req_id: str, *, end: bool) -> None:
        self._check_id(req_id)
        if req_id in self._over:
            raise RequestRefused(
                f"audio after the end of request {shown(req_id)}, or its id used again"
            )
        if len(self._open) >= self._max_open:
            self._remember(req_id)
            if not end:
                self._failed.add(req_id)
            raise RequestRefused(f"{len(self._open)} requests are unfinished, the limit here")

    def _check_id(self, req_id: str) -> None:
        size = len(req_id.encode())
        if not 0 < size <= self._max_id_bytes:
            raise RequestRefused(
                f"a request id has 1 to {self._max_id_bytes} bytes, this one {size}"
            )
