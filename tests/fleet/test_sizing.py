"""How many sessions, against queues that are simulated and one that is real."""

from __future__ import annotations

import asyncio
import heapq
from itertools import accumulate
from math import exp, factorial, inf, log, sqrt
from random import Random

import pytest

from avatarpool import AvatarConnectionPool, ConfigurationError, LocalAvatarService, PoolEventKind
from avatarpool.fleet.sizing import (
    MOST_BUSY,
    Load,
    measured_durations,
    sessions_needed,
    waits,
)
from avatarpool.lipsync.dsp import DspDriver


def queue(arrivals, durations, sessions):
    """Serve who comes at these times for so long, first come, first served: their waits."""
    free = [0.0] * sessions
    for came, duration in zip(arrivals, durations, strict=True):
        began = max(came, free[0])
        heapq.heapreplace(free, began + duration)
        yield began - came


def exponential(rng, load, _spread):
    return rng.expovariate(1 / load.duration)


def lognormal(rng, load, spread):
    variance = log(1 + spread * spread)
    return rng.lognormvariate(log(load.duration) - variance / 2, sqrt(variance))


def equal(_rng, load, _spread):
    return load.duration


def simulate(load, sessions, draw, seed=1, number=200_000):
    """The waits of so many borrowers in a steady state, in order of their length."""
    rng = Random(seed)
    arrivals = accumulate(rng.expovariate(load.arrivals) for _ in range(number))
    durations = (draw(rng, load, load.spread) for _ in range(number))
    return sorted(list(queue(arrivals, durations, sessions))[number // 20 :])


def percentile(ordered, percent):
    return ordered[int(len(ordered) * percent / 100)]


# --- formulas --------------------------------------------------------------------------


@pytest.mark.parametrize(("busy", "sessions"), [(0.5, 1), (3.2, 4), (12.8, 14), (40.0, 50)])
def test_the_share_that_waits_is_erlangs_c_as_it_is_written(busy, sessions):
    top = busy**sessions / factorial(sessions) * sessions / (sessions - busy)
    erlang_c = top / (sum(busy**n / factorial(n) for n in range(sessions)) + top)
    assert waits(Load(busy, 1.0), sessions).waiting == pytest.approx(erlang_c)


def test_one_session_and_exponential_durations_give_the_textbooks_waits():
    found = waits(Load(arrivals=0.5, duration=1.0), 1)
    assert (found.utilisation, found.waiting, found.mean) == pytest.approx((0.5, 0.5, 1.0))
    # P(wait > t) = 0.5 exp(-0.5 t)
    assert 0.5 * exp(-0.5 * found.percentile(99)) == pytest.approx(0.01)
    assert found.percentile(50) == 0.0


def test_one_session_waits_by_pollaczek_and_khinchine_whatever_the_spread():
    for spread in (0.0, 0.5, 2.0):
        expected = 0.8 * 3.0 / (1 - 0.8) * (1 + spread**2) / 2
        assert waits(Load(0.8 / 3.0, 3.0, spread), 1).mean == pytest.approx(expected)


@pytest.mark.parametrize("busy", [3.0, 3.5])
def test_a_queue_that_grows_without_end_is_said_to(busy):
    found = waits(Load(busy, 1.0), 3)
    assert (found.waiting, found.mean, found.percentile(50)) == (1.0, inf, inf)
    assert found.utilisation == pytest.approx(busy / 3)


@pytest.mark.parametrize("busy", [0.01, 0.9, 1.0, 7.0, 99.5, 5000.0])
@pytest.mark.parametrize("wait", [0.0, 0.05, 5.0])
def test_the_number_needed_is_the_first_that_keeps_the_wait(busy, wait):
    load = Load(busy, 1.0, 0.7)
    needed = sessions_needed(load, wait)
    assert waits(load, needed).percentile(99) <= wait
    assert needed == 1 or waits(load, needed - 1).percentile(99) > wait


def test_a_large_load_is_planned_without_overflow():
    load = Load(MOST_BUSY / 2, 2.0)
    needed = sessions_needed(load, 0.001)
    assert MOST_BUSY < needed < MOST_BUSY * 1.01
    assert 0 < waits(load, needed).waiting < 0.5


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((0.0, 1.0), "arrivals 0.0"),
        ((float("nan"), 1.0), "arrivals nan"),
        ((1.0, inf), "duration inf"),
        ((1.0, 1.0, -0.1), "spread -0.1"),
        ((1e5, 1e5), "1e+10 of them would be busy"),
    ],
)
def test_a_load_that_cannot_be_is_refused_in_a_sentence(arguments, problem):
    with pytest.raises(ConfigurationError, match="no sessions can be planned") as refused:
        Load(*arguments)
    assert problem in str(refused.value)


