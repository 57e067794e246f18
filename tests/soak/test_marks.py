"""Whose frames an answer has, and whether they are all there."""

import pytest

from avatarpool.lipsync import EchoDriver
from avatarpool.protocol.keyframes import encode_keyframes
from avatarpool.protocol.messages import AnimationFrame
from avatarpool.soak.marks import MarkedRequest
from avatarpool.soak.tally import Violation


def echo(request, pieces=1):
    """The frames that a service with the echo driver gives, one keyframe each."""
    driver, audio = EchoDriver(16000, 0), request.audio()
    step = -(-len(audio) // pieces)
    keyframes = []
    for start in range(0, len(audio), step):
        keyframes += driver.feed(audio[start : start + step])
    keyframes += driver.finish()
    return [AnimationFrame("r", animation=encode_keyframes([k])) for k in keyframes]


@pytest.mark.parametrize("number", [0, 1, 2**13 - 1, 2**13, 2**26 - 1])
@pytest.mark.parametrize("pieces", [1, 7])
def test_an_echo_is_the_requests_own_and_whole(number, pieces):
    request = MarkedRequest(number, 12)
    answer = echo(request, pieces)
    assert len(answer) == 12
    assert request.judge(answer, is_whole=True) is None


def test_a_frame_of_another_request_is_found_wherever_it_is():
    request, other = MarkedRequest(5, 4), MarkedRequest(70_000, 4)
    for place in range(5):
        answer = echo(request)
        answer.insert(place, echo(other)[1])
        kind, sentence = request.judge(answer, is_whole=False)
        assert kind is Violation.MIXED
        assert sentence == "request 5 was given a frame of request 70000"


def test_a_frame_without_a_mark_is_somebody_elses():
    frame = AnimationFrame("r", animation=b"\x0a\x00")
    assert len(frame.keyframes) == 1
    assert MarkedRequest(5, 4).judge([frame], is_whole=False)[0] is Violation.MIXED


def test_missing_doubled_and_exchanged_frames_are_found():
    request = MarkedRequest(5, 4)
    a, b, c, d = echo(request)
    for answer in ([a, c, d], [a, b, b, c, d], [b, a, c, d], [a, b, c, d, d], [b]):
        assert request.judge(answer, is_whole=False)[0] is Violation.WRONG_FRAMES
    assert request.judge([a, b, c], is_whole=True) == (
        Violation.WRONG_FRAMES,
        "request 5 of 4 frames was given [0, 1, 2]",
    )


@pytest.mark.parametrize("hole", [2, 4, 6, 640, 1280, 1300])
def test_audio_that_is_shifted_by_a_hole_still_says_whose_it_is(hole):
    def echo_with_a_hole(request):
        audio = request.audio()
        driver = EchoDriver(16000, 0)
        keyframes = [*driver.feed(audio[:1000] + audio[1000 + hole :]), *driver.finish()]
        return [AnimationFrame("r", animation=encode_keyframes([k])) for k in keyframes]

    answer = echo_with_a_hole(MarkedRequest(6, 9))
    kind, sentence = MarkedRequest(5, 9).judge(answer, is_whole=False)
    assert kind is Violation.MIXED
    assert sentence == "request 5 was given a frame of request 6"


def test_the_first_frames_of_an_answer_are_no_fault_of_one_that_was_given_up():
    request = MarkedRequest(5, 4)
    for count in range(5):
        assert request.judge(echo(request)[:count], is_whole=False) is None
