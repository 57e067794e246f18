"""Groups of pools over the local service, which counts the sessions."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import logging
import warnings
from collections import Counter

import pytest

from avatarpool import (
    AvatarPoolGroup,
    AvatarSDKError,
    AvatarSession,
    ConfigurationError,
    LiveKitEgressConfig,
    LocalAvatarService,
    LocalBudget,
    PoolClosed,
    PoolError,
    PoolKey,
    PoolTimeout,
    SessionConfig,
)
from avatarpool.endpoint import refusals
from avatarpool.fleet import budget as budgets
from avatarpool.service import ServiceLimits, TokenFault

AVATARS = ("a", "b", "c")
SPEECH = bytes(3200)


@pytest.fixture
async def service():
    async with LocalAvatarService(
        avatar_ids=AVATARS, limits=ServiceLimits(max_connections=4)
    ) as service:
        yield service


def access(service):
    """Return what every key's configuration has in common."""
    given = service.config_factory()
    names = ("api_key", "app_id", "console_endpoint_url", "ingress_endpoint_url")
    return {name: getattr(given, name) for name in names}


def group_of(service, sessions=4, **options):
    options.setdefault("min_hold", 0.05)
    return AvatarPoolGroup(
        lambda key: SessionConfig(**access(service)), budget=LocalBudget(sessions), **options
    )


async def speak(conn, audio=SPEECH):
    await conn.session.send_audio(audio, end=True)
    return await conn.collector.wait(10)


def end_sessions(service):
    for session in service._ingress._sessions:
        session.end(refusals.SERVICE_CLOSED)


async def until(true, seconds=10.0):
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)


