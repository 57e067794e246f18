"""The report against the specification's expected output, to the letter."""

import json
import re

import pytest

from avatarpool.load import (
    LoadPlan,
    LoadReport,
    RequestResult,
    RoundCompleted,
    RoundPause,
    RoundResult,
    RoundStarted,
    opening_text,
    plan_text,
    short_ids,
    summary_text,
)

EXPECTED = """\
Loaded audio file: 12345 bytes
Initializing connection pool with 3 connections...
  Connection 0: OK (connection_id=abc123...)
  Connection 1: OK (connection_id=def456...)
  Connection 2: OK (connection_id=ghi789...)
Pool initialized with 3/3 connections

============================================================
STARTING MULTI-ROUND TEST
============================================================
Rounds: 10
Requests per round: 5
Interval between rounds: 30.0s
Expected total duration: ~4.5 minutes
Pool size: 3 connections
============================================================

[Round 1/10] (elapsed: 0.0s, pool: 3/3 available)
  Completed: 5 OK, 0 FAILED in 2500.0ms
  Waiting 30.0s until next round...

[Round 2/10] (elapsed: 32.5s, pool: 3/3 available)
  Completed: 5 OK, 0 FAILED in 2400.0ms
  Waiting 30.0s until next round...

... (rounds 3-9) ...

[Round 10/10] (elapsed: 272.5s, pool: 3/3 available)
  Completed: 5 OK, 0 FAILED in 2300.0ms

============================================================
MULTI-ROUND TEST COMPLETE
Total duration: 275.0s (4.6 minutes)
============================================================

============================================================
MULTI-ROUND SUMMARY
============================================================

Overall Statistics:
  Total rounds: 10
  Total requests: 50
  Successful: 50 (100.0%)
  Failed: 0 (0.0%)

Request Performance:
  Avg duration: 2450.00ms
  Min duration: 2200.00ms
  Max duration: 2700.00ms
  Avg frames: 10.0

Per-Round Breakdown:
  Round  Time(s)    Duration(ms)   OK     FAIL  
  ------ ---------- -------------- ------ ------
  1      0.0        2500.0         5      0     
  2      32.5       2400.0         5      0     
  ...
  10     272.5      2300.0         5      0     

Connection Usage Distribution:
  abc123...: 17 requests (34.0%)
  def456...: 17 requests (34.0%)
  ghi789...: 16 requests (32.0%)

Final Pool Statistics:
  Total requests served: 50
  Connections in pool: 3
  Connection abc123...: 17 requests, age: 275.0s (4.6 min)
  Connection def456...: 17 requests, age: 275.0s (4.6 min)
  Connection ghi789...: 16 requests, age: 275.0s (4.6 min)

Closing connection pool...
Connection pool closed
"""  # noqa: W291 - the table's rows end in spaces

# The specification's own figures; rounds 3 to 9, which it leaves out, fill the gap evenly.
IDS = ("abc123f0e1", "def456a2b3", "ghi789c4d5")
PLAN = LoadPlan(num_rounds=10, requests_per_round=5, interval_seconds=30.0, pool_size=3)
ELAPSED = (0.0, 32.5, 62.5, 92.5, 122.5, 152.5, 182.5, 212.5, 242.5, 272.5)
ROUND_MS = (2500.0, 2400.0, *[2350.0] * 7, 2300.0)


def stats(age=275.0, counts=(17, 17, 16)):
    return {
        "total_connections": len(counts),
        "available_connections": len(counts),
        "total_requests_served": sum(counts),
        "connections": [
            {"connection_id": name, "request_count": count, "age_seconds": age}
            for name, count in zip(IDS, counts, strict=False)
        ],
    }


def spec_rounds():
    # 2200 and 2700 are the shortest and the longest; all fifty average 2450.
    durations = [2200.0, 2700.0, *[2450.0] * 48]
    requests = [
        RequestResult(duration_ms=duration, frames=10, connection_id=IDS[index % 3])
        for index, duration in enumerate(durations)
    ]
    return tuple(
        RoundResult(
            number=index + 1,
            elapsed=ELAPSED[index],
            duration_ms=ROUND_MS[index],
            requests=tuple(requests[5 * index : 5 * index + 5]),
        )
        for index in range(10)
    )


