"""Which message may come when: one table per role, after h11's example.

``REQUESTS[role][state][event]`` is the next state. A missing key is the error,
and an illegal event changes nothing. The two roles see the same request from
their own ends: what is sent by one may still be on its way to the other, so
the client has states for "I have stopped caring, the server has not heard yet"
that the server does not need.
"""

from __future__ import annotations

from enum import Enum, auto

from avatarpool.exceptions import SessionStateError


class Role(Enum):
    """Which end of the wire keeps the state."""

    CLIENT = auto()
    SERVER = auto()

    __hash__ = object.__hash__  # members are one of a kind; Enum's own hashes their name


class RequestState(Enum):
    """Where one request stands."""

    NEW = auto()
    SENDING = auto()  # audio began, its last piece has not been sent
    ANSWERED = auto()  # client only: the last frame, or a failure, before the last audio
    SENT = auto()  # all audio is there, the last frame is not
    INTERRUPTED = auto()  # client only: frames may still come and are unwanted
    DONE = auto()

    __hash__ = object.__hash__


class RequestEvent(Enum):
    """What happens to one request."""

    AUDIO = auto()
    LAST_AUDIO = auto()
    FRAME = auto()
    LAST_FRAME = auto()
    INTERRUPT = auto()
    WRITE_OFF = auto()
    FAIL = auto()

    __hash__ = object.__hash__


S, E = RequestState, RequestEvent

REQUESTS: dict[Role, dict[RequestState, dict[RequestEvent, RequestState]]] = {
    Role.CLIENT: {
        S.NEW: {E.AUDIO: S.SENDING, E.LAST_AUDIO: S.SENT},
        S.SENDING: {
            E.AUDIO: S.SENDING,
            E.LAST_AUDIO: S.SENT,
            # Animation may start, and even end, before the audio does.
            E.FRAME: S.SENDING,
            E.LAST_FRAME: S.ANSWERED,
            E.INTERRUPT: S.INTERRUPTED,
            E.FAIL: S.ANSWERED,
        },
        # The server has answered or failed the request, yet our audio is half
        # sent: its end, or an interrupt in its place, makes the connection clean
        # again. Until then what follows is the rest of it, not the next request.
        S.ANSWERED: {E.AUDIO: S.ANSWERED, E.LAST_AUDIO: S.DONE, E.INTERRUPT: S.DONE},
        S.SENT: {
            E.FRAME: S.SENT,
            E.LAST_FRAME: S.DONE,
            E.INTERRUPT: S.INTERRUPTED,
            E.FAIL: S.DONE,
        },
        # Frames that left before the server heard of the interrupt still come; the
        # request is over with its last one, or where a server stops in silence, once
        # whoever watches it has reason to think so.
        S.INTERRUPTED: {
            E.FRAME: S.INTERRUPTED,
            E.LAST_FRAME: S.DONE,
            E.INTERRUPT: S.INTERRUPTED,
            E.WRITE_OFF: S.DONE,
            E.FAIL: S.DONE,
        },
        S.DONE: {E.INTERRUPT: S.DONE},
    },
    Role.SERVER: {
        S.NEW: {E.AUDIO: S.SENDING, E.LAST_AUDIO: S.SENT},
        S.SENDING: {
            E.AUDIO: S.SENDING,
            E.LAST_AUDIO: S.SENT,
            E.FRAME: S.SENDING,
            E.INTERRUPT: S.DONE,
            E.FAIL: S.DONE,
        },
        S.SENT: {
            E.FRAME: S.SENT,
            E.LAST_FRAME: S.DONE,
            E.INTERRUPT: S.DONE,
            E.FAIL: S.DONE,
        },
        # No AUDIO here: audio after ``end`` and a reused id are the same error.
        S.DONE: {E.INTERRUPT: S.DONE},
    },
}


class SessionState(Enum):
    """Where a client's session stands."""

    NEW = auto()
    OPENING = auto()
    OPEN = auto()
    CLOSED = auto()


class SessionEvent(Enum):
    """What happens to a client's session."""

    START = auto()
    CONFIRM = auto()
    CLOSE = auto()


SESSION: dict[SessionState, dict[SessionEvent, SessionState]] = {
    SessionState.NEW: {
        SessionEvent.START: SessionState.OPENING,
        SessionEvent.CLOSE: SessionState.CLOSED,
    },
    SessionState.OPENING: {
        SessionEvent.CONFIRM: SessionState.OPEN,
        SessionEvent.CLOSE: SessionState.CLOSED,
    },
    SessionState.OPEN: {SessionEvent.CLOSE: SessionState.CLOSED},
    SessionState.CLOSED: {SessionEvent.CLOSE: SessionState.CLOSED},
}


def next_request_state(role: Role, state: RequestState, event: RequestEvent) -> RequestState:
    """Look up the transition.

    Raises:
        SessionStateError: There is none.
    """
    try:
        return REQUESTS[role][state][event]
    except KeyError:
        raise SessionStateError(
            f"{event.name.lower()} is not possible while a request is {state.name.lower()}"
        ) from None


def next_session_state(state: SessionState, event: SessionEvent) -> SessionState:
    """Look up the transition.

    Raises:
        SessionStateError: There is none.
    """
    try:
        return SESSION[state][event]
    except KeyError:
        raise SessionStateError(
            f"{event.name.lower()} is not possible while the session is {state.name.lower()}"
        ) from None
