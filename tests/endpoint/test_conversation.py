from __future__ import annotations

from math import inf

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from avatarpool.endpoint import refusals
from avatarpool.endpoint.accounts import Account
from avatarpool.endpoint.conversation import (
    Audio,
    Configured,
    Conversation,
    Over,
    Say,
    Stage,
    Stopped,
)
from avatarpool.endpoint.limits import ServiceLimits
from avatarpool.exceptions import SessionStateError
from avatarpool.protocol.codec import encode
from avatarpool.protocol.messages import (
    AnimationFrame,
    AudioInput,
    ConfigureSession,
    ConfirmSession,
    Interrupt,
    Pause,
    PlaybackState,
    Resume,
    ServerError,
)
from avatarpool.protocol.settings import AudioFormat

CONFIGURATION = ConfigureSession(16000, AudioFormat.PCM_S16LE)
LIMITS = ServiceLimits(
    max_session_duration=100.0,
    idle_timeout=20.0,
    handshake_timeout=5.0,
    max_open_requests=2,
    max_request_bytes=10,
    max_request_id_bytes=4,
    max_configuration_bytes=200,
)
BEGAN = 1000.0


def an_account(slots=1):
    return Account("app", "key", balance=None, max_connections=slots, max_handshakes=1)


class Talk:
    """A conversation, and what is said in it at a time."""

    def __init__(self, account=None, limits=LIMITS):
        self.account = account or an_account()
        self.now = BEGAN
        self.conversation = Conversation(
            "c1", "avatar", self.account, limits, takes_opus=True, now=self.now
        )

    def hears(self, message):
        data = message if isinstance(message, bytes) else encode(message)
        return self.conversation.receive(data, self.now)

    def confirmed(self):
        return self.conversation.confirm(self.now)

    def audio(self, req_id, audio=b"\0\0", *, end=False):
        return self.hears(AudioInput(req_id, audio, end))

    def frame(self, req_id, *, end=False):
        return self.conversation.frame(req_id, b"face", end=end)


def at(stage, **options):
    """A talk that has come so far."""
    talk = Talk(**options)
    if stage is not Stage.GREETING:
        talk.hears(CONFIGURATION)
    if stage in (Stage.OPEN, Stage.OVER):
        talk.confirmed()
    if stage is Stage.OVER:
        talk.conversation.end()
    assert talk.conversation.stage is stage
    return talk


def error(code, sentence, req_id):
    return Say(ServerError(code, sentence, "c1", req_id))


def last_frame(req_id):
    return Say(AnimationFrame(req_id, True, b"", "c1", "avatar"))


# --- stages ---------------------------------------------------------------------------

GARBAGE = b"\xff"
UNKNOWN = b"\x08\x63"  # of a type that does not exist
TOO_LARGE = encode(ConfigureSession(16000, AudioFormat.PCM_S16LE, extra_params={"k": "v" * 200}))


def expected_configuration(name):
    sentence = f"unexpected message type: expected ClientConfigureSession message, got {name}"
    return Over(refusals.Ending(1008, 0, sentence))


def out_of_place(name):
    return Over(refusals.Ending(1008, 0, f"unexpected message type: {name}"))


def no_message(what):
    return Over(refusals.Ending(1007, 0, f"{what}: message of 1 bytes cannot be decoded"))


