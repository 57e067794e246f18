"""Soaks of a sound pool pass; each thing that can be broken in one is found."""

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from itertools import count

import pytest

from avatarpool import AvatarConnectionPool, PoolError
from avatarpool.lipsync import EchoDriver
from avatarpool.service import Faults, LocalAvatarService, SessionFault
from avatarpool.soak import soak
from avatarpool.soak.plan import SoakPlan
from avatarpool.soak.soak import Soak, open_sockets, resident_bytes
from avatarpool.soak.tally import Violation


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Calms, faults and the time for leftovers, in proportion to these soaks."""
    monkeypatch.setattr(soak, "_CALM", (0.05, 0.1))
    monkeypatch.setattr(soak, "_FAULT", (0.05, 0.1))
    monkeypatch.setattr(soak, "_OPERATION_PAUSE", (0.01, 0.05))
    monkeypatch.setattr(soak, "_SAMPLE_EVERY", 0.01)
    monkeypatch.setattr(soak, "resident_bytes", lambda: None)  # it grows while all is new
    monkeypatch.setattr(soak, "LEFTOVER_TIMEOUT", 1.0)


@pytest.fixture
async def faults():
    return Faults()


@pytest.fixture
async def service(faults):
    async with LocalAvatarService(driver=EchoDriver, faults=faults) as service:
        yield service


async def soaked(service, troubles=None, *, seconds=0.5, heal_timeout=20.0, **options):
    plan = SoakPlan(seconds, connections=3, borrowers=6, seed=1, heal_timeout=heal_timeout)
    soak = Soak(plan, [service.config_factory], troubles or {}, **options)
    try:
        await soak.run()
    finally:
        report = await soak.finish()
    return report


async def soaked_until(service, is_enough, troubles=None, **options):
    """Soak until its tally is enough, which takes as long as the machine takes."""

    class Enough(Exception):
        pass

    def look(tally, elapsed):
        if is_enough(tally):
            raise Enough

    plan = SoakPlan(30.0, connections=3, borrowers=6, seed=1)
    soak = Soak(plan, [service.config_factory], troubles or {}, on_tick=look, **options)
    with suppress(Enough):
        await soak.run()
    return await soak.finish()


def finds(kind):
    return lambda tally: any(finding.kind is kind for finding in tally.findings)


def kinds(report):
    return {finding.kind for finding in report.tally.findings}


async def test_a_sound_pool_passes_without_faults(service):
    def is_enough(tally):
        return tally.answered > 20 and {"drain", "resize"} == set(tally.operations)

    report = await soaked_until(service, is_enough)
    assert report.tally.findings == ()
    assert report.tally.failures == {}
    assert is_enough(report.tally)
    assert (report.leaked_tasks, report.leaked_sockets) == (0, 0)
    assert "SOAK PASSED" in report.to_text()


async def test_a_sound_pool_passes_with_faults_and_their_failures_are_counted(service, faults):
    async def resets(seconds):
        faults.sessions = SessionFault(resets=True, after_frames=20)
        try:
            await asyncio.sleep(seconds)
        finally:
            faults.sessions = None

    def is_enough(tally):
        return tally.faults["resets"] > 1 and tally.failures["connectionClosed"] > 0

    report = await soaked_until(service, is_enough, {"resets": resets})
    assert report.tally.findings == ()
    assert is_enough(report.tally)
    assert report.pool["connections_lost"] > 0


async def test_the_same_failures_without_a_fault_are_found(service, faults):
    faults.sessions = SessionFault(resets=True, after_frames=20)
    report = await soaked_until(service, finds(Violation.CALM_FAILURE))
    assert kinds(report) == {Violation.CALM_FAILURE}


_asked = count(1)


def is_time() -> bool:
    """Whether to do wrong: each fourth time that it is asked."""
    return next(_asked) % 4 == 0


class Mixing(EchoDriver):
    """Now and then gives a frame of the request before."""

    last = None

    def _keyframe(self):
        keyframe = super()._keyframe()
        last, Mixing.last = Mixing.last, keyframe
        return last if last is not None and is_time() else keyframe


class Losing(EchoDriver):
    """Now and then forgets a frame."""

    def feed(self, pcm):
        return [keyframe for keyframe in super().feed(pcm) if not is_time()]


@pytest.mark.parametrize(
    ("driver", "kind"), [(Mixing, Violation.MIXED), (Losing, Violation.WRONG_FRAMES)]
)
async def test_frames_of_others_and_lost_ones_are_found(driver, kind):
    async with LocalAvatarService(driver=driver) as service:
        assert kind in kinds(await soaked_until(service, finds(kind)))


class Keeping(AvatarConnectionPool):
    """Now and then does not notice that a connection came back."""

    @asynccontextmanager
    async def borrow(self, *args, **options):
        borrow = super().borrow(*args, **options)
        conn = await borrow.__aenter__()
        try:
            yield conn
        finally:
            if not is_time():
                await borrow.__aexit__(None, None, None)

    async def close(self, timeout=0.0):
        await super().close(timeout)


class Forgetting(AvatarConnectionPool):
    """Now and then forgets a connection that came back, and leaves it open."""

    kept = ()

    @asynccontextmanager
    async def borrow(self, *args, **options):
        async with super().borrow(*args, **options) as conn:
            connection = conn._connection
            yield conn
        if is_time() and self._state.lose(connection):
            Forgetting.kept = (*self.kept, connection)


async def test_a_pool_that_keeps_no_connection_for_the_next_one_does_not_heal(service):
    report = await soaked(service, seconds=1.5, pool_class=Keeping, heal_timeout=1.0)
    assert Violation.NOT_HEALED in kinds(report)
    assert "3 connections wanted" in report.to_text()


async def test_a_pool_that_forgets_connections_leaves_sockets_and_wrong_counters(service):
    report = await soaked(service, seconds=1.5, pool_class=Forgetting)
    assert {Violation.SOCKETS, Violation.COUNTERS} <= kinds(report)
    assert report.leaked_sockets >= 2 * len(Forgetting.kept)  # both ends are here
    for connection in Forgetting.kept:
        await connection.session.close()


class Odd(AvatarConnectionPool):
    """Now and then raises what no user expects."""

    def borrow(self, *args, **options):
        if is_time():
            raise KeyError("odd")
        return super().borrow(*args, **options)


class Late(AvatarConnectionPool):
    """Now and then forgets the borrower's timeout."""

    @asynccontextmanager
    async def borrow(self, timeout, **options):
        if timeout < 0.1:
            await asyncio.sleep(2.2)
        async with super().borrow(timeout, **options) as conn:
            yield conn