def failed(kind="PoolTimeout", error="no connection within 2.00 s", **fields):
    return RequestResult(duration_ms=2000.0, error_kind=kind, error=error, **fields)


def printed_run():
    """Every line that a run of the specification's example prints."""
    rounds = spec_rounds()
    lines = [
        "Loaded audio file: 12345 bytes",
        "Initializing connection pool with 3 connections...",
        opening_text(stats(age=0.0, counts=(0, 0, 0)), 3),
        plan_text(PLAN),
    ]
    for result in rounds:
        if result.number > 1:
            lines.append(str(RoundPause(30.0)))
        lines.append(str(RoundStarted(result.number, 10, result.elapsed, 3, 3)))
        lines.append(str(RoundCompleted(result)))
    lines.append(LoadReport(PLAN, rounds, 275.0, stats()).to_text())
    lines += ["", "Closing connection pool...", "Connection pool closed", ""]
    return "\n".join(lines)


def elided(text):
    """Leave out rounds 3 to 9, as the specification does."""
    text = re.sub(
        r"\[Round 3/10\].*?(?=\[Round 10/10\])", "... (rounds 3-9) ...\n\n", text, flags=re.DOTALL
    )
    return re.sub(r"  3      62\.5.*?(?=  10     )", "  ...\n", text, flags=re.DOTALL)


def test_the_printed_run_is_the_specifications_output_to_the_letter():
    assert elided(printed_run()) == EXPECTED


def test_the_rows_of_the_breakdown_end_in_the_columns_padding():
    text = summary_text(spec_rounds(), stats())
    assert "\n  Round  Time(s)    Duration(ms)   OK     FAIL  \n" in text
    assert "\n  9      242.5      2350.0         5      0     \n" in text


def test_connections_that_did_not_open_are_listed_with_the_reason():
    text = opening_text(stats(counts=(0,)), 3, "concurrencyLimit: too many connections")
    assert text == (
        "  Connection 0: OK (connection_id=abc123...)\n"
        "  Connection 1: FAILED (concurrencyLimit: too many connections)\n"
        "  Connection 2: FAILED (concurrencyLimit: too many connections)\n"
        "Pool initialized with 1/3 connections"
    )


def test_a_connection_that_is_merely_late_says_so():
    assert "  Connection 2: FAILED (not open yet)" in opening_text(stats(counts=(0, 0)), 3)


def test_failed_requests_are_counted_and_their_reasons_grouped():
    ok = RequestResult(duration_ms=100.0, frames=3, connection_id=IDS[0])
    lost = failed("connectionClosed", "code 1006", connection_id=IDS[1])
    rounds = (RoundResult(1, 0.0, 2000.0, (ok, failed(), failed(error="another"), lost)),)
    text = summary_text(rounds, stats())
    assert "  Successful: 1 (25.0%)\n  Failed: 3 (75.0%)\n" in text
    assert "  Avg duration: 100.00ms\n" in text  # failures say nothing of the service's speed
    assert "  1      0.0        2000.0         1      3     \n" in text
    assert (
        "\nFailures:\n"
        "  2 x PoolTimeout: no connection within 2.00 s\n"
        "  1 x connectionClosed: code 1006\n"
    ) in text
    assert "  abc123...: 1 requests (25.0%)\n  def456...: 1 requests (25.0%)\n" in text


def test_a_run_without_any_success_has_no_figures_to_average():
    text = summary_text((RoundResult(1, 0.0, 5.0, (failed(),)),), stats())
    assert "Request Performance:\n  No request succeeded\n" in text


def test_a_run_stopped_before_its_first_request_still_has_a_report():
    text = LoadReport(PLAN, (), 0.1, stats(counts=()), was_interrupted=True).to_text()
    assert "MULTI-ROUND TEST INTERRUPTED\nTotal duration: 0.1s (0.0 minutes)\n" in text
    assert "  Successful: 0 (0.0%)\n" in text


def test_a_connection_that_was_replaced_keeps_its_share_of_the_usage():
    gone = RequestResult(duration_ms=1.0, connection_id="zzz999e6f7")
    text = summary_text((RoundResult(1, 0.0, 5.0, (gone,)),), stats(counts=(0,)))
    assert "Connection Usage Distribution:\n  zzz999...: 1 requests (100.0%)\n" in text


