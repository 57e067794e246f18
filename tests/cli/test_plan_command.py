"""``avatarpool plan``: the command's own ``main``, and a process where that is the point."""

import io
import json
import signal
import subprocess
import sys

import pytest

from avatarpool import AvatarConnectionPool, AvatarPoolGroup, LocalBudget
from avatarpool.cli.main import main
from avatarpool.fleet.sizing import Load, sessions_needed, waits

EXAMPLE = """\
4 a second, 3.2 s each (spread 1.00):
12.80 sessions busy on average
22 sessions needed for a p99 wait of at most 300 ms

 sessions  busy queued     mean      p50      p95      p99
       21   61%   2.5%  9.61 ms     0 ms     0 ms   352 ms
>      22   58%   1.3%  4.66 ms     0 ms     0 ms   102 ms
       23   56%   0.7%  2.21 ms     0 ms     0 ms     0 ms

p99 wait by sessions; | is 300 ms
       19 ############|##########################>  1.04 s
       20 ############|################             655 ms
       21 ############|###                          352 ms
>      22 ####        |                             102 ms
       23             |                               0 ms
       24             |                               0 ms
       25             |                               0 ms
"""
STATS = {"borrows_num": 900, "returns_num": 900, "usage_ms": 2.7e6, "usage_ms_squared": 1.0125e10}


