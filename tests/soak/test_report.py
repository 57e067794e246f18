"""How a soak's report reads."""

import json

from pool_stats import stats

from avatarpool.soak.plan import SoakPlan
from avatarpool.soak.report import SoakReport, progress_text
from avatarpool.soak.tally import Tally, Violation


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
