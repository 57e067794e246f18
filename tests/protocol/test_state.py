from __future__ import annotations

import itertools

import pytest

from avatarpool.exceptions import SessionStateError
from avatarpool.protocol.state import (
    REQUESTS,
    SESSION,
    RequestEvent,
    RequestState,
    Role,
    SessionEvent,
    SessionState,
    next_request_state,
    next_session_state,
)

S, E = RequestState, RequestEvent


def walk(role: Role, *events: RequestEvent) -> RequestState:
    state = S.NEW
    for event in events:
        state = next_request_state(role, state, event)
    return state


@pytest.mark.parametrize("role", Role)
def test_a_request_is_over_with_its_last_frame(role: Role):
    assert walk(role, E.AUDIO, E.FRAME, E.LAST_AUDIO) is S.SENT
    assert walk(role, E.AUDIO, E.FRAME, E.LAST_AUDIO, E.FRAME, E.LAST_FRAME) is S.DONE
    assert walk(role, E.LAST_AUDIO, E.LAST_FRAME) is S.DONE


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("event", [E.AUDIO, E.LAST_AUDIO])
def test_audio_after_the_end_is_illegal(role: Role, event: RequestEvent):
    with pytest.raises(SessionStateError, match="audio is not possible while a request is sent"):
        walk(role, E.LAST_AUDIO, event)
    with pytest.raises(SessionStateError, match="audio is not possible while a request is done"):
        walk(role, E.LAST_AUDIO, E.LAST_FRAME, event)


@pytest.mark.parametrize("role", Role)
def test_an_interrupt_may_come_after_everything(role: Role):
    assert walk(role, E.LAST_AUDIO, E.LAST_FRAME, E.INTERRUPT) is S.DONE


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("event", [E.FRAME, E.LAST_FRAME, E.INTERRUPT, E.FAIL])
def test_a_request_begins_with_audio(role: Role, event: RequestEvent):
    with pytest.raises(SessionStateError, match="while a request is new"):
        walk(role, event)


def test_an_interrupted_request_is_over_for_the_client_with_its_last_frame_alone():
    interrupted = (E.LAST_AUDIO, E.INTERRUPT)
    assert walk(Role.CLIENT, *interrupted, E.FRAME, E.INTERRUPT) is S.INTERRUPTED
    assert walk(Role.CLIENT, *interrupted, E.FRAME, E.LAST_FRAME) is S.DONE
    assert walk(Role.CLIENT, *interrupted, E.FAIL) is S.DONE
    assert walk(Role.SERVER, *interrupted) is S.DONE


def test_only_an_interrupted_request_can_be_written_off():
    assert walk(Role.CLIENT, E.LAST_AUDIO, E.INTERRUPT, E.FRAME, E.WRITE_OFF) is S.DONE
    for role, begun in itertools.product(Role, [(), (E.AUDIO,), (E.LAST_AUDIO,)]):
        with pytest.raises(SessionStateError, match="write_off is not possible"):
            walk(role, *begun, E.WRITE_OFF)
    with pytest.raises(SessionStateError, match="while a request is done"):
        walk(Role.CLIENT, E.LAST_AUDIO, E.INTERRUPT, E.WRITE_OFF, E.WRITE_OFF)


@pytest.mark.parametrize("answer", [E.LAST_FRAME, E.FAIL])
def test_a_request_answered_or_failed_early_still_owes_the_end_of_its_audio(answer):
    answered = (E.AUDIO, answer)
    assert walk(Role.CLIENT, *answered, E.AUDIO) is S.ANSWERED
    assert walk(Role.CLIENT, *answered, E.LAST_AUDIO) is S.DONE
    assert walk(Role.CLIENT, *answered, E.INTERRUPT) is S.DONE


@pytest.mark.parametrize("begun", [(E.AUDIO, E.AUDIO), (E.AUDIO, E.FRAME), (E.LAST_AUDIO,)])
@pytest.mark.parametrize("event", [E.INTERRUPT, E.FAIL])
def test_the_server_is_done_with_what_it_interrupts_or_fails(begun, event):
    assert walk(Role.SERVER, *begun, event) is S.DONE


def test_the_server_never_ends_a_request_before_its_audio_does():
    with pytest.raises(SessionStateError):
        walk(Role.SERVER, E.AUDIO, E.LAST_FRAME)


@pytest.mark.parametrize("role", Role)
def test_every_state_is_reached_and_leads_to_the_end(role: Role):
    table = REQUESTS[role]
    reached = {S.NEW}
    for _ in S:
        reached |= {after for state in reached for after in table[state].values()}
    assert reached == set(table)

    ending = {S.DONE}
    for _ in S:
        ending |= {state for state, row in table.items() if ending & set(row.values())}
    assert ending == set(table)


def test_a_session_opens_once():
    state = next_session_state(SessionState.NEW, SessionEvent.START)
    state = next_session_state(state, SessionEvent.CONFIRM)
    assert state is SessionState.OPEN
    for event in (SessionEvent.START, SessionEvent.CONFIRM):
        with pytest.raises(SessionStateError, match="is not possible while the session is open"):
            next_session_state(state, event)


def test_a_session_may_be_closed_at_any_time_and_stays_closed():
    for state in SessionState:
        assert next_session_state(state, SessionEvent.CLOSE) is SessionState.CLOSED
    for event in (SessionEvent.START, SessionEvent.CONFIRM):
        with pytest.raises(SessionStateError, match="while the session is closed"):
            next_session_state(SessionState.CLOSED, event)


def test_a_session_is_confirmed_only_while_it_opens():
    legal = [
        state
        for state, event in itertools.product(SessionState, [SessionEvent.CONFIRM])
        if event in SESSION[state]
    ]
    assert legal == [SessionState.OPENING]
