"""The pool over its own sessions, against the real local service."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import uvloop
from clock import virtually
from echo import EchoDriver, marked_audio, marks
from scripted import Script, new_pool

from avatarpool import (
    AnimationCollector,
    AudioError,
    AvatarConnectionPool,
    AvatarSDKError,
    AvatarSDKErrorCode,
    ConfigurationError,
    PoolError,
    RequestTimeout,
    SessionConfig,
    SessionStateError,
)
from avatarpool.service import LocalAvatarService, ServiceLimits


@pytest.fixture
async def echo() -> AsyncIterator[LocalAvatarService]:
    async with LocalAvatarService(driver=EchoDriver) as service:
        yield service


async def until(condition: Any) -> None:
    """Let the loop run until a condition holds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


async def test_the_example_of_the_documentation(service: LocalAvatarService, speech: bytes):
    async with AvatarConnectionPool(pool_size=3, config_factory=service.config_factory) as pool:
        async with pool.borrow() as conn:
            request_id = await conn.session.send_audio(speech, end=True)
            frames = await conn.collector.wait(timeout=45)
        assert frames is conn.collector.frames
        assert len(frames) == 75
        assert {frame.req_id for frame in frames} == {request_id}
        assert conn.collector.error is None
        assert pool.available_count == pool.total_count == 3


async def test_frames_come_one_by_one_as_they_arrive(echo: LocalAvatarService):
    async with AvatarConnectionPool(1, echo.config_factory) as pool, pool.borrow() as conn:
        seen = []

        async def watch() -> None:
            seen.extend([frame async for frame in conn.collector])

        watching = asyncio.create_task(watch())  # before there is a request
        await conn.session.send_audio(marked_audio(7, 5))
        await until(lambda: conn.collector.frames)
        assert not conn.collector.is_done
        await conn.session.send_audio(marked_audio(7, 5), end=True)
        await watching
        assert marks(seen) == [7] * 10
        assert [frame.end for frame in seen] == [False] * 9 + [True]


async def test_hundreds_of_concurrent_requests_never_mix(echo: LocalAvatarService):
    rng = random.Random(4)
    outcomes: list[str] = []

    async def request(pool: AvatarConnectionPool, mark: int) -> None:
        length = rng.randint(2, 30)
        audio = marked_audio(mark, length)
        async with pool.borrow(timeout=50) as conn:
            cut = rng.randrange(0, len(audio), 2)
            if cut:
                await conn.session.send_audio(audio[:cut])
            fate = rng.choice(["answered"] * 6 + ["half-sent", "unread", "interrupted", "twice"])
            if fate == "half-sent":
                return
            await conn.session.send_audio(audio[cut:], end=True)
            if fate == "unread":
                return
            if fate == "interrupted":
                await conn.session.interrupt()
            if fate in ("interrupted", "twice"):
                if fate == "twice":
                    await conn.collector.wait()
                    assert set(marks(conn.collector.frames)) == {mark}
                await conn.session.send_audio(marked_audio(-mark, 3), end=True)
                mark, length = -mark, 3
            frames = await conn.collector.wait()
            assert marks(frames) == [mark] * length
            outcomes.append(fate)

    async with AvatarConnectionPool(10, echo.config_factory) as pool:
        async with asyncio.TaskGroup() as group:
            for mark in range(1, 401):
                group.create_task(request(pool, mark))
        assert {"answered", "interrupted", "twice"} <= set(outcomes)
        assert len(outcomes) > 250
        await until(lambda: pool.available_count == 10)
        assert pool.get_stats()["connections_lost"] == 0
        await until(lambda: echo.counters.requests_open == 0)


async def test_late_frames_of_a_timed_out_request_reach_nobody(echo: LocalAvatarService):
    async with AvatarConnectionPool(1, echo.config_factory) as pool:
        async with pool.borrow() as conn:
            await conn.session.send_audio(marked_audio(1, 500), end=True)
            with pytest.raises(RequestTimeout):
                await conn.collector.wait(0.0)
            first = conn.connection_id
        async with pool.borrow() as conn:
            await conn.session.send_audio(marked_audio(2, 4), end=True)
            assert marks(await conn.collector.wait()) == [2] * 4
            assert conn.connection_id == first


