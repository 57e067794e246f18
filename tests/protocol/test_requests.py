from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from avatarpool.exceptions import SessionStateError
from avatarpool.protocol.requests import RequestLog


def test_pieces_of_one_request_share_a_fresh_id():
    log = RequestLog()
    first, is_new = log.audio(end=False)
    assert is_new
    assert log.audio(end=True) == (first, False)
    assert log.current == log.last == first
    log.frame(first, end=True)
    second, is_new = log.audio(end=True)
    assert is_new
    assert second != first


def test_a_second_request_at_once_is_refused_and_changes_nothing():
    log = RequestLog()
    req_id, _ = log.audio(end=True)
    with pytest.raises(SessionStateError, match=f"request {req_id} is still being answered"):
        log.audio(end=False)
    with pytest.raises(SessionStateError, match="wait for its last frame or interrupt it"):
        log.check_free()
    assert log.current == log.last == req_id
    assert log.frame(req_id, end=True)
    log.check_free()


def test_frames_before_the_audio_ends_belong_to_the_request():
    log = RequestLog()
    req_id, _ = log.audio(end=False)
    assert log.frame(req_id, end=False)
    assert log.is_half_sent


def test_an_early_last_frame_leaves_the_request_half_sent():
    log = RequestLog()
    req_id, _ = log.audio(end=False)
    assert log.frame(req_id, end=True)
    assert log.is_half_sent
    assert not log.is_settled
    assert not log.frame(req_id, end=False)
    assert log.audio(end=True) == (req_id, False)
    assert log.is_settled


def test_an_interrupted_request_makes_room_at_once_and_settles_with_its_last_frame():
    log = RequestLog()
    old, _ = log.audio(end=True)
    assert log.interrupt() == old
    assert log.current is None
    new, is_new = log.audio(end=True)
    assert is_new
    assert not log.frame(old, end=False)
    assert log.frame(new, end=True)
    assert not log.is_settled
    assert not log.frame(old, end=True)
    assert log.is_settled


def test_an_interrupt_needs_a_request():
    with pytest.raises(SessionStateError, match="there is no request to interrupt"):
        RequestLog().interrupt()


def test_a_finished_request_may_be_interrupted():
    log = RequestLog()
    req_id, _ = log.audio(end=True)
    log.frame(req_id, end=True)
    assert log.interrupt() == req_id
    assert log.is_settled


def test_a_request_that_the_server_gives_up_is_over():
    log = RequestLog()
    req_id, _ = log.audio(end=True)
    assert log.fail(req_id)
    assert log.is_settled
    assert not log.fail(req_id)
    assert not log.frame(req_id, end=True)


def test_the_rest_of_a_failed_request_is_not_the_next_one():
    log = RequestLog()
    req_id, _ = log.audio(end=False)
    assert log.fail(req_id)
    assert log.is_half_sent
    assert not log.is_settled
    assert not log.fail(req_id)  # the server may say so again
    assert log.audio(end=False) == (req_id, False)
    assert log.audio(end=True) == (req_id, False)
    assert log.is_settled


def test_an_interrupted_request_that_fails_is_nobodys_concern():
    log = RequestLog()
    req_id, _ = log.audio(end=True)
    log.interrupt()
    assert not log.fail(req_id)
    assert log.is_settled


@pytest.mark.parametrize("leave", [lambda log: log.audio(end=True), lambda log: log.interrupt()])
def test_a_request_into_a_room_is_over_once_its_audio_ends_or_is_interrupted(leave):
    log = RequestLog(expects_frames=False)
    log.audio(end=False)
    assert not log.is_settled
    leave(log)
    assert log.is_settled
    assert log.current is None


def test_a_foreign_session_chooses_the_id():
    log = RequestLog()
    assert log.audio(end=False, req_id="theirs") == ("theirs", True)
    assert log.current == "theirs"


def test_a_log_shows_its_current_request():
    log = RequestLog()
    log.audio(end=True, req_id="r-1")
    assert repr(log) == "<RequestLog current=r-1 open=1>"


# --- interrupted, and no end to be seen ---------------------------------------------