def test_the_busiest_connection_comes_first_and_equals_in_the_pools_order():
    requests = tuple(
        RequestResult(duration_ms=1.0, connection_id=IDS[index]) for index in (2, 2, 1, 0)
    )
    text = summary_text((RoundResult(1, 0.0, 5.0, requests),), stats())
    shares = re.findall(r"^  (\w+)\.\.\.: (\d) requests", text, flags=re.MULTILINE)
    assert shares == [("ghi789", "2"), ("abc123", "1"), ("def456", "1")]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["abc123f0", "def456a2"], ["abc123...", "def456..."]),
        (["local-0001", "local-0002"], ["local-0001...", "local-0002..."]),
        (["conn-1", "conn-10"], ["conn-1...", "conn-10..."]),
        (["local-86ab12cd34", "local-86ff00aa11"], ["local-86ab12...", "local-86ff00..."]),
        (["local-86ab12cd34"], ["local-86ab12..."]),
        (["86ab12cd-34", "19ff00aa-11"], ["86ab12...", "19ff00..."]),
        (["abcdef1", "abcdef1"], ["abcdef...", "abcdef..."]),
        ([], []),
    ],
)
def test_short_ids_are_as_long_as_it_takes_to_tell_them_apart(ids, expected):
    names = short_ids(ids)
    assert [names[name] for name in ids] == expected


@pytest.mark.parametrize(
    ("seconds", "shown"), [(30, "30.0s"), (2.0, "2.0s"), (0.25, "0.25s"), (1 / 3, "0.333s")]
)
def test_an_interval_is_shown_as_it_was_given(seconds, shown):
    assert str(RoundPause(seconds)) == f"  Waiting {shown} until next round..."


def test_the_dictionary_survives_json_and_holds_every_request():
    rounds = (*spec_rounds()[:2], RoundResult(3, 65.0, 2000.0, (failed(),)))
    report = LoadReport(PLAN, rounds, 67.0, stats(), first_frames_ms=(90.0, 70.0, 80.0))
    loaded = json.loads(json.dumps(report.to_dict()))
    assert (loaded["total_requests"], loaded["ok"], loaded["failed"]) == (11, 10, 1)
    assert loaded["plan"] == {
        "num_rounds": 10,
        "requests_per_round": 5,
        "interval_seconds": 30.0,
        "pool_size": 3,
    }
    assert loaded["duration_ms"] == {
        "avg": 2450.0,
        "min": 2200.0,
        "max": 2700.0,
        "p50": 2450.0,
        "p95": 2700.0,
        "p99": 2700.0,
    }
    assert loaded["first_frame_ms"] == {"p50": 80.0, "p95": 90.0, "p99": 90.0}
    assert loaded["requests_per_second"] == pytest.approx(10 / (2.5 + 2.4 + 2.0))
    assert loaded["failures"] == {"PoolTimeout": 1}
    assert loaded["connections"] == {IDS[0]: 4, IDS[1]: 3, IDS[2]: 3}
    assert [len(result["requests"]) for result in loaded["rounds"]] == [5, 5, 1]
    assert loaded["rounds"][2]["requests"][0]["error"] == "no connection within 2.00 s"
    assert loaded["pool"] == stats()
    assert report.has_failures
    assert not LoadReport(PLAN, spec_rounds(), 275.0, stats()).has_failures


def test_percentiles_and_throughput_are_said_beside_the_specifications_lines():
    first_frames = tuple(float(ms) for ms in range(200, 0, -1))
    report = LoadReport(PLAN, spec_rounds(), 275.0, stats(), first_frames_ms=first_frames)
    assert report.latency_text() == (
        "\nLatency and Throughput:\n"
        "  Duration: p50 2450.00ms, p95 2450.00ms, p99 2700.00ms\n"
        "  First frame: p50 100.00ms, p95 190.00ms, p99 198.00ms\n"
        "  Requests per second: 2.1"
    )


def test_where_nothing_succeeded_there_are_no_percentiles():
    report = LoadReport(PLAN, (RoundResult(1, 0.0, 5.0, (failed(),)),), 1.0, stats())
    assert "  Duration: none\n  First frame: none\n  Requests per second: 0.0" in (
        report.latency_text()
    )
    assert LoadReport(PLAN, (), 0.0, stats()).requests_per_second == 0.0