@pytest.fixture
def plan(monkeypatch, capsys):
    """Run the command in this process."""

    def run(*arguments, stdin=""):
        monkeypatch.setattr(sys, "argv", ["avatarpool", "plan", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        with pytest.raises(SystemExit) as exit_:
            main()
        return subprocess.CompletedProcess(arguments, exit_.value.code or 0, *capsys.readouterr())

    return run


def test_the_example_is_answered_in_a_table_and_a_plot(command):
    result = command("plan", "--arrivals", "4/s", "--duration", "3.2", "--wait-p99", "0.3")
    assert (result.returncode, result.stdout, result.stderr) == (0, EXAMPLE, "")


@pytest.mark.parametrize("rate", ["4", "4/s", "240/min", "14400/h", "0.4e1 / s"])
def test_a_rate_is_read_per_second_minute_or_hour(plan, rate):
    assert plan("--arrivals", rate, "--duration", 3.2).stdout == EXAMPLE


@pytest.mark.parametrize(
    "arguments",
    [
        ("400/s", "200", "0.001", "1"),
        ("1/h", "0.001", "0", "7"),
        ("12.99/s", "1", "86400", "13"),
        ("10/s", "1", "2", "200000"),
        ("1e-9/h", "86400", "0", "1"),
    ],
)
def test_what_is_shown_fits_into_60_plain_columns(plan, monkeypatch, arguments):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("FORCE_COLOR", "1")
    rate, duration, wait, budget = arguments
    result = plan(
        *("--arrivals", rate, "--duration", duration, "--wait-p99", wait),
        *("--budget", budget),
    )
    assert result.returncode in (0, 1)
    assert result.stdout.isascii()
    assert "\x1b" not in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 60


def test_json_has_what_the_library_says(plan):
    result = plan(
        *("--arrivals", 4, "--duration", 3.2, "--duration-cv", 0.5),
        *("--budget", 12, "--json"),
    )
    load = Load(4.0, 3.2, 0.5)
    found = json.loads(result.stdout)
    needed = sessions_needed(load, 0.3)
    assert found["sessions"] == needed
    assert [row["sessions"] for row in found["waits"]] == [12, needed - 1, needed, needed + 1]
    for row in found["waits"][1:]:
        told = waits(load, row["sessions"])
        assert row["waiting"] == told.waiting
        assert row["mean_seconds"] == told.mean
        assert row["p99_seconds"] == told.percentile(99)
    assert found["waits"][0]["mean_seconds"] is None  # it grows without end
    assert result.returncode == 1


@pytest.mark.parametrize(
    ("budget", "code", "sentence"),
    [
        (22, 0, ""),
        (
            20,
            1,
            (
                "avatarpool: a budget of 20 is not enough: 1 % of borrowers wait longer than "
                "655 ms; 22 keep that to 300 ms\n"
            ),
        ),
        (
            12,
            1,
            (
                "avatarpool: a budget of 12 is not enough: 12.80 are busy on average, so that the "
                "queue grows without end; 22 keep that to 300 ms\n"
            ),
        ),
    ],
)
def test_a_budget_is_judged_in_one_sentence(plan, budget, code, sentence):
    result = plan("--arrivals", 4, "--duration", 3.2, "--budget", budget)
    assert (result.returncode, result.stderr) == (code, sentence)
    assert f" {budget} " in result.stdout


async def test_statistics_come_from_a_pool_a_group_and_a_run(
    service, speech, tmp_path, plan, command
):
    async def speak(pool, *key):
        async with pool.borrow(*key) as conn:
            await conn.session.send_audio(speech[:2560], end=True)
            await conn.collector.wait()

    async with AvatarConnectionPool(1, service.config_factory) as pool:
        await speak(pool)
        await speak(pool)
        stats = pool.get_stats()
    group = AvatarPoolGroup(
        lambda key: service.config_factory(avatar_id=key.avatar_id), budget=LocalBudget(2)
    )
    async with group:
        await speak(group, "local-avatar")
        of_group = group.get_stats()
    for each, total in ((stats, stats), (of_group, of_group["total"])):
        result = plan("--from", "-", "--over", "10", "--json", stdin=json.dumps(each))
        found = json.loads(result.stdout)
        mean_ms = total["usage_ms"] / total["returns_num"]
        assert found["arrivals_per_second"] == total["borrows_num"] / 10
        assert found["duration_seconds"] == pytest.approx(mean_ms / 1e3)
        assert found["duration_cv"] >= 0
    file = tmp_path / "metrics.json"
    assert command("run", "--rounds", 1, "--requests", 4, "--json", file).returncode == 0
    result = plan("--from", file, "--json")
    report, found = json.loads(file.read_text()), json.loads(result.stdout)
    assert found["arrivals_per_second"] == pytest.approx(4 / report["total_seconds"])
    assert "came in rounds" in result.stderr


def test_what_is_said_outranks_the_statistics(plan, tmp_path):
    file = tmp_path / "metrics.json"
    file.write_text(json.dumps(STATS))
    found = json.loads(plan("--from", file, "--over", 300, "--json").stdout)
    assert (found["arrivals_per_second"], found["duration_seconds"]) == (3.0, 3.0)
    assert found["duration_cv"] == pytest.approx(0.5)
    said = ("--arrivals", "9/s", "--duration", 1, "--duration-cv", 2)
    found = json.loads(plan("--from", file, *said, "--json").stdout)
    assert [found[name] for name in ("arrivals_per_second", "duration_seconds", "duration_cv")] == [
        9.0,
        1.0,
        2.0,
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "standard input is no JSON"),
        ("[" * 100_000, "standard input is no JSON"),
        ("[1, 2]", "standard input has no pool's statistics, which are an object"),
        ("{}", "the statistics have no returns_num"),
        (json.dumps(STATS | {"usage_ms": "1"}), "the statistics have no usable usage_ms"),
        (json.dumps(STATS | {"usage_ms": float("nan")}), "have no usable usage_ms"),
        (json.dumps(STATS), "say --arrivals, or with --over the seconds"),
        (json.dumps({"pool": STATS, "total_seconds": 10**400}), "the statistics must cover"),
        (json.dumps({"pool": STATS, "total_seconds": 0}), "the statistics must cover"),
        (" " * (64 * 1024 * 1024 + 1), "standard input has more than 64 MiB"),
    ],
    ids=lambda value: value[:20],
)
def test_statistics_that_cannot_be_used_are_refused_in_one_sentence(plan, text, sentence):
    result = plan("--from", "-", stdin=text)
    assert (result.returncode, result.stdout) == (2, "")
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "no sessions can be planned: say --duration, or --from with a pool's statistics\n"),
        (("--duration", 2), "say --arrivals, or --from with a pool's statistics\n"),
        (("--arrivals", "1e9", "--duration", 9), "9e+09 of them would be busy on average"),
    ],
)
def test_what_is_not_said_is_named(plan, arguments, sentence):
    result = plan(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert sentence in result.stderr


def test_ctrl_c_ends_it_while_it_reads(command):
    process = command.start("plan", "--from", "-", stdin=subprocess.PIPE)
    process.stdin.write(" " * 300_000)  # more than a pipe holds: afterwards, it reads
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=50)
    assert process.returncode == 130
    assert "Traceback" not in stderr