async def test_a_cancelled_request_leaves_a_clean_connection(echo: LocalAvatarService):
    async with AvatarConnectionPool(1, echo.config_factory) as pool:

        async def cancelled(steps: int) -> None:
            async def request() -> None:
                async with pool.borrow() as conn:
                    await conn.session.send_audio(marked_audio(1, 40))
                    await conn.session.send_audio(marked_audio(1, 40), end=True)
                    await conn.collector.wait()

            task = asyncio.create_task(request())
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])

        for steps in range(0, 40, 3):
            await cancelled(steps)
            async with pool.borrow() as conn:
                await conn.session.send_audio(marked_audio(2, 4), end=True)
                assert marks(await conn.collector.wait()) == [2] * 4
        await until(lambda: echo.counters.requests_open == 0)


async def test_half_sent_audio_is_ended_and_never_joins_the_next_request(
    echo: LocalAvatarService,
):
    async with AvatarConnectionPool(1, echo.config_factory) as pool:
        with pytest.raises(RuntimeError, match="in between"):
            async with pool.borrow() as conn:
                await conn.session.send_audio(marked_audio(1, 5))
                raise RuntimeError("in between")
        async with pool.borrow() as conn:
            await conn.session.send_audio(marked_audio(2, 5), end=True)
            assert marks(await conn.collector.wait()) == [2] * 5
        assert pool.get_stats()["returns_unsettled"] == 1
        await until(lambda: echo.counters.requests_open == 0)


async def test_two_requests_at_once_on_one_session_are_refused(echo: LocalAvatarService):
    async with AvatarConnectionPool(1, echo.config_factory) as pool, pool.borrow() as conn:
        await conn.session.send_audio(marked_audio(1, 50), end=True)
        with pytest.raises(SessionStateError, match="still being answered"):
            await conn.session.send_audio(marked_audio(2, 5), end=True)
        assert marks(await conn.collector.wait()) == [1] * 50


async def test_an_interrupted_request_is_over_at_once(echo: LocalAvatarService):
    async with AvatarConnectionPool(1, echo.config_factory) as pool, pool.borrow() as conn:
        with pytest.raises(SessionStateError, match="no request to interrupt"):
            await conn.session.interrupt()
        sent = await conn.session.send_audio(marked_audio(1, 1000), end=True)
        await until(lambda: conn.collector.frames)
        waiting = asyncio.create_task(conn.collector.wait())
        await asyncio.sleep(0)
        assert await conn.session.interrupt() == sent
        assert len(await waiting) < 1000


async def test_a_returned_handle_says_where_it_went(echo: LocalAvatarService):
    async with AvatarConnectionPool(1, echo.config_factory, name="eu") as pool:
        async with pool.borrow() as conn:
            pass
        for call in (conn.session.send_audio(b"\0\0"), conn.session.interrupt()):
            with pytest.raises(SessionStateError, match="was returned to pool 'eu'"):
                await call


async def test_what_a_collector_gathered_stays_after_the_return(echo: LocalAvatarService):
    async with AvatarConnectionPool(1, echo.config_factory) as pool:
        async with pool.borrow() as first:
            await first.session.send_audio(marked_audio(1, 5), end=True)
            await first.collector.wait()
        async with pool.borrow() as second:
            await second.session.send_audio(marked_audio(2, 5), end=True)
            await second.collector.wait()
        assert marks(first.collector.frames) == [1] * 5
        assert marks(second.collector.frames) == [2] * 5


async def test_waiting_on_a_connection_that_is_returned_ends(echo: LocalAvatarService):
    async with AvatarConnectionPool(1, echo.config_factory) as pool:
        async with pool.borrow() as conn:
            await conn.session.send_audio(marked_audio(1, 1000), end=True)
            waiting = asyncio.create_task(conn.collector.wait())
            await asyncio.sleep(0)
        with pytest.raises(SessionStateError, match="returned before the last frame"):
            await waiting


async def test_wrong_audio_is_refused_before_it_is_sent(echo: LocalAvatarService, speech: bytes):
    async with AvatarConnectionPool(1, echo.config_factory) as pool, pool.borrow() as conn:
        for wrong in (b"", b"\0", b"RIFF\0\0\0\0WAVEfmt "):
            with pytest.raises(AudioError):
                await conn.session.send_audio(wrong, end=True)
        await conn.session.send_audio(marked_audio(1, 2), end=True)
        assert marks(await conn.collector.wait()) == [1, 1]


# --- the service's side -----------------------------------------------------------------------


def limited(**limits: Any) -> LocalAvatarService:
    return LocalAvatarService(driver=EchoDriver, limits=ServiceLimits(**limits))