TABLE = {
    Stage.GREETING: [
        (CONFIGURATION, [Configured(CONFIGURATION)]),
        (AudioInput("r", b"\0\0"), [expected_configuration("AudioInput")]),
        (Interrupt("r"), [expected_configuration("Interrupt")]),
        (Pause("r"), [expected_configuration("Pause")]),
        (ConfirmSession("c"), [expected_configuration("ConfirmSession")]),
        (UNKNOWN, [expected_configuration("UnknownMessage")]),
        (GARBAGE, [no_message("failed to unmarshal initial message")]),
        (TOO_LARGE, [Over(refusals.configuration_too_large(200))]),
    ],
    Stage.CONFIRMING: [
        (CONFIGURATION, []),
        (AudioInput("r", b"\0\0"), []),
        (Interrupt("r"), []),
        (Pause("r"), []),
        (ConfirmSession("c"), []),
        (UNKNOWN, []),
    ],
    Stage.OPEN: [
        (CONFIGURATION, [out_of_place("ConfigureSession")]),
        (AudioInput("r", b"\0\0"), [Audio("r", b"\0\0", end=False, is_first=True)]),
        (AudioInput("r", b"", end=True), [Audio("r", b"", end=True, is_first=True)]),
        (Interrupt("r"), [last_frame("r")]),
        (Pause("r"), []),
        (Resume("r"), []),
        (ConfirmSession("c"), [out_of_place("ConfirmSession")]),
        (ServerError(3, "no"), [out_of_place("ServerError")]),
        (AnimationFrame("r", True, b"", "c", "a"), [out_of_place("AnimationFrame")]),
        (PlaybackState("r", "playing"), [out_of_place("PlaybackState")]),
        (UNKNOWN, []),
        (GARBAGE, [no_message("unexpected message type")]),
        (TOO_LARGE, [out_of_place("ConfigureSession")]),
    ],
    Stage.OVER: [
        (CONFIGURATION, []),
        (AudioInput("r", b"\0\0"), []),
        (Interrupt("r"), []),
        (GARBAGE, []),
        (TOO_LARGE, []),
    ],
}


@pytest.mark.parametrize(
    ("stage", "message", "events"),
    [
        pytest.param(stage, message, events, id=f"{stage.value}-{type(message).__name__}-{i}")
        for stage, row in TABLE.items()
        for i, (message, events) in enumerate(row)
    ],
)
def test_each_message_means_one_thing_at_each_stage(stage, message, events):
    assert at(stage).hears(message) == events


def test_a_session_that_is_confirmed_is_open_and_takes_a_slot():
    talk = at(Stage.CONFIRMING)
    assert talk.account.connections == 0

    assert talk.confirmed() == [Say(ConfirmSession("c1"))]
    assert talk.account.connections == 1
    assert talk.conversation.counts.sessions == 1
    assert repr(talk.conversation) == "<Conversation c1 open 0 open>"


def test_a_session_beyond_the_slots_is_over_and_takes_none():
    account = an_account(slots=1)
    first, second = at(Stage.OPEN, account=account), at(Stage.CONFIRMING, account=account)

    assert second.confirmed() == [Over(refusals.too_many_connections(1))]
    second.conversation.end()
    assert account.connections == 1
    assert second.conversation.counts.sessions == 0
    first.conversation.end()
    assert account.connections == 0


@pytest.mark.parametrize("stage", [Stage.GREETING, Stage.OPEN, Stage.OVER])
def test_a_session_is_confirmed_once_and_only_while_that_is_awaited(stage):
    talk = at(stage)
    slots = talk.account.connections

    assert talk.confirmed() == []
    assert talk.account.connections == slots
    assert talk.conversation.stage is stage


@pytest.mark.parametrize("stage", Stage)
def test_a_slot_is_given_back_once_however_often_a_session_ends(stage):
    talk = at(stage)
    for _ in range(3):
        talk.conversation.end()

    assert talk.account.connections == 0
    assert talk.conversation.stage is Stage.OVER


# --- requests ---------------------------------------------------------------------------


def test_a_request_lives_from_its_first_audio_to_its_last_frame():
    talk = at(Stage.OPEN)

    assert talk.audio("r", b"ab") == [Audio("r", b"ab", end=False, is_first=True)]
    assert talk.frame("r") == AnimationFrame("r", False, b"face", "c1", "avatar")
    assert talk.audio("r", b"cd", end=True) == [Audio("r", b"cd", end=True, is_first=False)]
    assert talk.conversation.open_requests == 1
    assert talk.frame("r", end=True) == AnimationFrame("r", True, b"face", "c1", "avatar")
    assert talk.conversation.open_requests == 0
    counts = talk.conversation.counts
    assert (counts.served, counts.interrupted, counts.failed, counts.frames) == (1, 0, 0, 2)


