"""The local service does wrong what it is told to, and the pool lives with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from echo import marked_audio
from faults.laboratory import Laboratory, ids, laboratory, serve, until, whole

from avatarpool import AvatarSDKError, AvatarSDKErrorCode, PoolError, RequestTimeout
from avatarpool.service import Faults, LocalAvatarService, SessionFault, Step, TokenFault


@pytest.fixture
async def lab() -> AsyncIterator[Laboratory]:
    async with laboratory() as lab:
        yield lab


async def test_faults_are_given_at_the_start_or_set_later():
    faults = Faults(tokens=TokenFault(status=500))
    assert LocalAvatarService(faults=faults).faults is faults
    assert LocalAvatarService().faults == Faults()


@pytest.mark.parametrize("fault", [TokenFault(status=503), TokenFault(delay=60.0)])
async def test_token_requests_fail_or_take_long(lab: Laboratory, fault: TokenFault):
    lab.overrides["token_request_timeout"] = 1.0
    lab.service.faults.next_tokens.append(fault)
    async with lab.pool(2) as pool:
        await whole(pool, 2)
        assert pool.get_stats()["connections_errors"] == 1


async def test_a_global_token_fault_lasts_until_it_is_taken_back(lab: Laboratory):
    async with lab.pool(2) as pool:
        lab.service.faults.tokens = TokenFault(status=502)
        lab.ingress.cut()
        await until(lambda: pool.get_stats()["connections_errors"] >= 2)
        lab.service.faults.tokens = None
        await whole(pool, 2)


async def test_a_handshake_stalls(lab: Laboratory):
    lab.overrides["handshake_timeout"] = 1.0
    lab.service.faults.next_sessions.append(SessionFault(stalls_at=Step.HANDSHAKE))
    async with lab.pool(2) as pool:
        await whole(pool, 2)
        assert pool.get_stats()["connections_errors"] == 1


async def test_a_stalled_handshake_is_over_once_the_client_has_gone(lab: Laboratory):
    lab.overrides["handshake_timeout"] = 0.15
    lab.service.faults.sessions = SessionFault(stalls_at=Step.HANDSHAKE)
    with pytest.raises(PoolError):
        await lab.pool(1).initialize(0.3)
    await until(lambda: lab.service.counters.connections_open == 0)


async def test_an_upgrade_stalls(lab: Laboratory):
    lab.overrides["connect_timeout"] = 1.0
    lab.service.faults.next_sessions.append(SessionFault(stalls_at=Step.UPGRADE))
    async with lab.pool(2) as pool:
        await whole(pool, 2)
        assert pool.get_stats()["connections_errors"] == 1


@pytest.mark.parametrize("status", [402, 404, 503])
async def test_an_upgrade_is_refused(lab: Laboratory, status: int):
    lab.service.faults.next_sessions.append(SessionFault(upgrade_status=status))
    async with lab.pool(2) as pool:
        await whole(pool, 2)
        assert pool.get_stats()["connections_errors"] == 1


async def test_everything_is_slow_and_nothing_fails(lab: Laboratory):
    lab.service.faults.sessions = SessionFault(delay=0.02)
    async with lab.pool(2) as pool:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await serve(pool, 1, frames=5)
        assert loop.time() - began >= 5 * 0.02
        assert pool.get_stats()["requests_errors"] == 0


@pytest.mark.parametrize(
    ("fault", "frames"),
    [
        (SessionFault(stalls_at=Step.FRAMES), 0),
        (SessionFault(stalls_at=Step.FRAMES, after_frames=3), 3),
        (SessionFault(stalls_at=Step.LAST_FRAME), 9),
    ],
)
async def test_a_request_that_stalls_is_interrupted_and_its_connection_serves_on(
    lab: Laboratory, fault: SessionFault, frames: int
):
    lab.service.faults.sessions = fault
    async with lab.pool(1) as pool:
        before = ids(pool)
        async with pool.borrow() as conn:
            await conn.session.send_audio(marked_audio(1, 10), end=True)
            await until(lambda: len(conn.collector.frames) == frames)
            with pytest.raises(RequestTimeout) as caught:
                await conn.collector.wait(0.1)
            assert caught.value.frames == frames
        lab.service.faults.sessions = None
        await serve(pool, 2)
        assert ids(pool) == before


@pytest.mark.parametrize("after_frames", [0, 3])
async def test_a_half_open_connection_is_found_by_its_pings(lab: Laboratory, after_frames: int):
    usual, lab.overrides = lab.overrides, {"ping_interval": 0.5, "ping_timeout": 0.5}
    lab.service.faults.next_sessions.append(
        SessionFault(is_half_open=True, after_frames=after_frames)
    )
    async with lab.pool(1) as pool:
        lab.overrides = usual  # its successor's pongs may be late
        before = ids(pool)
        if after_frames:
            async with pool.borrow() as conn:
                await conn.session.send_audio(marked_audio(1, 10), end=True)
                with pytest.raises(AvatarSDKError):
                    await conn.collector.wait()
                assert len(conn.collector.frames) == after_frames
        await until(lambda: pool.available_count == 1 and not before & ids(pool))
        await serve(pool, 2)
        assert pool.get_stats()["connections_lost"] == 1


async def test_a_half_open_connection_does_not_come_back(lab: Laboratory):
    async with lab.pool(1, quarantine_timeout=0.1) as pool:
        async with pool.borrow() as conn:
            lab.service.faults.sessions = SessionFault(is_half_open=True)
            await conn.session.send_audio(marked_audio(1, 5))
            with pytest.raises(RequestTimeout):
                await conn.collector.wait(0.1)
            lab.service.faults.sessions = None
            # Or these would be the only samples that the service has heard of.
            await conn.session.send_audio(marked_audio(1, 5), end=True)
            with pytest.raises(RequestTimeout):
                await conn.collector.wait(0.2)
            assert conn.collector.frames == []
        await serve(pool, 2)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (SessionFault(resets=True, after_frames=2), AvatarSDKErrorCode.connectionClosed),
        (SessionFault(close_code=4503, after_frames=2), AvatarSDKErrorCode.upstreamError),
        (SessionFault(close_code=4002), AvatarSDKErrorCode.sessionDurationExceeded),
        (SessionFault(garbage=b"\xff\xff", after_frames=1), AvatarSDKErrorCode.protocolError),
    ],
)
async def test_a_session_ends_in_the_middle_of_its_frames(
    lab: Laboratory, fault: SessionFault, code: AvatarSDKErrorCode
):
    lab.service.faults.next_sessions.append(fault)
    async with lab.pool(1) as pool:
        before = ids(pool)
        async with pool.borrow() as conn:
            await conn.session.send_audio(bytes(1280 * 10), end=True)
            with pytest.raises(AvatarSDKError) as caught:
                await conn.collector.wait()
            assert caught.value.code is code
            assert len(conn.collector.frames) == fault.after_frames
        await serve(pool, 2)
        await whole(pool, 1)
        assert not before & ids(pool)


async def test_an_end_comes_twice(lab: Laboratory):
    async with lab.pool(1) as pool:
        before = ids(pool)
        lab.service.faults.sessions = SessionFault(doubles_end=True)
        await serve(pool, 1)
        await until(lambda: pool.get_stats()["protocol_errors"] == 1)
        lab.service.faults.sessions = None
        await whole(pool, 1)
        assert not before & ids(pool)
        assert pool.get_stats()["requests_errors"] == 0


async def test_wrong_request_ids_reach_nobody(lab: Laboratory):
    async with lab.pool(1) as pool:
        lab.service.faults.sessions = SessionFault(has_wrong_request_ids=True)
        async with pool.borrow() as conn:
            await conn.session.send_audio(bytes(1280 * 5), end=True)
            with pytest.raises(AvatarSDKError) as caught:
                await conn.collector.wait()
            assert caught.value.code is AvatarSDKErrorCode.protocolError
            assert conn.collector.frames == []
        lab.service.faults.sessions = None
        await serve(pool, 1)