def test_wishes_that_cannot_be_are_refused():
    load = Load(1.0, 1.0)
    for wait, percent in ((-1.0, 99), (float("nan"), 99), (1.0, 100)):
        with pytest.raises(ConfigurationError):
            sessions_needed(load, wait, percent)
    with pytest.raises(ConfigurationError):
        waits(load, 0)


# --- statistics ------------------------------------------------------------------------


def test_statistics_give_arrivals_mean_and_spread():
    lent_ms = [1000.0, 2000.0, 6000.0]
    stats = {
        "borrows_num": 12,
        "returns_num": 3,
        "usage_ms": sum(lent_ms),
        "usage_ms_squared": sum(each * each for each in lent_ms),
    }
    load = Load.from_stats(stats, 60)
    deviation = sqrt(sum((each - 3000) ** 2 for each in lent_ms) / 3)
    assert (load.arrivals, load.duration) == pytest.approx((0.2, 3.0))
    assert load.spread == pytest.approx(deviation / 3000)


def test_equal_durations_have_no_spread_in_spite_of_rounding():
    stats = {"returns_num": 3, "usage_ms": 0.1 * 3, "usage_ms_squared": 3 * 0.1 * 0.1}
    assert measured_durations(stats) == (pytest.approx(0.0001), pytest.approx(0.0, abs=1e-6))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"returns_num": 0}, "count no session that was lent yet"),
        ({"usage_ms": 0.0}, "count no session that was lent yet"),
        ({"usage_ms_squared": None}, "have no usage_ms_squared"),
        ({"borrows_num": "many"}, "have no usable borrows_num"),
        ({"usage_ms": float("nan")}, "have no usable usage_ms"),
        ({"borrows_num": 10**400}, "have no usable borrows_num"),
        ({"usage_ms": 1e-300}, "spread inf"),
        ({"borrows_num": 0}, "arrivals"),
    ],
)
def test_statistics_that_cannot_be_are_refused(changes, problem):
    stats = {"borrows_num": 9, "returns_num": 9, "usage_ms": 9e3, "usage_ms_squared": 9e6}
    assert Load.from_stats(stats, 9.0) == Load(1.0, 1.0, 0.0)
    with pytest.raises(ConfigurationError, match=problem):
        Load.from_stats(stats | changes, 9.0)


@pytest.mark.parametrize("seconds", [0, -1.0, inf, float("nan"), 10**400])
def test_statistics_of_no_time_are_refused(seconds):
    with pytest.raises(ConfigurationError, match="must cover"):
        Load.from_stats({"borrows_num": 9}, seconds)


# --- against a simulated pool ----------------------------------------------------------


@pytest.mark.parametrize(
    ("load", "sessions", "draw", "closeness"),
    [
        # Erlang's formulas are exact here: what is left is the sample's.
        (Load(3.0, 1.0, 1.0), 4, exponential, 0.08),
        (Load(4.0, 3.2, 1.0), 17, exponential, 0.08),
        # By the two-moment correction.
        (Load(3.0, 1.0, 0.5), 4, lognormal, 0.15),
        (Load(4.0, 3.2, 0.5), 16, lognormal, 0.15),
        (Load(3.0, 1.0, 1.0), 4, lognormal, 0.15),
        (Load(3.0, 1.0, 0.0), 4, equal, 0.15),
    ],
)
def test_waits_are_those_of_a_simulated_pool(load, sessions, draw, closeness):
    told, simulated = waits(load, sessions), simulate(load, sessions, draw)
    queued = sum(wait > 0 for wait in simulated) / len(simulated)
    assert told.waiting == pytest.approx(queued, abs=0.03)
    assert told.mean == pytest.approx(sum(simulated) / len(simulated), rel=closeness)
    for percent in (95, 99):
        assert told.percentile(percent) == pytest.approx(
            percentile(simulated, percent), rel=closeness
        )