async def test_any_key_is_lent_and_all_of_them_stay_within_the_budget(service):
    served = Counter()

    async def client(group, avatar, rate):
        for _ in range(5):
            async with group.borrow(avatar, sample_rate=rate) as conn:
                frames = await speak(conn, bytes(rate // 5))
                assert frames[-1].end
                served[avatar, rate] += 1

    async with group_of(service, warm={PoolKey("a"): 2}) as group:
        assert service.counters.connections_open == 2
        async with asyncio.timeout(60):
            await asyncio.gather(
                *(client(group, avatar, rate) for avatar in AVATARS for rate in (16000, 24000)),
                *(client(group, avatar, 16000) for avatar in AVATARS),
            )
        stats = group.get_stats()
    assert served == {(a, r): 10 if r == 16000 else 5 for a in AVATARS for r in (16000, 24000)}
    assert stats["budget"] == 4
    assert stats["total"]["total_requests_served"] == 45
    assert stats["total"]["connections_errors"] == 0, "the service's own limit was never met"
    assert set(stats["keys"]) == {f"{a}/{r}" for a in AVATARS for r in (16000, 24000)}
    assert service.counters.connections_open == 0


async def test_a_session_carries_what_its_key_says(service):
    configs = []

    async def factory(key, collector):
        await asyncio.sleep(0)
        assert hasattr(collector, "on_error")
        configs.append(key)
        return {**access(service), "transport_frames": collector.transport_frame}

    key = PoolKey("b", sample_rate=24000)
    async with AvatarPoolGroup(factory, budget=LocalBudget(2)) as group:
        async with group.borrow(key) as conn:
            assert await speak(conn)
        async with group.borrow("b", sample_rate=24000):
            pass
    assert configs == [key], "one session, for both ways to say it"


async def test_idle_sessions_of_one_key_give_way_to_another(service):
    async with group_of(service, 2) as group:
        async with group.borrow("a"), group.borrow("a"):
            pass
        async with group.borrow("b", timeout=10):
            assert group.get_stats()["keys"]["a/16000"]["total_connections"] == 1
            assert service.counters.connections_open == 2


async def test_a_lent_session_goes_to_the_key_that_waits_when_it_comes_back(service):
    async with group_of(service, 1) as group:
        async with group.borrow("a"):
            waiting = asyncio.ensure_future(group.borrow("b", timeout=10).__aenter__())
            await asyncio.sleep(0.2)
            assert not waiting.done()
        conn = await waiting
        assert await speak(conn)
        await conn.__aexit__(None, None, None)


async def test_who_leaves_the_queue_leaves_nothing_behind(service):
    async with group_of(service, 1) as group:
        async with group.borrow("a"):
            with pytest.raises(PoolTimeout):
                async with group.borrow("b", timeout=0.1):
                    raise AssertionError
            async with asyncio.timeout(10):
                waiting = asyncio.ensure_future(group.borrow("c").__aenter__())
                await asyncio.sleep(0.05)
                waiting.cancel()
                await asyncio.wait([waiting])
        async with group.borrow("a", timeout=10) as conn:
            assert await speak(conn)
        assert group.get_stats()["total"]["requests_waiting"] == 0


async def test_dead_sessions_give_their_slots_back(service):
    async with group_of(service, 2, warm={PoolKey("a"): 1}) as group:
        async with group.borrow("b"):
            end_sessions(service)
            await until(lambda: group.get_stats()["total"]["connections_lost"] == 2)
        for avatar in AVATARS:
            async with group.borrow(avatar, timeout=10) as conn:
                assert await speak(conn)


async def test_the_services_own_limit_fails_no_waiter(service, monkeypatch):
    monkeypatch.setattr(budgets, "FULL_FOR", 0.3)
    others = [AvatarSession(SessionConfig(avatar_id="c", **access(service))) for _ in range(3)]
    for other in others:
        await other.init()
        await other.start()
    async with group_of(service, 4) as group:
        async with group.borrow("a", timeout=10):
            waiting = asyncio.ensure_future(group.borrow("b", timeout=30).__aenter__())
            await until(lambda: group.get_stats()["total"]["connections_errors"] > 0)
            await asyncio.sleep(0.5)
            assert not waiting.done(), "it waits on"
            await others.pop().close()
            conn = await waiting
            await conn.__aexit__(None, None, None)
    for other in others:
        await other.close()


async def test_what_one_avatar_is_refused_for_is_told_and_hinders_no_other(service):
    async with group_of(service, 2) as group:
        with pytest.raises(AvatarSDKError, match="Avatar not found"):
            async with group.borrow("nobody", timeout=10):
                raise AssertionError
        async with group.borrow("a"), group.borrow("b"):
            pass


async def test_a_group_whose_warm_sessions_are_all_refused_does_not_open(service):
    group = group_of(service, warm={PoolKey("nobody"): 1})
    with pytest.raises(PoolError, match="could open none of its 1 connections"):
        await group.initialize(timeout=5)
    assert group.closed
    assert service.counters.connections_open == 0


async def test_the_budget_may_be_changed(service):
    async with group_of(service, 4) as group:
        async with group.borrow("a"), group.borrow("b"), group.borrow("c"):
            group.resize(1)
        await until(lambda: service.counters.connections_open == 1)
        group.resize(3)
        async with group.borrow("a"), group.borrow("b"), group.borrow("c"):
            assert service.counters.connections_open == 3
        with pytest.raises(ConfigurationError, match=r"sessions 2\.5 is no whole number"):
            group.resize(2.5)
        with pytest.raises(ConfigurationError, match=r"sessions 1e\+30 is more than 1000000"):
            group.resize(10**30)


async def test_drain_replaces_every_session(service):
    async with group_of(service, 4) as group:
        async with group.borrow("a") as first, group.borrow("b"):
            before = first.connection_id
        group.drain()
        async with group.borrow("a") as second:
            assert second.connection_id != before


async def test_events_of_all_keys_are_told(service):
    events, more = [], []
    async with group_of(service, on_event=events.append) as group:
        async with group.borrow("a"):
            pass
        group.add_listener(more.append)
        async with group.borrow("a"), group.borrow("b"):
            pass
        group.remove_listener(more.append)
        async with group.borrow("b"):
            pass
    assert {event.pool for event in events} == {f"{group.name}/a/16000", f"{group.name}/b/16000"}
    assert [event.kind.value for event in more].count("lent") == 2
    assert {event.pool for event in more} == {event.pool for event in events}


async def test_counters_start_anew_when_they_are_popped(service):
    async with group_of(service) as group:
        async with group.borrow("a") as conn:
            await speak(conn)
        stats = group.pop_stats()
        assert (
            stats["total"]["borrows_num"] == stats["total"]["latency"]["duration_ms"]["count"] == 1
        )
        assert stats["total"]["connections"] == stats["keys"]["a/16000"]["connections"]
        assert group.get_stats()["total"]["borrows_num"] == 0


async def test_a_pool_that_nobody_needs_is_forgotten_and_its_numbers_are_not(service):
    async with group_of(service, max_idle=0.05) as group:
        async with group.borrow("a"):
            pass
        group._sweep()
        assert list(group.pools) == [PoolKey("a")], "it has a session"
        await until(lambda: not group.pools[PoolKey("a")].total_count)
        group._sweep()
        async with group.borrow("a"):
            pass
        await until(lambda: not group.pools[PoolKey("a")].total_count)
        group._sweep()
        assert list(group.pools) == [PoolKey("a")], "it was asked since the last look"
        group._sweep()
        assert not group.pools
        assert group.get_stats()["total"]["borrows_num"] == 2
        async with group.borrow("a") as conn:
            assert await speak(conn)
        assert group.get_stats()["total"]["borrows_num"] == 3


async def test_a_key_that_is_asked_again_while_its_pool_closes_counts(service):
    async with group_of(service, 1, max_idle=0.05, min_hold=60) as group:
        async with group.borrow("a"):
            pass
        await until(lambda: not group.pools[PoolKey("a")].total_count)
        group._sweep()
        group._sweep()
        assert not group.pools
        async with group.borrow("a"):
            await until(lambda: not group._pools._closers)
            assert group.get_stats()["used"] == 1
            waiting = asyncio.ensure_future(group.borrow("b", timeout=0.2).__aenter__())
            with pytest.raises(PoolTimeout):
                await waiting
            assert service.counters.connections_open == 1


async def test_keys_that_strangers_choose_do_not_pile_up(service):
    async with group_of(service) as group:
        for number in range(1000):
            group.borrow(f"stranger-{number}")
            assert len(group.pools) <= 200
            if number % 50 == 0:
                await until(lambda: len(group._pools._closers) < 10)
        await until(lambda: not group._pools._closers)
        assert len(group._lent_by) == len(group._pools._seats) == len(group.pools)
        assert len(group._sharing._seats) == len(group.pools)


async def test_keys_that_read_alike_are_told_apart(service):
    room = {"url": "wss://x", "api_key": "k", "api_secret": "s", "room_name": "r"}
    keys = [
        PoolKey("a", livekit_egress=LiveKitEgressConfig(**room, publisher_id=name)) for name in "pq"
    ]
    async with group_of(service) as group:
        for key in keys:
            group.borrow(key)
        assert set(group.get_stats()["keys"]) == {"a/16000/r", "a/16000/r~2"}


async def test_a_group_that_is_closed_while_it_opens_opens_nothing(service):
    class SlowBudget(LocalBudget):
        async def open(self, wake):
            await going_on.wait()
            await super().open(wake)

    going_on = asyncio.Event()
    group = AvatarPoolGroup(
        lambda key: access(service), budget=SlowBudget(4), warm={PoolKey("a"): 1}
    )
    opening = asyncio.ensure_future(group.initialize())
    beside = asyncio.ensure_future(group.initialize())
    await asyncio.sleep(0)
    await group.close()
    going_on.set()
    for each in (opening, beside):
        with pytest.raises(PoolClosed, match="is closed: make a new one"):
            await each
    assert not group.pools
    assert service.counters.connections_open == 0


async def test_who_initializes_beside_another_waits_for_the_same(service):
    group = group_of(service, warm={PoolKey("a"): 2})
    await asyncio.gather(asyncio.ensure_future(group.initialize()), group.initialize())
    assert service.counters.connections_open == 2
    await group.initialize()
    await group.close()


async def test_waiting_for_warm_sessions_says_which_are_not_there(service):
    warm = {PoolKey("a"): 1, PoolKey("nobody"): 1}
    async with group_of(service, warm=warm) as group:
        with pytest.raises(PoolTimeout, match="nobody/16000' had 0 of 1 connections"):
            await group.wait(0.2)


async def test_a_configuration_that_cannot_work_opens_no_group():
    group = AvatarPoolGroup(
        lambda key: {"nonsense": 1}, budget=LocalBudget(2), warm={PoolKey("a"): 1}
    )
    with pytest.raises(ConfigurationError, match="SessionConfig has no field nonsense"):
        await group.initialize(wait=False)
    assert group.closed


async def test_a_group_is_of_one_event_loop(service):
    async def elsewhere(use):
        result = use()
        if result is not None:
            await result

    async with group_of(service) as group:
        for use in (lambda: group.borrow("b"), group.wait, group.close, group.initialize):
            with pytest.raises(PoolError, match="belongs to another event loop or process"):
                await asyncio.to_thread(asyncio.run, elsewhere(use))
        async with group.borrow("b") as conn:
            assert await speak(conn)


async def test_a_pool_opened_for_a_borrower_sees_nothing_of_its_context(service):
    whose = contextvars.ContextVar("whose", default="nobody's")
    seen = []

    async def configure(conn):
        await asyncio.sleep(0)
        seen.append(whose.get())

    async with group_of(service, configure=configure) as group:
        whose.set("a request's")
        async with group.borrow("a"):
            pass
    assert seen == ["nobody's"]


async def test_closing_tells_waiters_and_closes_all(service):
    group = group_of(service, 1)
    await group.initialize()
    conn = await group.borrow("a").__aenter__()
    waiting = asyncio.ensure_future(group.borrow("b").__aenter__())
    await asyncio.sleep(0.05)
    closing = asyncio.ensure_future(group.close(timeout=10))
    with pytest.raises(PoolClosed):
        await waiting
    await conn.__aexit__(None, None, None)
    await closing
    await group.close()
    assert service.counters.connections_open == 0
    with pytest.raises(PoolClosed, match=f"group '{group.name}' is closed"):
        group.borrow("a")


async def test_a_group_that_is_not_open_says_so(service):
    group = group_of(service)
    with pytest.raises(PoolClosed, match="is not open: call initialize"):
        group.borrow("a")


async def test_a_forgotten_group_closes_its_sessions(service):
    group = group_of(service)
    await group.initialize()
    async with group.borrow("a"):
        pass
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        del group
        gc.collect()
    assert ["was forgotten with 1 sessions open" in str(each.message) for each in told] == [True]
    del told  # it holds the pool
    await until(lambda: service.counters.connections_open == 0)


async def test_one_budget_is_for_one_group(service):
    budget = LocalBudget(2)
    make = lambda: AvatarPoolGroup(lambda key: access(service), budget=budget)  # noqa: E731
    async with make():
        with pytest.raises(ConfigurationError, match="it has a group already"):
            await make().initialize()
    async with make():
        pass


def test_numbers_that_cannot_work_are_all_named():
    warm = {PoolKey("a"): 2, PoolKey("b"): 2}
    with pytest.raises(ConfigurationError, match="4 warm sessions leave none of 4"):
        AvatarPoolGroup(dict, budget=LocalBudget(4), warm=warm)
    with pytest.raises(ConfigurationError) as told:
        AvatarPoolGroup(None, budget=LocalBudget(4), warm={"a": 1}, min_hold=-1)
    for problem in (
        "min_hold -1",
        "warm has a key that is no PoolKey",
        "config_factory is missing",
    ):
        assert problem in str(told.value)
    with pytest.raises(TypeError, match="pool_size: a group's sizes are budget and warm"):
        AvatarPoolGroup(dict, budget=LocalBudget(4), pool_size=3)
    with pytest.raises(TypeError, match="timout"):
        AvatarPoolGroup(dict, budget=LocalBudget(4), timout=3)


async def test_a_key_takes_no_settings_beside_its_own(service):
    async with group_of(service) as group:
        with pytest.raises(ConfigurationError, match="a PoolKey has its own settings"):
            group.borrow(PoolKey("a"), sample_rate=24000)
        with pytest.raises(ConfigurationError, match="sample_rate 7"):
            group.borrow("a", sample_rate=7)
        with pytest.raises(ConfigurationError, match="timeout 'soon' must be a number"):
            group.borrow("a", timeout="soon")
        with pytest.raises(ConfigurationError, match="avatar_id is missing"):
            group.borrow(["a"])


async def test_secrets_are_nowhere_to_be_seen(service, caplog):
    caplog.set_level(logging.DEBUG)
    async with group_of(service) as group:
        async with group.borrow("a"):
            shown = repr(group) + repr(group.pools) + str(group.get_stats())
    assert access(service)["api_key"] not in shown + caplog.text


async def test_a_key_that_was_refused_is_asked_for_again_though_nobody_waits():
    limits = ServiceLimits(credits=0)
    async with (
        LocalAvatarService(avatar_ids=AVATARS, limits=limits) as service,
        group_of(service) as group,
    ):

        async def refused():
            with pytest.raises(AvatarSDKError, match="no credits are left"):
                async with group.borrow("a"):
                    pass
            return group.get_stats()["total"]["connections_num"]

        attempts = await refused()
        assert await refused() == attempts  # it is told at once, and nothing is asked
        service.top_up(60)
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(AvatarSDKError):
                    async with group.borrow("a"):
                        return
                await asyncio.sleep(0.02)


async def test_closing_that_is_cancelled_at_once_leaves_no_session(service):
    group = group_of(service)
    await group.initialize()
    async with group.borrow("a") as conn, group.borrow("b"):
        await speak(conn)
    closing = asyncio.create_task(group.close())
    await asyncio.sleep(0)  # its first step, before any of its pools has had one
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert not any(pool.total_count for pool in group.pools.values())
    await until(lambda: not service.counters.connections_open)


async def test_a_full_account_after_a_failure_is_asked_again_once_it_has_room(monkeypatch):
    monkeypatch.setattr(budgets, "FULL_FOR", 0.2)
    limits = ServiceLimits(max_connections=1)
    async with (
        LocalAvatarService(avatar_ids=AVATARS, limits=limits) as service,
        group_of(service) as group,
    ):

        async def is_lent():
            async with group.borrow("a", timeout=60.0) as conn:
                return await speak(conn)

        # Somebody else has the account's only session.
        async with AvatarSession(SessionConfig(avatar_id="b", **access(service))):
            service.faults.next_tokens.append(TokenFault(status=500))
            waiting = asyncio.create_task(is_lent())
            await until(lambda: group.get_stats()["total"]["connections_errors"] >= 2)
        async with asyncio.timeout(30):
            assert await waiting