async def test_a_session_that_dies_idle_is_replaced_and_never_lent():
    async with limited(max_session_duration=0.3) as service:
        async with AvatarConnectionPool(2, service.config_factory) as pool:
            before = {c["connection_id"] for c in pool.get_stats()["connections"]}
            await until(lambda: pool.get_stats()["connections_lost"] >= 2)
            await until(lambda: pool.total_count == 2)
            async with pool.borrow() as conn:
                assert conn.connection_id not in before


async def test_a_session_that_dies_before_its_first_byte_is_exchanged(echo: LocalAvatarService):
    async with AvatarConnectionPool(2, echo.config_factory) as pool, pool.borrow() as conn:
        dying = conn.connection_id
        await conn._connection.session.close()
        await conn.session.send_audio(marked_audio(3, 4), end=True)
        assert conn.connection_id != dying
        assert marks(await conn.collector.wait()) == [3] * 4


async def test_a_session_that_dies_in_a_request_fails_it_at_once_with_the_cause():
    async with limited(max_session_duration=0.2) as service:
        async with AvatarConnectionPool(1, service.config_factory) as pool:
            async with pool.borrow() as conn:
                await conn.session.send_audio(marked_audio(1, 1))
                with pytest.raises(AvatarSDKError) as caught:
                    await conn.collector.wait()
                assert caught.value.code is AvatarSDKErrorCode.sessionDurationExceeded
                assert caught.value is conn.collector.error
                with pytest.raises(AvatarSDKError, match="sessionDurationExceeded"):
                    await conn.session.send_audio(marked_audio(1, 1))
            await until(lambda: pool.available_count == 1)


async def test_the_rest_of_a_failed_request_does_not_become_a_request():
    async with limited(max_request_seconds=1.0) as service:
        async with AvatarConnectionPool(1, service.config_factory) as pool:
            async with pool.borrow() as conn:
                await conn.session.send_audio(marked_audio(1, 50))
                with pytest.raises(AvatarSDKError) as caught:
                    await conn.collector.wait()
                with pytest.raises(AvatarSDKError) as again:
                    await conn.session.send_audio(marked_audio(1, 5), end=True)
                assert again.value is caught.value
            async with pool.borrow() as conn:
                await conn.session.send_audio(marked_audio(2, 5), end=True)
                assert marks(await conn.collector.wait()) == [2] * 5


async def test_a_request_that_fails_while_its_audio_is_sent_stays_one_request():
    async with limited(max_request_bytes=100_000) as service:
        async with AvatarConnectionPool(1, service.config_factory) as pool:
            async with pool.borrow() as conn:
                await conn.session.send_audio(marked_audio(1, 30_000), end=True)
                with pytest.raises(AvatarSDKError):
                    await conn.collector.wait()
            assert pool.get_stats()["requests_num"] == 1


async def test_a_plan_that_allows_fewer_sessions_still_serves():
    async with limited(max_connections=2) as service:
        async with AvatarConnectionPool(3, service.config_factory) as pool:
            assert pool.total_count == 2
            assert isinstance(pool.last_open_error, AvatarSDKError)
            assert pool.last_open_error.code is AvatarSDKErrorCode.concurrencyLimit
            async with pool.borrow() as conn:
                await conn.session.send_audio(marked_audio(2, 5), end=True)
                assert len(await conn.collector.wait()) == 5


async def test_a_wrong_key_fails_initialize_at_once(echo: LocalAvatarService):
    pool = AvatarConnectionPool(3, lambda: echo.config_factory(api_key="wrong-key"))
    with pytest.raises(PoolError, match="HTTP 401") as caught:
        await pool.initialize()
    assert "wrong-key" not in str(caught.value)


async def test_missing_fields_are_named_all_at_once():
    pool = AvatarConnectionPool(3, lambda: {"api_key": "k", "app_id": "a"})
    with pytest.raises(ConfigurationError) as caught:
        await pool.initialize()
    assert caught.value.problems == (
        "avatar_id is missing",
        "console_endpoint_url is missing",
        "ingress_endpoint_url is missing",
    )


async def test_the_pool_heals_when_the_service_comes_back():
    async with limited() as service:
        pool = AvatarConnectionPool(2, service.config_factory, timeout=20)
        await pool.initialize()
    try:
        await until(lambda: pool.total_count == 0)
        host_port = service.console_url.split("/")[2]
        async with LocalAvatarService(
            driver=EchoDriver,
            port=int(host_port.rsplit(":", 1)[1]),
            api_key=service.environment["AVATAR_API_KEY"],
        ):
            async with pool.borrow() as conn:
                await conn.session.send_audio(marked_audio(5, 4), end=True)
                assert marks(await conn.collector.wait()) == [5] * 4
    finally:
        await pool.close()


