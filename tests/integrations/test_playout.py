"""What goes out of an agent's turns and when, on a clock of the test's own."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from avatarpool.integrations.playout import Playout
from avatarpool.integrations.turn import (
    Aside,
    Face,
    FaceLost,
    Finished,
    Turn,
    Voice,
    VoiceEnd,
)
from avatarpool.protocol.frames import AnimationFrame

RATE = 16000
WAIT = 0.3


def piece(ms: float, mark: int = 1, turn: str | None = "t") -> Voice:
    return Voice(turn, bytes([mark]) * (2 * round(ms * RATE / 1000)), RATE, 1, origin=mark)


def show(playout: Playout, turn: Turn, keyframes: int, *, end: bool = False) -> None:
    for number in range(keyframes):
        is_last = end and number == keyframes - 1
        playout.face(turn, AnimationFrame("r", is_last, b"x"), 1)
    if end:
        playout.face_over(turn)


def all_of(playout: Playout, now: float) -> list[object]:
    taken: list[object] = []
    while items := playout.take(now):
        taken += items
    return taken


def kinds(items: list[object]) -> list[type]:
    return [type(item) for item in items]


def test_a_voice_goes_with_its_face_before_it():
    playout = Playout(WAIT)
    turn = playout.begin("t")
    playout.voice(piece(200), 0.0)
    assert all_of(playout, 0.1) == []
    show(playout, turn, 5)
    face, voice = all_of(playout, 0.1)
    assert (face.start_ms, len(face.frames), face.turn) == (0, 5, "t")
    assert voice == piece(200)


def test_each_keyframe_goes_before_the_piece_in_which_it_ends():
    playout = Playout(WAIT)
    turn = playout.begin()
    for _ in range(7):
        playout.voice(piece(30), 0.0)
    show(playout, turn, 6)
    starts, given_ms = [], 0.0
    for item in all_of(playout, 0.0):
        if isinstance(item, Face):
            starts.append((given_ms, item.start_ms))
            assert -40 < item.start_ms - given_ms <= 0
        else:
            given_ms += item.duration_ms
    assert starts == [(30, 0), (60, 40), (90, 80), (150, 120), (180, 160)]


def test_a_voice_whose_face_does_not_come_goes_alone_in_time_for_it_to_join():
    playout = Playout(WAIT)
    turn = playout.begin()
    playout.voice(piece(1000), 5.0)
    assert playout.next_at(5.0) == pytest.approx(5.3)
    assert all_of(playout, 5.29) == []
    (first,) = all_of(playout, 5.3)
    assert (first.duration_ms, first.is_whole) == (100, False)
    show(playout, turn, 4)  # up to 160 ms: two are late, the third is half over
    assert all_of(playout, 5.31) == []
    face, second = all_of(playout, playout.next_at(5.31))
    assert (face.start_ms, len(face.frames)) == (80, 2)
    show(playout, turn, 21)
    face, rest = all_of(playout, playout.next_at(5.31))
    assert face.start_ms in {160, 200}
    assert first.audio + second.audio + rest.audio == piece(1000).audio


def test_of_a_message_of_many_keyframes_what_is_not_over_is_shown():
    playout = Playout(WAIT)
    turn = playout.begin()
    playout.voice(piece(1000), 0.0)
    (first,) = all_of(playout, WAIT)
    playout.face(turn, AnimationFrame("r", False, b"x"), 2)  # over before the first piece is
    playout.face(turn, AnimationFrame("r", True, b"x"), 23)
    playout.face_over(turn)
    face, rest = all_of(playout, playout.next_at(WAIT))
    assert (face.start_ms, len(face.frames)) == (80, 1)
    assert first.audio + rest.audio == piece(1000).audio
    assert turn.late_ms == 80


def test_there_is_no_gap_while_a_late_face_is_waited_for():
    playout = Playout(WAIT)
    playout.begin()
    playout.voice(piece(1000), 0.0)
    now, heard_until = 0.0, WAIT
    while (at := playout.next_at(now)) < math.inf:
        now = max(now, at)
        assert now <= heard_until
        (part,) = playout.take(now)
        heard_until += part.duration_ms / 1000
    assert heard_until == pytest.approx(WAIT + 1)


def test_a_lost_face_is_told_once_and_holds_nothing_back():
    playout = Playout(WAIT)
    turn = playout.begin("t")
    playout.voice(piece(400), 0.0)
    playout.voice(piece(400, 2), 0.0)
    error = ValueError("no")
    playout.face_over(turn, error)
    playout.face_over(turn, ValueError("again"))
    assert all_of(playout, 0.0) == [FaceLost("t", error), piece(400), piece(400, 2)]
    playout.end()
    assert kinds(all_of(playout, 0.0)) == [VoiceEnd]
    assert all_of(playout, 0.8) == [Finished("t", 800, False, error)]


def test_a_turn_ends_when_it_was_heard():
    playout = Playout(WAIT)
    turn = playout.begin("t")
    playout.voice(piece(100), 1.0)
    playout.end("origin")
    show(playout, turn, 3, end=True)
    face, voice, last, end = all_of(playout, 1.0)
    assert (face.start_ms, last.start_ms, end) == (0, 80, VoiceEnd("t", "origin"))
    assert last.frames[-1].end
    assert playout.next_at(1.0) == pytest.approx(1.1)
    assert all_of(playout, 1.09) == []
    assert all_of(playout, 1.1) == [Finished("t", 100, False, None)]
    assert playout.is_idle
    assert voice.is_whole


def test_whoever_was_shown_a_face_learns_of_its_end_even_if_that_was_lost():
    playout = Playout(WAIT)
    turn = playout.begin()
    playout.voice(piece(200), 0.0)
    show(playout, turn, 5)
    playout.face_over(turn, ValueError("no"))
    playout.end()
    *_, last, _ = all_of(playout, 0.0)
    assert (last.start_ms, last.frames) == (200, (AnimationFrame("r", True),))


def test_an_interrupt_leaves_nothing_and_tells_what_was_heard():
    playout = Playout(WAIT)
    turn = playout.begin("t")
    playout.voice(piece(500), 0.0)
    show(playout, turn, 13)
    playout.voice(piece(500), 0.0)
    playout.aside("a")
    assert len(all_of(playout, 0.1)) == 2
    playout.interrupt(0.3)
    show(playout, turn, 13)
    playout.face_over(turn, ValueError("late"))
    assert all_of(playout, 9.0) == [Finished("t", 200, True, None)]
    assert playout.heard_until == 0.3


def test_an_interrupt_of_several_turns_tells_each_what_was_heard_of_it():
    playout = Playout(WAIT)
    for name in "abc":
        turn = playout.begin(name)
        playout.voice(piece(200, turn=name), 0.0)
        playout.end()
        playout.face_over(turn)
    all_of(playout, 0.0)
    playout.interrupt(0.3)
    assert all_of(playout, 0.3) == [
        Finished("a", 200, False, None),
        Finished("b", 100, True, None),
        Finished("c", 0, True, None),
    ]


def test_what_is_protected_goes_on_in_an_interrupt():
    playout = Playout(WAIT)
    playout.begin("a")
    playout.end()
    turn = playout.begin("b", is_protected=True)
    playout.voice(piece(200), 0.0)
    playout.aside("kept", is_protected=True)
    playout.aside("dropped")
    playout.interrupt(0.1)
    show(playout, turn, 5)
    assert kinds(all_of(playout, 0.1)) == [Finished, Face, Voice, Aside]
    playout.voice(piece(40), 0.2)
    playout.interrupt(0.2, everything=True)
    assert [(end.turn, end.played_ms) for end in all_of(playout, 0.2)] == [("b", 100)]


def test_a_voice_begins_when_its_face_is_a_little_ahead():
    playout = Playout(WAIT)
    turn = playout.begin()
    playout.voice(piece(40), 0.0)
    show(playout, turn, 1)
    assert all_of(playout, 0.1) == []
    playout.voice(piece(200), 0.1)
    show(playout, turn, 4)
    assert kinds(all_of(playout, 0.1)) == [Face, Voice]
    playout.begin()
    assert all_of(playout, 0.39) == []  # what was heard is over, and it waits as at the start
    assert kinds(all_of(playout, 0.1 + WAIT)) == [Face, Voice]


def test_a_voice_at_the_pace_of_speech_keeps_its_face():
    playout = Playout(WAIT)
    turn = playout.begin()
    now, latency = 0.0, 0.16
    shown, voice_ms = [], 0.0
    for tick in range(400):  # 5 ms each
        now = tick * 0.005
        if tick % 4 == 0:
            playout.voice(piece(20), now)
        if tick % 8 == 0 and now >= latency + 0.04:
            show(playout, turn, 1)
        for item in all_of(playout, now):
            if isinstance(item, Face):
                shown += [item.start_ms + 40 * n for n in range(len(item.frames))]
            else:
                voice_ms += item.duration_ms
    assert shown == list(range(0, len(shown) * 40, 40))
    assert len(shown) >= 40
    assert voice_ms >= 1600


@given(st.lists(st.integers(1, 700), min_size=1, max_size=20), st.integers(0, 100))
@settings(max_examples=50)
def test_pieces_of_any_length_go_out_whole_with_a_face_that_is_there(lengths, extra):
    playout = Playout(WAIT)
    turn = playout.begin()
    for ms in lengths:
        playout.voice(piece(ms), 0.0)
    playout.end()
    show(playout, turn, math.ceil(sum(lengths) / 40) + extra, end=True)
    given_ms, keyframes = 0.0, 0
    for item in all_of(playout, 0.0):
        if isinstance(item, Face):
            assert item.start_ms == 40 * keyframes
            assert abs(item.start_ms - given_ms) <= 40
            keyframes += len(item.frames)
        elif isinstance(item, Voice):
            assert item.is_whole
            given_ms += item.duration_ms
    assert given_ms == pytest.approx(sum(lengths))
    assert keyframes == math.ceil(sum(lengths) / 40) + extra


class Turns(RuleBasedStateMachine):
    """Whatever comes in whatever order: one end a turn, and all voice in its order."""

    def __init__(self) -> None:
        super().__init__()
        self.playout = Playout(WAIT)
        self.now = 100.0
        self.turns: list[Turn] = []
        self.pushed: dict[str | None, bytes] = {}
        self.heard: dict[str | None, bytes] = {}
        self.shown: dict[str | None, int] = {}
        self.ends: dict[str | None, Finished] = {}
        self.complete: set[str | None] = set()
        self.cut: set[str | None] = set()
        self.asides = 0
        self.marks = 0

    @rule(is_protected=st.booleans())
    def begin(self, is_protected: bool) -> None:
        name = str(len(self.turns))
        self.turns.append(self.playout.begin(name, is_protected=is_protected))
        self.pushed[name], self.heard[name], self.shown[name] = b"", b"", -1

    @precondition(lambda self: self.playout.open is not None)
    @rule(ms=st.integers(1, 600))
    def voice(self, ms: int) -> None:
        self.marks = self.marks % 250 + 1
        name = self.playout.open.name
        new = piece(ms, self.marks, name)
        self.pushed[name] += new.audio
        self.playout.voice(new, self.now)

    @rule()
    def end(self) -> None:
        self.playout.end()

    @rule(is_protected=st.booleans())
    def aside(self, is_protected: bool) -> None:
        self.asides += 1
        self.playout.aside(self.asides, is_protected=is_protected)

    @precondition(lambda self: self.turns)
    @rule(back=st.integers(0, 3), messages=st.integers(1, 20), keyframes=st.integers(0, 4))
    def face(self, back: int, messages: int, keyframes: int) -> None:
        turn = self.turns[-1 - min(back, len(self.turns) - 1)]
        for _ in range(messages):
            # As long as it is shown: what is without a keyframe stands for one.
            self.playout.face(turn, AnimationFrame("r", False, bytes(max(1, keyframes))), keyframes)

    @precondition(lambda self: self.turns)
    @rule(back=st.integers(0, 3), is_lost=st.booleans())
    def face_over(self, back: int, is_lost: bool) -> None:
        turn = self.turns[-1 - min(back, len(self.turns) - 1)]
        self.playout.face_over(turn, ValueError("lost") if is_lost else None)

    @rule(everything=st.booleans())
    def interrupt(self, everything: bool) -> None:
        self.playout.interrupt(self.now, everything=everything)
        self.cut |= {turn.name for turn in self.turns if everything or not turn.is_protected} - set(
            self.ends
        )
        self.take()

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.04, 0.1, 0.29, 0.3, 1.0, 5.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.take()

    def take(self) -> None:
        while items := self.playout.take(self.now):
            for item in items:
                self.took(item)
        assert self.playout.next_at(self.now) > self.now

    def took(self, item: object) -> None:
        if isinstance(item, Finished):
            assert item.turn not in self.ends
            self.ends[item.turn] = item
            heard_ms = len(self.heard[item.turn]) / 2 / RATE * 1000
            assert 0 <= item.played_ms <= heard_ms + 1
            if not item.is_interrupted:
                assert item.played_ms == pytest.approx(heard_ms, abs=1)
                assert self.heard[item.turn] == self.pushed[item.turn]
        elif isinstance(item, FaceLost):
            assert item.turn not in self.ends
        elif not isinstance(item, Aside):
            assert item.turn not in self.ends | dict.fromkeys(self.complete | self.cut)
            self.took_of_a_turn(item)

    def took_of_a_turn(self, item: object) -> None:
        given_ms = len(self.heard[item.turn]) / 2 / RATE * 1000
        if isinstance(item, Voice):
            self.heard[item.turn] += item.audio
            assert self.pushed[item.turn].startswith(self.heard[item.turn])
        elif isinstance(item, VoiceEnd):
            self.complete.add(item.turn)
        elif isinstance(item, Face) and not item.frames[0].end:
            assert item.start_ms >= self.shown[item.turn]
            assert item.start_ms + 40 * len(item.frames[0].animation) > given_ms - 1
            self.shown[item.turn] = item.start_ms

    @invariant()
    def nothing_is_held_for_long(self) -> None:
        at = self.playout.next_at(self.now)
        assert at <= max(self.now, self.playout.heard_until) + WAIT or at == math.inf

    def teardown(self) -> None:
        self.playout.end()
        while (at := self.playout.next_at(self.now)) < math.inf:
            self.now = max(self.now, at)
            self.take()
        assert set(self.ends) == set(self.pushed)
        assert self.playout.is_idle


TestTurns = Turns.TestCase
TestTurns.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
