"""What counts as a violation, and how a soak's report reads."""

import json

import pytest

from avatarpool.lipsync import EchoDriver
from avatarpool.protocol.keyframes import encode_keyframes
from avatarpool.protocol.messages import AnimationFrame
from avatarpool.soak.marks import MarkedRequest
from avatarpool.soak.report import (
    BORROW_TIMEOUT,
    MEMORY_BOUND,
    SLACK,
    SoakPlan,
    SoakReport,
    Tally,
    Violation,
    memory_growth,
    progress_text,
)

MB = 1024 * 1024


def echo(request, pieces=1):
    """The frames that a service with the echo driver gives, one keyframe each."""
    driver, audio = EchoDriver(16000, 0), request.audio()
    step = -(-len(audio) // pieces)
    keyframes = []
    for start in range(0, len(audio), step):
        keyframes += driver.feed(audio[start : start + step])
    keyframes += driver.finish()
    return [AnimationFrame("r", animation=encode_keyframes([k])) for k in keyframes]


def stats(**changes):
    return {
        "connections_num": 10,
        "connections_errors": 2,
        "connections_lost": 1,
        "connections_retired": 2,
        "total_connections": 5,
        "available_connections": 3,
        "connections_lent": 1,
        "connections_draining": 1,
        "total_requests_served": 7,
        "requests_num": 9,
        "requests_errors": 1,
    } | changes


def kinds(tally):
    return [finding.kind for finding in tally.findings]


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


def test_failing_is_a_violation_only_if_it_was_calm_all_the_time():
    tally = Tally()
    tally.failed("connectionClosed", "before any calm", calm=tally.calm)
    tally.calm_begins()
    calm = tally.calm
    tally.fault_begins("resets")
    tally.failed("connectionClosed", "begun before the fault", calm=calm)
    tally.failed("connectionClosed", "begun under it", calm=tally.calm)
    tally.calm_begins()
    tally.failed("connectionClosed", "begun in the calm before", calm=calm)
    assert kinds(tally) == []
    tally.failed("connectionClosed", "just so", calm=tally.calm)
    assert kinds(tally) == [Violation.CALM_FAILURE]
    assert tally.findings[0].first == "connectionClosed: just so"
    assert tally.failures == {"connectionClosed": 5}


def test_violations_of_a_kind_are_counted_and_the_first_one_is_kept():
    tally = Tally()
    for number in range(1000):
        tally.found(Violation.MIXED, f"number {number}")
    (finding,) = tally.findings
    assert (finding.count, finding.first) == (1000, "number 0")


def test_waiting_beyond_the_timeout_is_a_violation():
    tally = Tally()
    tally.waited(BORROW_TIMEOUT + SLACK, BORROW_TIMEOUT)
    tally.answer_took(2 * BORROW_TIMEOUT)
    assert kinds(tally) == []
    tally.waited(0.1 + 1.01 * SLACK, 0.1)
    assert kinds(tally) == [Violation.LONG_WAIT]
    tally.answer_took(10 * BORROW_TIMEOUT)
    assert tally.violations == 2
    assert tally.longest_wait == BORROW_TIMEOUT + SLACK


@pytest.mark.parametrize(
    "change",
    [
        {"connections_lost": 0},
        {"connections_retired": 3},
        {"connections_num": 11},
        {"total_requests_served": 6},
        {"requests_num": 6},
        {"requests_errors": 3},
        {"requests_errors": 0},
        {"available_connections": 4},
    ],
)
def test_counters_that_do_not_add_up_are_a_violation(change):
    tally = Tally()
    tally.answered = 7
    tally.check_counters(stats())
    assert kinds(tally) == []
    tally.check_counters(stats(**change))
    assert set(kinds(tally)) == {Violation.COUNTERS}


def test_memory_is_compared_between_the_first_and_the_last_third_after_warming_up():
    warming_up = [MB * i for i in range(30)]
    assert memory_growth(warming_up + [100 * MB] * 90) == 0
    assert memory_growth([*warming_up, *[100 * MB] * 60, *[120 * MB] * 30]) == 20 * MB
    assert memory_growth([*warming_up, *[100 * MB] * 60, *[120 * MB] * 5, *[100 * MB] * 25]) == 0
    assert memory_growth([MB] * 14) is None


def test_growing_beyond_the_bound_is_a_violation():
    tally = Tally()
    tally.memory = [0] * 30 + [MEMORY_BOUND] * 30
    tally.check_memory()
    assert kinds(tally) == []
    tally.memory = [0] * 30 + [MEMORY_BOUND + 1] * 30
    tally.check_memory()
    assert kinds(tally) == [Violation.MEMORY]


def report(tally, **changes):
    plan = SoakPlan(60.0, seed=7)
    fields = {"leaked_tasks": 0, "leaked_sockets": 0} | changes
    return SoakReport(plan, 60.0, tally, stats(), **fields)


def test_the_report_names_what_was_asked_for_and_what_was_found():
    tally = Tally()
    tally.ways["answered"] = tally.borrows = tally.requests = tally.answered = 7
    tally.fault_begins("resets")
    tally.failed("connectionClosed", "the connection was reset", calm=None)
    assert "SOAK PASSED\n" in report(tally).to_text()
    assert report(tally).to_text().endswith("\nViolations:\n  none")
    tally.found(Violation.MIXED, "request 5 was given a frame of request 6")
    tally.fault_begins("garbage")
    text = report(tally).to_text()
    assert "SOAK FAILED\n" in text
    for line in (
        "Requests:                 7 (7 answers, 0 frames)",
        "Failed:                   1",
        "Mixed frames:             1",
        "Memory growth:            too short to tell",
        "        1 connectionClosed",
        "        1 resets",
        "  1 x mixed frames: request 5 was given a frame of request 6 (resets)",
    ):
        assert line in text.splitlines()
    assert "not countable here" in report(tally, leaked_sockets=None).to_text()
    assert "SOAK FAILED (INTERRUPTED)" in report(tally, was_interrupted=True).to_text()


def test_the_report_is_json_too():
    tally = Tally()
    tally.found(Violation.TASKS, "a task is left")
    data = json.loads(json.dumps(report(tally).to_dict()))
    assert data["plan"]["seed"] == 7
    assert data["violations"] == [
        {"kind": "leaked tasks", "count": 1, "first": "a task is left", "fault": ""}
    ]


def test_the_progress_says_what_is_going_on():
    tally = Tally()
    tally.requests = 12
    tally.fault_begins("restart")
    assert progress_text(tally, 3.4, SoakPlan(60.0)) == (
        "3 of 60 s: 12 requests, 0 failed, 0 violations; fault: restart"
    )