def test_a_request_that_is_written_off_is_over_and_what_still_comes_of_it_is_late():
    log = RequestLog()
    old, _ = log.audio(end=True)
    log.interrupt()
    log.write_off()
    assert log.is_settled
    assert not log.frame(old, end=False)
    assert log.breach(old) is None
    assert not log.frame(old, end=True)
    assert log.breach(old) is None


def test_writing_off_leaves_the_current_request_alone():
    log = RequestLog()
    old, _ = log.audio(end=True)
    log.interrupt()
    current, _ = log.audio(end=False)
    log.write_off()
    assert log.current == current
    assert log.is_half_sent
    assert log.audio(end=True) == (current, False)
    assert not log.frame(old, end=True)
    assert log.frame(current, end=True)
    assert log.is_settled


def test_a_request_fades_from_its_interrupt_to_its_end():
    log = RequestLog()
    assert log.fading is None
    req_id, _ = log.audio(end=True)
    assert log.fading is None
    log.interrupt()
    assert log.fading == req_id
    log.frame(req_id, end=False)
    assert log.fading == req_id
    log.frame(req_id, end=True)
    assert log.fading is None


@pytest.mark.parametrize(
    "ends",
    [lambda log, req_id: log.frame(req_id, end=True), lambda log, req_id: log.fail(req_id)],
    ids=["last frame", "failure"],
)
def test_a_request_that_is_written_off_fades_until_its_own_end(ends):
    log = RequestLog()
    req_id, _ = log.audio(end=True)
    log.interrupt()
    log.write_off()
    assert log.fading == req_id
    log.frame(req_id, end=False)
    assert log.fading == req_id
    assert not ends(log, req_id)
    assert log.fading is None


def test_a_request_that_is_written_off_fades_until_a_later_one_has_a_frame():
    log = RequestLog()
    old, _ = log.audio(end=True)
    log.interrupt()
    log.write_off()
    new, _ = log.audio(end=True)
    assert log.fading == old
    log.frame(new, end=False)
    assert log.fading is None


def test_an_interrupted_request_is_past_once_a_later_one_has_a_frame():
    log = RequestLog()
    old, _ = log.audio(end=True)
    log.interrupt()
    new, _ = log.audio(end=True)
    assert log.fading == old
    log.frame(new, end=False)
    assert log.fading is None
    log.interrupt()
    assert log.fading == old


def test_the_oldest_of_several_that_fade_is_named_first():
    log = RequestLog()
    requests = []
    for _ in range(2):
        requests.append(log.audio(end=True)[0])
        log.interrupt()
        log.write_off()
    requests.append(log.audio(end=True)[0])
    log.interrupt()
    for req_id in requests:
        assert log.fading == req_id
        log.fail(req_id)
    assert log.fading is None


def test_a_request_that_is_not_remembered_any_more_fades_no_longer():
    log = RequestLog()
    log.audio(end=True)
    log.interrupt()
    log.write_off()
    for _ in range(64):
        log.fail(log.audio(end=True)[0])
    assert log.fading is None


# --- against a naive model ---------------------------------------------------------


@dataclass
class Request:
    """What a person would note about one request."""

    req_id: str
    all_sent: bool = False
    all_received: bool = False
    interrupted: bool = False
    failed: bool = False
    written_off: bool = False

    def is_over(self, *, expects_frames) -> bool:
        said_all = self.all_sent or self.interrupted
        heard_all = self.all_received or self.failed or self.written_off or not expects_frames
        return said_all and heard_all


def test_what_is_wrong_with_an_unwanted_frame():
    log = RequestLog()
    assert "never made" in (log.breach("x" * 1000) or "")
    assert len(log.breach("x" * 1000) or "") < 150
    answered, _ = log.audio(end=True)
    log.frame(answered, end=True)
    assert log.breach(answered) == f"request {answered} was answered after its last frame"
    failed, _ = log.audio(end=True)
    log.fail(failed)
    assert log.breach(failed) is None  # its frames may have been under way
    interrupted, _ = log.audio(end=True)
    log.interrupt()
    assert log.breach(interrupted) is None
    log.frame(interrupted, end=True)
    assert log.breach(interrupted) is None  # the interrupt may be answered too
    for _ in range(64):
        log.frame(log.audio(end=True)[0], end=True)
    assert not log.has_made(answered)  # so many are not remembered
    assert RequestLog(expects_frames=False).breach("x") is None