@pytest.mark.parametrize("end", [False, True])
def test_an_interrupt_stops_the_request_and_answers_once(end):
    talk = at(Stage.OPEN)
    talk.audio("r", end=end)

    assert talk.hears(Interrupt("r")) == [Stopped("r"), last_frame("r")]
    assert talk.hears(Interrupt("r")) == []
    assert talk.conversation.counts.interrupted == 1
    assert talk.conversation.open_requests == 0


def test_an_interrupt_after_the_last_frame_says_nothing():
    talk = at(Stage.OPEN)
    talk.audio("r", end=True)
    talk.frame("r", end=True)

    assert talk.hears(Interrupt("r")) == []
    assert talk.conversation.counts.interrupted == 0


def test_an_interrupt_stops_what_a_room_plays_of_the_latest_request_once():
    talk = at(Stage.OPEN)
    for req_id in ("one", "two"):
        talk.audio(req_id, end=True)
        talk.conversation.shown(req_id)
    assert talk.hears(Interrupt("one")) == []
    assert talk.hears(Interrupt("two")) == [Stopped("two")]
    assert talk.hears(Interrupt("two")) == []
    talk.audio("tri", end=True)
    talk.conversation.shown("tri")
    talk.audio("four")
    assert talk.hears(Interrupt("tri")) == [], "four would be stopped in its place"


def test_an_interrupt_of_nothing_is_answered_and_not_counted():
    talk = at(Stage.OPEN)

    assert talk.hears(Interrupt("r")) == [last_frame("r")]
    assert talk.conversation.counts.interrupted == 0
    assert talk.audio("r")[-1] == error(
        3, "audio after the end of request r, or its id used again", "r"
    )


def test_a_request_that_fails_is_stopped_and_its_other_audio_dropped_in_silence():
    talk = at(Stage.OPEN)
    talk.audio("r")

    assert talk.conversation.fail("r", 13, "it broke") == [
        Stopped("r"),
        error(13, "it broke", "r"),
    ]
    assert talk.audio("r") == []
    assert talk.audio("r", end=True) == []
    assert talk.audio("r") == [
        error(3, "audio after the end of request r, or its id used again", "r")
    ]
    assert talk.conversation.counts.failed == 1


def stop_by_interrupt(talk):
    talk.hears(Interrupt("r"))


def stop_by_failure(talk):
    talk.conversation.fail("r", 13, "it broke")


def stop_by_audio_after_the_end(talk):
    talk.audio("r")


@pytest.mark.parametrize("end", [False, True])
@pytest.mark.parametrize("stop", [stop_by_interrupt, stop_by_failure, stop_by_audio_after_the_end])
def test_no_frame_follows_what_stopped_a_request(stop, end):
    talk = at(Stage.OPEN)
    talk.audio("r", end=True)
    stop(talk)
    counts = (talk.conversation.counts.served, talk.conversation.counts.frames)

    with pytest.raises(SessionStateError, match="is not possible while a request is done"):
        talk.frame("r", end=end)
    assert (talk.conversation.counts.served, talk.conversation.counts.frames) == counts


def test_no_last_frame_is_made_before_the_last_audio_and_the_request_goes_on():
    talk = at(Stage.OPEN)
    talk.audio("r")

    with pytest.raises(SessionStateError, match="last_frame is not possible"):
        talk.frame("r", end=True)
    assert talk.conversation.counts.served == 0
    assert not talk.audio("r", end=True)[0].is_first
    assert talk.frame("r", end=True).end


def test_audio_is_counted_by_request_and_refused_beyond_the_limit():
    talk = at(Stage.OPEN)
    talk.audio("one", bytes(10))
    talk.audio("two", bytes(8))

    assert talk.audio("two", bytes(2))[0].audio == bytes(2)
    assert talk.audio("two", b"\0") == [
        Stopped("two"),
        error(3, "request audio is larger than 10 bytes", "two"),
    ]
    assert talk.conversation.open_requests == 1


