"""What is remembered of a group over the local service, and told."""

import asyncio
import json

import pytest
from watched import AVATARS, Client, group_of, speak

from avatarpool import AvatarSDKError, LocalAvatarService, PoolEvent, PoolEventKind, PoolTimeout
from avatarpool.gateway.watching import (
    MOST_FAILURES,
    MOST_SHOWN,
    TURN_SECONDS,
    Watching,
)
from avatarpool.service.faults import SessionFault, Step


class Clock:
    """Seconds that go by when a test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
async def service():
    async with LocalAvatarService(avatar_ids=AVATARS) as running:
        yield running


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def watching(clock):
    return Watching(clock)


async def test_requests_are_counted_with_their_times(service, clock, watching):
    async with group_of(service) as group:
        group.add_listener(watching.heard)
        await asyncio.gather(*(speak(group) for _ in range(6)))
        told = watching.snapshot(group, [])
        assert json.loads(json.dumps(told, allow_nan=False)) == told
        assert told["arrivals"] == 6
        assert told["first_frame_ms"]["count"] == told["duration_ms"]["count"] == 6
        assert 0 < told["first_frame_ms"]["p50"] <= told["duration_ms"]["max"]
        assert told["wait_ms"]["p99"] > 0, "the first had to wait until one was open"
        assert told["history"]["arrivals"][-1] == 6
        assert told["history"]["first_frame_ms"]["p50"][-1] > 0
        assert told["history"]["wait_ms"]["p95"][-2] is None
        assert told["failures"] == []
        clock.now += 301.0
        later = watching.snapshot(group, [])
        assert (
            later["arrivals"] == later["wait_ms"]["count"] == sum(later["history"]["arrivals"]) == 0
        )
        assert later["window_seconds"] <= 300.0


async def test_every_session_is_listed_with_its_state(service, watching):
    async with group_of(service, 3) as group:
        async with group.borrow("a"):
            await speak(group, "b")
            told = watching.snapshot(group, [])
            assert told["budget"] == {"sessions": 3, "used": 2}
            assert told["states"] == {"idle": 1, "lent": 1, "draining": 0, "opening": 0}
            listed = {each["key"]: each for each in told["sessions"]}
            assert listed["a/16000"]["state"] == "lent"
            assert listed["b/16000"]["state"] == "idle"
            assert (listed["a/16000"]["requests"], listed["b/16000"]["requests"]) == (0, 1)
            assert all(each["age_seconds"] >= each["state_seconds"] for each in told["sessions"])
            assert all(each["connection_id"] for each in told["sessions"])


async def test_sessions_on_their_way_in_are_listed_too(service, watching):
    service.faults.sessions = SessionFault(stalls_at=Step.HANDSHAKE)
    async with group_of(service, 3) as group:
        waiter = asyncio.create_task(speak(group, "a"))
        async with asyncio.timeout(30):
            while not (told := watching.snapshot(group, []))["sessions"]:
                await asyncio.sleep(0.01)
        assert told["sessions"][0]["state"] == "opening"
        assert told["sessions"][0]["age_seconds"] is None
        assert told["states"]["opening"] == told["queue"]["sessions"] == 1
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)


async def test_failures_have_their_causes(service, clock, watching):
    async with group_of(service, 1) as group:
        group.add_listener(watching.heard)
        async with group.borrow("a"):
            with pytest.raises(PoolTimeout):
                async with group.borrow("a", timeout=0.05):
                    pass
        service.faults.sessions = SessionFault(close_code=4002)
        with pytest.raises(AvatarSDKError):
            for _ in range(5):
                await speak(group, "a")
        clock.now += 7.0
        told = watching.snapshot(group, [])
        kinds = {each["kind"]: each for each in told["failures"]}
        assert "gave no connection within 0.05 s" in kinds["not lent"]["cause"]
        assert kinds["not lent"]["where"] == "a/16000"
        assert kinds["request failed"]["cause"]
        assert kinds["session lost"]["cause"]
        assert all(each["seconds_ago"] == 7.0 for each in told["failures"])
        assert sum(told["history"]["failures"]) == sum(each["count"] for each in told["failures"])
        clock.now += 300.0
        assert watching.snapshot(group, [])["failures"] == []


async def test_a_borrower_that_left_is_no_failure(service, watching):
    async with group_of(service, 1) as group:
        group.add_listener(watching.heard)
        async with group.borrow("a"):
            waiter = asyncio.create_task(speak(group, "a"))
            async with asyncio.timeout(30):
                while not group.get_stats()["total"]["requests_waiting"]:
                    await asyncio.sleep(0.005)
            waiter.cancel()
            await asyncio.gather(waiter, return_exceptions=True)
        assert watching.snapshot(group, [])["failures"] == []


async def test_the_wait_for_a_turn_is_part_of_the_wait(service, watching):
    async def in_turn(group, seconds):
        TURN_SECONDS.set(seconds)
        await speak(group)

    async with group_of(service, 1) as group:
        group.add_listener(watching.heard)
        await speak(group)
        await asyncio.gather(in_turn(group, 100.0))  # a task has a context of its own
        assert watching.snapshot(group, [])["wait_ms"]["max"] == pytest.approx(100e3, rel=0.3)
        watching.turned_away("demo", "waited 5.00 s for its turn", 5.0)
        told = watching.snapshot(group, [])
    assert told["arrivals"] == told["wait_ms"]["count"] == 3
    (failure,) = told["failures"]
    assert (failure["kind"], failure["where"]) == ("turned away", "demo")


async def test_clients_and_their_queue_are_told(service, watching):
    clients = [
        Client("b", running=1, waiting=2, requests=9, refused={"queueTimeout": 3}),
        Client("a", running=1, waiting=1, requests=4, audio_seconds=12.34),
    ]
    async with group_of(service) as group:
        told = watching.snapshot(group, iter(clients), is_paused=True)
        assert [each["name"] for each in told["clients"]] == ["a", "b"]
        assert told["clients"][0]["audio_seconds"] == 12.3
        assert told["clients"][1]["refused"] == {"queueTimeout": 3}
        assert (told["running"], told["queue"]) == (2, {"turns": 3, "sessions": 0})
        assert told["is_paused"]
        many = [Client(f"c{n:04}", requests=n) for n in range(1000)]
        told = watching.snapshot(group, many)
        assert told["clients_total"] == 1000
        assert len(told["clients"]) == MOST_SHOWN
        assert told["clients"][-1]["name"] == "c0999"
        assert len(json.dumps(told)) < 100_000


def lost(reason, pool="gateway/a/16000"):
    return PoolEvent(PoolEventKind.LOST, pool, "c", reason)


async def test_failures_that_read_alike_are_one_and_all_are_bounded(service, watching, clock):
    async with group_of(service) as group:
        for _ in range(3):
            watching.heard(lost("the peer is gone"))
        watching.heard(lost("api_key=sk-1234567890abcdef is wrong " + "x" * 10_000))
        newest, oldest = watching.snapshot(group, [])["failures"]
        assert (oldest["count"], oldest["cause"]) == (3, "the peer is gone")
        assert "sk-1234567890" not in newest["cause"]
        assert len(newest["cause"]) == 200
        for n in range(10 * MOST_FAILURES):
            watching.heard(lost(f"failure {n}", f"gateway/{'a' * 500}/{n}"))
        told = watching.snapshot(group, [])["failures"]
        assert len(told) == len(watching._failures) == MOST_FAILURES
        assert told[0]["cause"] == f"failure {10 * MOST_FAILURES - 1}"
        assert len(told[0]["where"]) == 100


async def test_an_error_without_words_has_its_name(service, watching):
    async with group_of(service) as group:
        watching.heard(PoolEvent(PoolEventKind.REQUEST_ENDED, "gateway/a", error=TimeoutError()))
        assert watching.snapshot(group, [])["failures"][0]["cause"] == "TimeoutError"


async def test_enough_traffic_is_advised_on(service, clock, watching):
    async with group_of(service, 4) as group:
        group.add_listener(watching.heard)
        await speak(group)
        assert watching.snapshot(group, [])["advice"]["requests_missing"] == 49
        for _ in range(10):
            await asyncio.gather(*(speak(group) for _ in range(5)))
        clock.now += 120.0
        advice = watching.snapshot(group, [])["advice"]
        assert advice["sessions_needed"] in range(1, 4)
        assert " would do: " in advice["text"]
