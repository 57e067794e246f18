from __future__ import annotations

import json
from functools import partial
from itertools import pairwise

import pytest

from avatarpool.lipsync import VISEMES, TimedViseme, VisemeDriver, read_timeline
from avatarpool.lipsync.face import JAW_STEP_RADIANS
from avatarpool.protocol.keyframes import Keyframe
from avatarpool.protocol.settings import PCM_SAMPLE_RATES

PRESS = 1  # in the expression


def animate(*timeline: TimedViseme, frames: int = 25, sample_rate: int = 16000) -> list[Keyframe]:
    driver = VisemeDriver(timeline, sample_rate)
    return driver.feed(bytes(2 * frames * sample_rate // 25)) + driver.finish()


@pytest.mark.parametrize("sample_rate", PCM_SAMPLE_RATES)
@pytest.mark.parametrize("piece", [1, 441, 100_000])
def test_every_40_ms_begun_give_a_keyframe_however_the_audio_is_cut(sample_rate, piece):
    timeline = [TimedViseme(30 * i, VISEMES[i % 15]) for i in range(30)]
    samples = sample_rate // 4
    driver = VisemeDriver(timeline, sample_rate)
    keyframes = []
    for start in range(0, samples, piece):
        keyframes += driver.feed(bytes(2 * min(piece, samples - start)))
    keyframes += driver.finish()

    whole = VisemeDriver(timeline, sample_rate)
    assert keyframes == whole.feed(bytes(2 * samples)) + whole.finish()
    assert len(keyframes) == 7


def test_the_newest_keyframe_waits_for_the_end():
    driver = VisemeDriver([], 16000)

    assert len(driver.feed(bytes(2 * 1280))) == 1
    assert len(driver.finish()) == 1


def test_the_jaw_opens_when_the_vowel_comes_and_shuts_after_it():
    jaws = [k.jaw_pose[0] for k in animate(TimedViseme(200, "aa"), TimedViseme(400, "sil"))]

    assert jaws[:5] == [0.0] * 5
    assert jaws[8] > 0.2
    assert max(jaws[15:]) < 0.001


def test_lips_that_meet_for_a_quarter_of_a_keyframe_are_seen_to():
    timeline = [TimedViseme(0, "aa"), TimedViseme(215, "PP"), TimedViseme(227, "aa")]
    pressed = [k.expression[PRESS] for k in animate(*timeline)]

    assert pressed[5] > 0.9
    assert max(pressed[:5] + pressed[8:]) < 0.1


def test_half_a_viseme_opens_half_as_far():
    full, half = (animate(TimedViseme(0, "aa", weight))[-1].jaw_pose[0] for weight in (1.0, 0.5))

    assert half == pytest.approx(full / 2, rel=0.1)


def test_visemes_of_one_time_show_together():
    spread = [
        animate(*timeline)[-1].expression[0]
        for timeline in (
            [TimedViseme(0, "ih")],
            [TimedViseme(0, "ih", 0.5), TimedViseme(0, "ou", 0.5)],
            [TimedViseme(0, "ou")],
        )
    ]

    assert spread[0] > 0.5
    assert spread[1] == pytest.approx((spread[0] + spread[2]) / 2, abs=1e-6)
    assert spread[2] < -0.8


def test_the_jaw_never_jumps():
    timeline = [TimedViseme(80 * i, "aa" if i % 2 else "PP") for i in range(12)]
    jaws = [k.jaw_pose[0] for k in animate(*timeline)]

    assert max(abs(b - a) for a, b in pairwise(jaws)) == pytest.approx(JAW_STEP_RADIANS)


def test_a_timeline_is_read_from_json():
    assert read_timeline('[[0, "sil"], [80.5, "PP"], [160, "aa", 0.8]]') == (
        TimedViseme(0, "sil"),
        TimedViseme(80.5, "PP"),
        TimedViseme(160, "aa", 0.8),
    )


@pytest.mark.parametrize(
    ("entries", "what"),
    [
        ([], "a list of 1 to"),
        ({"time": 0}, "a list of 1 to"),
        ([[0, "sil"], [1, "QQ"]], "viseme 2: 'QQ' is none of the visemes sil PP"),
        ([[-1, "aa"]], "viseme 1: time -1 ms"),
        ([[0, "aa", 1.5]], "viseme 1: weight 1.5"),
        ([["0", "aa"]], r"viseme 1 is not \[time in ms, name\]"),
        ([{"viseme": "aa"}], "viseme 1 is not"),
    ],
)
def test_a_timeline_that_is_none_is_refused_with_the_place(entries, what):
    with pytest.raises(ValueError, match=what):
        read_timeline(json.dumps(entries))


def test_a_timeline_that_is_nested_without_end_is_refused():
    with pytest.raises(ValueError, match="nested too deeply"):
        read_timeline("[" * 100_000)


def test_no_number_is_no_time():
    with pytest.raises(ValueError, match="time nan ms"):
        read_timeline('[[NaN, "aa"]]')


def test_a_timeline_makes_a_driver_factory():
    make = partial(VisemeDriver, [TimedViseme(0, "aa")])

    assert make(16000, 3).feed(bytes(2 * 6400))[-1].jaw_pose[0] > 0.1