def test_an_interrupt_of_a_finished_request_may_be_answered():
    log = RequestLog()
    req_id, _ = log.audio(end=True)
    log.frame(req_id, end=True)
    log.interrupt()
    assert log.breach(req_id) is None


@pytest.mark.parametrize("ended_first", [True, False])
def test_an_interrupt_that_crossed_the_end_may_be_answered_until_a_later_request_is(ended_first):
    log = RequestLog()

    def cross() -> str:
        req_id, _ = log.audio(end=True)
        steps = [lambda: log.frame(req_id, end=True), log.interrupt]
        for step in steps if ended_first else reversed(steps):
            step()
        return req_id

    crossed = cross()
    assert (log.crossed, log.fading) == (crossed, None)
    log.fail(crossed)
    assert log.crossed is None
    crossed = cross()
    later, _ = log.audio(end=True)
    assert log.crossed == crossed
    log.frame(later, end=False)
    assert log.crossed is None


class RequestLogMachine(RuleBasedStateMachine):
    """Does to a log what borrowers and servers may do, and notes it."""

    @initialize(expects_frames=st.booleans())
    def begin(self, expects_frames):
        self.expects_frames = expects_frames
        self.log = RequestLog(expects_frames=expects_frames)
        self.requests: list[Request] = []

    def is_over(self, request: Request) -> bool:
        return request.is_over(expects_frames=self.expects_frames)

    @property
    def current(self) -> Request | None:
        """The latest request, if anybody still cares for it."""
        if not self.requests:
            return None
        latest = self.requests[-1]
        return None if latest.interrupted or self.is_over(latest) else latest

    @rule(end=st.booleans())
    def audio(self, end):
        current = self.current
        if current is not None and current.all_sent:
            before = repr(self.log)
            with pytest.raises(SessionStateError):
                self.log.audio(end=end)
            assert repr(self.log) == before
            return
        req_id, is_new = self.log.audio(end=end)
        assert is_new == (current is None)
        if current is None:
            assert req_id not in [request.req_id for request in self.requests]
            current = Request(req_id)
            self.requests.append(current)
        assert req_id == current.req_id
        current.all_sent = end

    @precondition(lambda self: self.requests)
    @rule(data=st.data(), end=st.booleans())
    def frame(self, data: st.DataObject, end):
        request = data.draw(st.sampled_from(self.requests))
        is_possible = not (self.is_over(request) or request.all_received or request.failed)
        is_wanted = is_possible and request is self.current
        assert self.log.frame(request.req_id, end=end) == is_wanted
        if is_possible:
            request.all_received = end

    @rule(end=st.booleans())
    def frame_of_nobody(self, end):
        assert not self.log.frame("of nobody", end=end)
        assert not self.log.fail("of nobody")

    @rule()
    def interrupt(self):
        if not self.requests:
            with pytest.raises(SessionStateError):
                self.log.interrupt()
            return
        latest = self.requests[-1]
        assert self.log.interrupt() == latest.req_id
        latest.interrupted = True

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def fail(self, data: st.DataObject):
        request = data.draw(st.sampled_from(self.requests))
        is_news = not (request.all_received or request.failed)
        assert self.log.fail(request.req_id) == (is_news and request is self.current)
        request.failed = True

    @rule()
    def write_off(self):
        self.log.write_off()
        for request in self.requests:
            if request.interrupted and not self.is_over(request):
                request.written_off = True

    @invariant()
    def the_log_agrees(self):
        current = self.current
        assert self.log.current == (current.req_id if current else None)
        assert self.log.last == (self.requests[-1].req_id if self.requests else None)
        assert self.log.is_half_sent == (current is not None and not current.all_sent)
        assert self.log.is_settled == all(map(self.is_over, self.requests))


def test_a_log_agrees_with_a_naive_model():
    run_state_machine_as_test(
        RequestLogMachine, settings=settings(max_examples=150, stateful_step_count=30)
    )