def test_a_request_in_the_place_of_a_finished_one_has_all_its_bytes():
    talk = at(Stage.OPEN)
    for req_id in ("a", "b", "c"):
        assert talk.audio(req_id, bytes(10), end=True)[0].is_first
        talk.frame(req_id, end=True)


def test_more_requests_than_allowed_are_refused_and_the_others_go_on():
    talk = at(Stage.OPEN)
    talk.audio("one")
    talk.audio("two")

    assert talk.audio("more") == [error(3, "2 requests are unfinished, the limit here", "more")]
    assert talk.audio("more", end=True) == []
    assert talk.conversation.counts.failed == 0  # it never was one
    assert talk.audio("one", end=True)[0].end


@pytest.mark.parametrize(("req_id", "shown"), [("", ""), ("12345", "1234"), ("ééé", "éé")])
def test_an_id_of_the_wrong_length_is_shown_cut(req_id, shown):
    talk = at(Stage.OPEN)
    size = len(req_id.encode())
    refused = [error(3, f"a request id has 1 to 4 bytes, this one {size}", shown)]

    assert talk.audio(req_id) == refused
    assert talk.hears(Interrupt(req_id)) == refused
    assert talk.conversation.open_requests == 0


def test_a_session_that_is_over_has_no_open_requests():
    talk = at(Stage.OPEN)
    talk.audio("r")
    talk.conversation.end()

    assert talk.conversation.open_requests == 0
    assert talk.conversation.counts.failed == 0


# --- time -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "after", "ending"),
    [
        (Stage.GREETING, 5.0, refusals.no_configuration(5.0)),
        (Stage.CONFIRMING, 100.0, refusals.session_expired(100.0)),
        (Stage.OPEN, 20.0, refusals.idle(20.0)),
    ],
)
def test_each_stage_ends_at_its_deadline_and_not_before(stage, after, ending):
    conversation = at(stage).conversation

    assert conversation.deadline == BEGAN + after
    assert conversation.expire(BEGAN + after - 0.001) is None
    assert conversation.expire(BEGAN + after) == Over(ending)


def test_a_session_is_no_older_than_allowed_however_much_is_said():
    talk = at(Stage.OPEN)
    while talk.now < BEGAN + 95.0:
        talk.now += 5.0
        talk.audio("r", b"")
        talk.hears(AudioInput(f"{talk.now:g}", b"\0"))
        talk.hears(Interrupt(f"{talk.now:g}"))

    assert talk.conversation.deadline == BEGAN + 100.0
    assert talk.conversation.expire(BEGAN + 100.0) == Over(refusals.session_expired(100.0))
    assert talk.conversation.expire(BEGAN + 100.0, is_busy=True) is not None


@pytest.mark.parametrize(
    ("message", "is_audio"),
    [
        (AudioInput("r", b"\0\0"), True),
        (AudioInput("r", b"", end=True), True),
        (AudioInput("r", b""), False),
        (Interrupt("r"), False),
        (Pause("r"), False),
        (UNKNOWN, False),
    ],
)
def test_audio_alone_keeps_a_session_from_being_idle(message, is_audio):
    talk = at(Stage.OPEN)
    talk.now += 7.0
    talk.hears(message)

    assert talk.conversation.deadline == BEGAN + 20.0 + 7.0 * is_audio


def test_a_session_is_not_idle_while_it_answers():
    talk = at(Stage.OPEN)
    talk.audio("r", end=True)
    for late in (20.0, 40.0):
        assert talk.conversation.expire(BEGAN + late) is None
        assert talk.conversation.deadline == BEGAN + late + 20.0
    talk.frame("r", end=True)

    assert talk.conversation.expire(BEGAN + 60.0) == Over(refusals.idle(20.0))