@pytest.mark.parametrize(
    ("pool_class", "kind"), [(Odd, Violation.UNEXPECTED), (Late, Violation.LONG_WAIT)]
)
async def test_odd_errors_and_late_answers_are_found(service, pool_class, kind):
    report = await soaked_until(service, finds(kind), pool_class=pool_class)
    assert kinds(report) == {kind}


async def test_a_service_that_stays_away_is_told_as_a_pool_that_does_not_heal(service):
    async def goes(seconds):
        await service.close()

    report = await soaked(service, {"outage": goes}, heal_timeout=1.0)
    assert kinds(report) == {Violation.NOT_HEALED}
    assert "could not be reached" in report.to_text()


async def test_work_that_the_service_is_left_with_is_found(service):
    report = await soaked(service, unfinished=lambda: "2 requests are open")
    assert kinds(report) == {Violation.UNFINISHED}
    assert "the pool is idle, and 2 requests are open" in report.to_text()


async def test_a_task_that_stays_is_found(service):
    left = []

    async def leaves(seconds):
        left.append(asyncio.create_task(asyncio.sleep(60)))
        await asyncio.sleep(seconds)

    report = await soaked(service, {"a task": leaves})
    assert kinds(report) == {Violation.TASKS}
    assert report.leaked_tasks == len(left)
    for task in left:
        task.cancel()


async def test_an_error_that_is_only_logged_is_found_and_no_more_is_heard_afterwards(service):
    async def logs(seconds):
        logging.getLogger("avatarpool.pool").error("a task of the pool failed")
        await asyncio.sleep(seconds)

    report = await soaked(service, {"a log line": logs})
    assert kinds(report) == {Violation.LOGGED}
    assert "avatarpool.pool: a task of the pool failed" in report.to_text()
    assert logging.getLogger("avatarpool").handlers == []


async def test_memory_that_grows_is_found(service, monkeypatch):
    grown = iter(range(0, 10**12, 10**7))
    monkeypatch.setattr(soak, "resident_bytes", lambda: next(grown))
    report = await soaked(service, seconds=1.5)
    assert kinds(report) == {Violation.MEMORY}


async def test_what_watches_may_end_the_soak(service):
    def full(tally, elapsed):
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        await soaked(service, on_tick=full)


async def test_a_pool_that_cannot_open_is_an_error_and_not_a_finding(service):
    await service.close()
    with pytest.raises(PoolError, match="none of its 3 connections"):
        await soaked(service, heal_timeout=1.0)


async def test_a_cancelled_soak_reports_what_it_has_seen(service):
    plan = SoakPlan(60.0, connections=2, borrowers=4)
    soak = Soak(plan, [service.config_factory], {})
    running = asyncio.create_task(soak.run())
    while soak.tally.answered < 10:
        await asyncio.sleep(0.01)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    report = await soak.finish(was_interrupted=True)
    assert report.tally.findings == ()
    assert 0 < report.seconds < 60
    assert "SOAK PASSED (INTERRUPTED)" in report.to_text()


async def test_the_gauges_see_what_there_is():
    before, memory = open_sockets(), resident_bytes()
    if before is None:
        pytest.skip("there is no /proc here")
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    assert open_sockets() == before + 1
    server.close()
    ballast = bytearray(b"1" * 64 * 1024 * 1024)
    assert resident_bytes() > memory + len(ballast) // 2
