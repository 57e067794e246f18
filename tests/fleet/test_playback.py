"""Each request's playback ends once, whatever is told, twice, late or never."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from avatarpool.fleet.playback import EXPLICIT, INTERRUPT_TIMEOUT, MOST_OPEN, Playbacks, Played
from avatarpool.protocol.messages import AnimationFrame, Interrupt, PlaybackState, ServerError


def test_the_first_end_counts():
    for ends, expected in (
        (PlaybackState("r", "ended", 100), Played("r", False, 100)),
        (PlaybackState("r", "ended"), Played("r", False, None)),
        (AnimationFrame("r", True), Played("r", False, None)),
        (PlaybackState("r", "interrupted"), Played("r", True, 0, "explicit")),
        (PlaybackState("r", "interrupted", 40, "preempted"), Played("r", True, 40, "preempted")),
        (ServerError(13, "egress failed", req_id="r"), Played("r", True, None, "egress failed")),
    ):
        playbacks = Playbacks()
        assert playbacks.began("r", "c") == []
        assert "r" in playbacks
        assert playbacks.told(PlaybackState("r", "playing"), 0.0) == []
        assert playbacks.told(AnimationFrame("r", False), 0.0) == []
        assert playbacks.told(ends, 0.0) == [expected]
        assert "r" not in playbacks
        assert playbacks.told(PlaybackState("r", "ended", 999), 0.0) == []


def test_what_was_played_before_the_session_died_is_known():
    playbacks = Playbacks()
    playbacks.began("r", "c")
    playbacks.told(PlaybackState("r", "paused", 60), 0.0)
    assert playbacks.lost("another", "gone") == []
    assert playbacks.lost("c", "gone") == [Played("r", True, 60, "gone")]


def test_an_interrupt_that_is_not_answered_is_taken_for_answered():
    playbacks = Playbacks()
    playbacks.began("r", "c")
    assert playbacks.told(Interrupt("r"), 10.0) == []
    assert playbacks.told(Interrupt("r"), 11.0) == [], "a second one gives it no more time"
    assert playbacks.next_due == 10.0 + INTERRUPT_TIMEOUT
    assert playbacks.overdue(11.9) == []
    assert playbacks.overdue(12.0) == [Played("r", True, None, "explicit")]


def test_a_service_that_tells_nothing_leaves_no_heap():
    playbacks, ended = Playbacks(), []
    for number in range(10 * MOST_OPEN):
        ended += playbacks.began(f"r{number}", "c")
    assert [each.req_id for each in ended] == [f"r{n}" for n in range(9 * MOST_OPEN)]


IDS = st.sampled_from(["r0", "r1", "r2", "strange"])
STATES = st.sampled_from(["unspecified", "playing", "paused", "ended", "interrupted", "?"])
EVENTS = st.one_of(
    st.tuples(st.just("began"), st.sampled_from("cd")),
    st.tuples(st.just("told"), st.builds(PlaybackState, IDS, STATES, st.integers(-9, 99))),
    st.tuples(st.just("told"), st.builds(AnimationFrame, IDS, st.booleans())),
    st.tuples(st.just("told"), st.builds(Interrupt, IDS)),
    st.tuples(st.just("told"), st.builds(ServerError, st.just(13), st.text(), req_id=IDS)),
    st.tuples(st.just("lost"), st.sampled_from("cd")),
    st.tuples(st.just("time"), st.floats(0.0, 5.0)),
)


@given(st.lists(EVENTS, max_size=40))
def test_every_request_ends_exactly_once(events):
    playbacks, ended, made, now = Playbacks(), [], 0, 0.0
    for kind, what in events:
        match kind:
            case "began":
                ended += playbacks.began(f"r{made}", what)
                made += 1
            case "told":
                ended += playbacks.told(what, now)
            case "lost":
                ended += playbacks.lost(what, "gone")
            case "time":
                now += what
                ended += playbacks.overdue(now)
                assert playbacks.next_due > now
        told = [each.req_id for each in ended]
        assert len(told) == len(set(told))
        assert all((f"r{n}" in told) != (f"r{n}" in playbacks) for n in range(made))
    ended += playbacks.closed("closed")
    assert sorted(each.req_id for each in ended) == sorted(f"r{n}" for n in range(made))
    assert all(each.played_ms is None or 0 <= each.played_ms <= 99 for each in ended)
    assert all(bool(each.reason) == each.is_interrupted for each in ended)
    assert playbacks.closed("closed") == []


def test_an_end_after_an_interrupt_is_no_end_of_its_own():
    playbacks = Playbacks()
    playbacks.began("r", "c")
    playbacks.told(Interrupt("r"), 0.0)
    assert playbacks.told(AnimationFrame("r", end=True), 0.1) == [
        Played("r", is_interrupted=True, played_ms=None, reason=EXPLICIT)
    ]