def test_a_session_is_not_idle_while_audio_waits_here():
    talk = at(Stage.OPEN)
    talk.audio("r")  # whose end has not come: nobody is being answered

    assert talk.conversation.expire(BEGAN + 20.0, is_busy=True) is None
    assert talk.conversation.deadline == BEGAN + 40.0
    assert talk.conversation.expire(BEGAN + 40.0) == Over(refusals.idle(20.0))


def test_a_session_that_is_over_has_no_deadline():
    talk = at(Stage.OVER)

    assert talk.conversation.deadline == inf
    assert talk.conversation.expire(BEGAN + 1000.0) is None


# --- everything in any order ---------------------------------------------------------------

REQUESTS = st.sampled_from(["a", "b", "c", "d"])


class AnyOrder(RuleBasedStateMachine):
    """Client, face and clock do what they like; what must hold is looked at after each step."""

    def __init__(self):
        super().__init__()
        self.talk = Talk(limits=LIMITS)
        self.begun = set()
        self.over = set()  # stopped, or with a last frame
        self.is_over = False

    def carry_out(self, events):
        for event in events:
            match event:
                case Audio(req_id):
                    assert event.is_first is (req_id not in self.begun)
                    assert req_id not in self.over
                    self.begun.add(req_id)
                case Stopped(req_id):
                    assert req_id in self.begun - self.over
                    self.over.add(req_id)
                case Configured():
                    self.is_configured = True
                case Over():
                    self.talk.conversation.end()
                    self.is_over = True
        if self.is_over:
            assert not any(isinstance(event, (Audio, Say)) for event in events)

    @rule()
    def configure(self):
        self.carry_out(self.talk.hears(CONFIGURATION))

    @rule()
    def confirm(self):
        self.carry_out(self.talk.confirmed())

    @rule(req_id=REQUESTS, size=st.integers(0, 6), end=st.booleans())
    def audio(self, req_id, size, end):
        self.carry_out(self.talk.audio(req_id, bytes(size), end=end))

    @rule(req_id=REQUESTS)
    def interrupt(self, req_id):
        self.carry_out(self.talk.hears(Interrupt(req_id)))

    @rule(req_id=REQUESTS, end=st.booleans())
    def frame(self, req_id, end):
        try:
            frame = self.talk.frame(req_id, end=end)
        except SessionStateError:
            return
        assert req_id in self.begun - self.over
        if frame.end:
            self.over.add(req_id)

    @rule(req_id=REQUESTS)
    def fail(self, req_id):
        self.carry_out(self.talk.conversation.fail(req_id, 13, "it broke"))

    @rule(seconds=st.floats(0.0, 30.0), is_busy=st.booleans())
    def wait(self, seconds, is_busy):
        deadline = self.talk.conversation.deadline
        self.talk.now += seconds
        over = self.talk.conversation.expire(self.talk.now, is_busy=is_busy)
        if self.talk.now < deadline:
            assert over is None
        if over is None:
            assert self.talk.conversation.deadline > self.talk.now
        self.carry_out([over] if over else [])

    @precondition(lambda self: self.begun)
    @rule()
    def end(self):
        self.talk.conversation.end()
        self.is_over = True

    @invariant()
    def every_request_is_counted_once(self):
        conversation = self.talk.conversation
        counts = conversation.counts
        assert counts.served + counts.interrupted + counts.failed == len(self.over)
        if not self.is_over:
            assert conversation.open_requests == len(self.begun - self.over)
            assert conversation.open_requests <= LIMITS.max_open_requests

    @invariant()
    def nothing_is_remembered_of_what_is_over(self):
        assert self.talk.conversation._received.keys() <= self.begun - self.over

    @invariant()
    def a_slot_is_held_while_the_session_is_open_and_no_longer(self):
        conversation = self.talk.conversation
        assert self.talk.account.connections == (conversation.stage is Stage.OPEN)
        assert not (self.is_over and conversation.stage is not Stage.OVER)


AnyOrder.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=30)
TestAnyOrder = AnyOrder.TestCase