def test_an_opening_that_is_due_within_a_millisecond_is_due_on_uvloop_too():
    async def main() -> None:
        async with LocalAvatarService() as service:
            async with AvatarConnectionPool(1, service.config_factory) as pool:
                keeper = pool._keeper
                assert keeper is not None
                for _ in range(2):
                    keeper._retry_at(asyncio.get_running_loop().time())

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def test_egress_is_told_that_no_frames_will_come(echo: LocalAvatarService):
    """The local service has no egress: a session that thinks it has shows the waiting."""
    async with AvatarConnectionPool(1, echo.config_factory) as pool, pool.borrow() as conn:
        conn._connection.session.requests.expects_frames = False
        await conn.session.send_audio(marked_audio(1, 4), end=True)
        assert await conn.collector.wait() == []
        assert pool.get_stats()["total_requests_served"] == 1


# --- config factories --------------------------------------------------------------------------


async def test_callbacks_wired_as_the_official_example_does(echo: LocalAvatarService):
    def factory(collector: AnimationCollector) -> dict[str, Any]:
        config = echo.config_factory()
        return {
            "avatar_id": config.avatar_id,
            "api_key": config.api_key,
            "app_id": config.app_id,
            "console_endpoint_url": config.console_endpoint_url,
            "ingress_endpoint_url": config.ingress_endpoint_url,
            "transport_frames": collector.transport_frame,
            "on_error": collector.on_error,
            "on_close": collector.on_close,
        }

    async with AvatarConnectionPool(1, factory) as pool, pool.borrow() as conn:
        await conn.session.send_audio(marked_audio(1, 4), end=True)
        assert marks(await conn.collector.wait()) == [1] * 4


async def test_the_users_own_callbacks_are_called_as_well(echo: LocalAvatarService):
    frames: list[bool] = []
    closed: list[str] = []

    def factory(collector: AnimationCollector) -> SessionConfig:
        def both(data: bytes, is_last: bool) -> None:
            collector.transport_frame(data, is_last)
            frames.append(is_last)

        return echo.config_factory(transport_frames=both, on_close=lambda: closed.append("yes"))

    async with AvatarConnectionPool(1, factory) as pool, pool.borrow() as conn:
        await conn.session.send_audio(marked_audio(1, 4), end=True)
        assert marks(await conn.collector.wait()) == [1] * 4
    assert frames == [False, False, False, True]
    assert closed == ["yes"]


async def test_a_factory_may_say_when_its_tokens_expire(echo: LocalAvatarService):
    soon = datetime.now(timezone.utc) + timedelta(minutes=1)
    factory = lambda: echo.config_factory(expire_at=soon)  # noqa: E731
    async with AvatarConnectionPool(1, factory) as pool, pool.borrow() as conn:
        assert conn._connection.session.config.expire_at == soon


async def test_a_token_lives_as_long_as_the_session(echo: LocalAvatarService):
    async with AvatarConnectionPool(1, echo.config_factory, session_ttl_minutes=24 * 60) as pool:
        assert pool.total_count == 1


@pytest.mark.parametrize(
    ("returned", "problem"),
    [(3, "it returned int"), ({"avatar": "x"}, "SessionConfig has no field avatar")],
)
async def test_a_factory_that_returns_something_else_is_told(returned: Any, problem: str):
    pool = AvatarConnectionPool(1, lambda: returned)
    with pytest.raises(ConfigurationError, match=problem):
        await pool.initialize()


async def test_one_client_fetches_all_tokens_and_each_connection_has_its_own(
    echo: LocalAvatarService,
):
    async with AvatarConnectionPool(5, echo.config_factory) as pool:
        clients = dict(pool._sessions.console._clients)
        pool.drain()
        await until(lambda: pool.get_stats()["connections_num"] >= 10)
        await until(lambda: pool.available_count == 5)
        assert pool._sessions.console._clients == clients


@virtually
async def test_repr_shows_the_places():
    async with new_pool(Script(), 2, name="eu") as pool, pool.borrow() as conn:
        assert repr(pool) == "<AvatarConnectionPool 'eu' 1 idle, 1 lent, 0 waiting>"
        assert repr(conn) == "<PooledConnection scripted-0 lent>"
        assert repr(conn.session) == "<LentSession of <PooledConnection scripted-0 lent>>"
    assert repr(conn) == "<PooledConnection scripted-0 returned>"
