"""What a face looks like at any time."""

import pytest

from avatarpool.blendshapes import idle
from avatarpool.integrations.timeline import Timeline
from avatarpool.protocol.keyframes import Keyframe


def jaw(value):
    return Keyframe(jaw_pose=(value, 0.0, 0.0))


def test_each_keyframe_is_seen_for_its_40_ms():
    timeline = Timeline()
    timeline.add(10.0, [jaw(0.1), jaw(0.2)])
    timeline.add(10.08, [jaw(0.3)])
    seen = [timeline.pose(10.0 + ms / 1000).jaw_pose[0] for ms in (0, 39, 41, 79, 81, 119)]
    assert seen == [0.1, 0.1, 0.2, 0.2, 0.3, 0.3]


def test_a_face_that_says_nothing_idles():
    timeline = Timeline()
    assert [timeline.pose(at) for at in (1.0, 2.0)] == [idle(1, 1.0), idle(1, 2.0)]


def test_the_end_of_speech_and_an_interruption_are_no_jump():
    timeline = Timeline()
    timeline.add(10.0, [jaw(0.4)] * 100)
    assert timeline.pose(10.2).jaw_pose[0] == 0.4
    timeline.clear()
    now = [timeline.pose(10.2 + ms / 1000).jaw_pose[0] for ms in range(0, 400, 10)]
    assert now[0] == pytest.approx(0.4, abs=0.01)
    assert now == sorted(now, reverse=True)
    assert now[-1] == pytest.approx(0.0, abs=0.001)


def test_what_is_late_is_skipped():
    timeline = Timeline()
    timeline.add(10.0, [jaw(0.1), jaw(0.2), jaw(0.3)])
    assert timeline.pose(10.09).jaw_pose[0] == 0.3
