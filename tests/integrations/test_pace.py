"""How much of a face is seen, however its voice comes; on a clock of the test's own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avatarpool.integrations.playout import Playout
from avatarpool.integrations.turn import Face, Finished, Voice
from avatarpool.protocol.frames import AnimationFrame

RATE = 16000
WAIT = 0.3
AHEAD_MS = 110  # of a keyframe, audio that the local service hears before it gives it
ON_ITS_WAY = 0.03  # seconds


@dataclass
class Heard:
    """What a listener had of one turn: seconds, but for the share of its keyframes."""

    shown: float
    gaps: list[float]
    late: float  # the farthest behind the voice alone
    error: str = ""


def paced(seconds, *, speed=1.0, piece_ms=20, pauses=()):
    """Pieces as a text-to-speech gives them: when, and how many ms; silent before some times."""
    pieces, now = [], 0.0
    for number in range(round(seconds * 1000 / piece_ms)):
        now += sum(lasts for at, lasts in pauses if at * 1000 == number * piece_ms)
        pieces.append((now, piece_ms))
        now += piece_ms / 1000 / speed
    return pieces


def faces(pieces, on_its_way=ON_ITS_WAY):
    """When the service gives each keyframe of a voice that ends with its last piece."""
    came = list(accumulate(ms for _, ms in pieces))
    for end_ms in range(40, math.ceil(came[-1] / 40) * 40 + 1, 40):
        needs = min(end_ms + AHEAD_MS, came[-1])
        yield next(at for (at, _), ms in zip(pieces, came, strict=True) if ms >= needs) + on_its_way


def heard(pieces, keyframes_at):
    """Play it: everything is taken as soon as it goes out."""
    playout, now = Playout(WAIT), 0.0
    turn = playout.begin()
    keyframes_at = list(keyframes_at)
    coming = [(at, playout.voice, (Voice(None, bytes(32 * ms), RATE, 1), at)) for at, ms in pieces]
    coming += [(pieces[-1][0], playout.end, ())]
    frame = AnimationFrame("r", False, b"x")
    coming += [(at, playout.face, (turn, frame, 1)) for at in keyframes_at]
    coming.sort(key=lambda each: each[0])
    shown, gaps, late, until, alone_until, error = 0, [], 0.0, None, 0.0, ""
    starts = iter(pieces)
    given_ms = due_ms = 0.0
    while True:
        at = min(coming[0][0] if coming else math.inf, playout.next_at(now))
        if at == math.inf:
            break
        now = max(now, at)
        while coming and coming[0][0] <= now:
            _, does, what = coming.pop(0)
            does(*what)
        while items := playout.take(now):
            for item in items:
                if isinstance(item, Face):
                    shown += sum(not each.end for each in item.frames)
                elif isinstance(item, Voice):
                    if until is not None and now > until:
                        gaps.append(now - until)
                    until = now if until is None else max(until, now)
                    if given_ms >= due_ms:  # a new piece, or its first part
                        came_at, ms = next(starts)
                        alone_until = max(alone_until, came_at)
                        late = max(late, until - alone_until)
                        alone_until += ms / 1000
                        due_ms += ms
                    given_ms += item.duration_ms
                    until += item.duration_ms / 1000
                elif isinstance(item, Finished):
                    assert item.played_ms == sum(ms for _, ms in pieces)
                    error = str(item.error or "")
    assert playout.is_idle
    return Heard(shown / len(keyframes_at), gaps, late, error)


def test_a_voice_at_the_pace_of_speech_has_its_whole_face_and_no_gap():
    pieces = paced(10)
    assert heard(pieces, faces(pieces)) == Heard(1.0, [], pytest.approx(WAIT, abs=0.05))


@pytest.mark.parametrize("piece_ms", [20, 100])
@pytest.mark.parametrize("pauses", [[(2, 0.5)], [(2, 0.1)], [(2, 0.5), (4, 0.2), (7, 1.0)]])
def test_after_a_pause_a_voice_has_its_face_again(pauses, piece_ms):
    pieces = paced(10, pauses=pauses, piece_ms=piece_ms)
    played = heard(pieces, faces(pieces))
    # Of each pause the service hears the end only when it is over: what it had yet to
    # look ahead for is late.
    lost = len(pauses) * math.ceil((AHEAD_MS + piece_ms) / 40) / 250
    assert played.shown >= 1 - lost
    assert len(played.gaps) <= len(pauses)
    assert sum(played.gaps) <= sum(lasts for _, lasts in pauses) + 0.01
    assert played.late <= WAIT + 0.001


@pytest.mark.parametrize(("speed", "gaps"), [(0.98, 2), (0.95, 4), (0.8, 25)])
def test_a_voice_that_comes_too_slowly_keeps_its_face_and_pauses_seldom(speed, gaps):
    pieces = paced(10, speed=speed)
    played = heard(pieces, faces(pieces))
    assert played.shown >= 0.97
    assert len(played.gaps) <= gaps
    # As long as alone, but for the wait at its start.
    assert sum(played.gaps) <= 10 / speed - 10 + WAIT
    assert played.late <= WAIT + 0.001


def test_sentences_that_come_at_once_have_their_faces():
    pieces = [(at, 2000) for at in (0.0, 3.0, 5.5)]
    played = heard(pieces, faces(pieces))
    assert played.shown >= 0.94
    assert played.late <= WAIT + 0.001


def test_a_long_piece_begins_as_soon_as_some_of_its_face_is_there():
    playout = Playout(WAIT)
    turn = playout.begin()
    playout.voice(Voice(None, bytes(32 * 3000), RATE, 1), 0.0)
    for number in range(72):  # the service waits for more, or for the end
        assert playout.next_at(0.05) == (pytest.approx(WAIT) if number < 5 else -math.inf)
        playout.face(turn, AnimationFrame("r", False, b"x"), 1)
    face, voice = playout.take(0.05)
    assert isinstance(face, Face)
    assert isinstance(voice, Voice)
    assert voice.duration_ms == 40 * len(face.frames) == 2880


def test_a_service_that_falls_behind_makes_no_gap_and_is_caught_up_with():
    pieces = paced(10)
    stalled = [5.0 if 3.0 <= at < 5.0 else at for at in faces(pieces)]
    played = heard(pieces, stalled)
    assert played.gaps == []
    assert played.shown >= 0.75


def test_a_service_that_is_always_too_late_makes_no_gap_and_that_is_told():
    pieces = paced(10)
    played = heard(pieces, faces(pieces, on_its_way=0.4))
    assert (played.shown, played.gaps) == (0.0, [])
    assert played.error.startswith("most of its face came too late: ")


@given(
    st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 300)), min_size=1, max_size=40),
    st.lists(st.floats(0, 0.6), max_size=60),
)
def test_no_voice_is_ever_later_than_alone_by_more_than_the_wait(between, faces_after):
    pieces = [
        (at, ms)
        for at, (_, ms) in zip(accumulate(after for after, _ in between), between, strict=True)
    ]
    keyframes_at = list(accumulate(faces_after)) or [0.0]
    assert heard(pieces, keyframes_at).late <= WAIT + 0.001