@pytest.mark.parametrize(("draw", "spread"), [(exponential, 1.0), (lognormal, 0.5)])
def test_a_simulated_pool_needs_the_number_and_no_fewer(draw, spread):
    load, wait = Load(4.0, 3.2, spread), 0.8
    needed = sessions_needed(load, wait)
    assert percentile(simulate(load, needed, draw), 99) <= wait
    assert percentile(simulate(load, needed - 1, draw), 99) > wait


# --- against a real pool ---------------------------------------------------------------


class Run:
    """A real pool under Poisson arrivals, and what was measured of it.

    Attributes:
        came: When each borrower came, in that order.
        waited: Seconds for which each waited.
        lent: Seconds for which each had its session.
        stats: The pool's, of these borrowers alone.
        seconds: From the first to the last arrival.
    """

    SESSIONS, NUMBER, PAUSE = 4, 200, 0.06

    def __init__(self, service, audio, seed):
        self._service = service
        self._audio = audio
        self._rng = Random(seed)
        self._lent = {}  # by the session that was returned last
        self._now = asyncio.get_running_loop().time

    async def __call__(self):
        config_factory, listener = self._service.config_factory, self._heard
        async with AvatarConnectionPool(self.SESSIONS, config_factory, on_event=listener) as pool:
            for _ in range(20):  # how fast is this machine today?
                await self._speak(pool, self.PAUSE)
            duration, _ = measured_durations(pool.pop_stats())
            began, tasks = self._now(), []
            async with asyncio.TaskGroup() as group:
                at = began
                for _ in range(self.NUMBER):
                    at += self._rng.expovariate(0.75 * self.SESSIONS / duration)
                    await asyncio.sleep(at - self._now())  # late ones do not hold up the next
                    pause = lognormal(self._rng, Load(1.0, self.PAUSE), 0.6)
                    tasks.append(group.create_task(self._speak(pool, pause)))
                self.seconds = self._now() - began
            self.stats = pool.get_stats()
        measured = sorted(task.result() for task in tasks)
        self.came, self.waited, self.lent = zip(*measured, strict=True)

    def _heard(self, event):
        if event.kind is PoolEventKind.RETURNED:
            self._lent[event.connection_id] = event.seconds

    async def _speak(self, pool, pause):
        came = self._now()
        async with pool.borrow() as conn:
            connection_id = conn.connection_id
            await conn.session.send_audio(self._audio, end=True)
            await conn.collector.wait()
            await asyncio.sleep(pause)
        lent = self._lent[connection_id]
        return came, self._now() - lent - came, lent


async def test_a_real_pools_waits_are_the_queues(speech):
    """The queue that is simulated above is the pool: fed with a run's arrivals and durations
    it waits as the run did. The formula is for a run without end, and this one is short: it
    is held to a factor, and has three runs, since others use this machine too.
    """
    found = []
    async with LocalAvatarService(driver=DspDriver) as service:
        for seed in range(3):
            run = Run(service, speech[:2560], seed)
            await run()
            replayed = list(queue(run.came, run.lent, run.SESSIONS))
            assert sum(run.waited) == pytest.approx(sum(replayed), rel=0.15)

            load = Load.from_stats(run.stats, run.seconds)
            assert load.duration == pytest.approx(sum(run.lent) / run.NUMBER)
            told, mean = waits(load, run.SESSIONS), sum(run.waited) / run.NUMBER
            queued = run.stats["borrows_queued"] / run.NUMBER
            found.append((told.waiting, queued, told.mean, mean))
            if abs(told.waiting - queued) < 0.25 and told.mean / 3 < mean < told.mean * 3:
                return
    pytest.fail(f"told and measured: {found}")
