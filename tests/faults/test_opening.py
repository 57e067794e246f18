"""Opening against consoles and ingresses that stall, refuse or fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from echo import marked_audio
from faults.laboratory import SOON, Laboratory, laboratory, serve, until, whole
from faults.peers import scripted

from avatarpool import (
    AvatarConnectionPool,
    AvatarSDKError,
    AvatarSDKErrorCode,
    AvatarSession,
    PoolError,
    SessionConfig,
)
from avatarpool.service import ServiceLimits


@pytest.fixture
async def lab() -> AsyncIterator[Laboratory]:
    async with laboratory() as lab:
        yield lab


# Deadlines that are met by nothing but luck on a busy machine.
HASTE = {"token_request_timeout": 0.15, "connect_timeout": 0.15, "handshake_timeout": 0.15}

STALLS: dict[str, Callable[[Laboratory], object]] = {
    "token request": lambda lab: lab.console.gate.clear(),
    "token answer": lambda lab: setattr(
        lab.console, "on_link", lambda link: setattr(link.down, "swallow_at", 0)
    ),
    "upgrade": lambda lab: lab.ingress.gate.clear(),
    "upgrade's answer": lambda lab: setattr(
        lab.ingress, "on_link", lambda link: setattr(link.down, "swallow_at", 20)
    ),
}


@pytest.mark.parametrize("stall", STALLS)
async def test_what_stalls_is_given_up_with_the_reason(lab: Laboratory, stall: str):
    STALLS[stall](lab)
    lab.overrides |= HASTE
    pool = lab.pool(2)
    async with asyncio.timeout(SOON):
        with pytest.raises(PoolError, match=r"within 0\.15 s"):
            await pool.initialize(timeout=1.0)
    assert pool.get_stats()["connections_opening"] == 0


@pytest.mark.parametrize("stall", STALLS)
async def test_what_stalls_for_some_costs_only_those_and_heals(lab: Laboratory, stall: str):
    async with lab.pool(1, min_size=1, max_size=3) as pool:
        STALLS[stall](lab)
        usual, lab.overrides = lab.overrides, lab.overrides | HASTE
        pool.resize(3)
        await until(lambda: pool.get_stats()["connections_errors"] >= 1)
        await serve(pool, 1)
        lab.overrides = usual
        for proxy in (lab.console, lab.ingress):
            proxy.gate.set()
            proxy.on_link = lambda link: None
        await whole(pool, 3)


async def test_a_handshake_that_stalls_for_one_leaves_the_others():
    async with scripted() as peer:
        peer.silent = 1
        peer.overrides["handshake_timeout"] = 2.0
        pool = AvatarConnectionPool(3, peer.config_factory)
        async with asyncio.timeout(SOON):
            await pool.initialize(timeout=1.0)
        try:
            await until(lambda: pool.total_count == 2)
            await serve(pool, 1)
            await whole(pool, 3)
            assert pool.get_stats()["connections_errors"] == 1
        finally:
            await pool.close()


async def test_handshakes_that_all_stall_fail_initialize_with_the_reason():
    async with scripted() as peer:
        peer.silent = 100
        peer.overrides["handshake_timeout"] = 0.3
        with pytest.raises(PoolError, match=r"did not confirm the session within 0\.30 s"):
            await AvatarConnectionPool(3, peer.config_factory).initialize(timeout=1.5)


@pytest.mark.parametrize("status", [503, 429])
async def test_a_console_that_fails_for_a_while_is_asked_again(status: int):
    async with scripted() as peer, AvatarConnectionPool(3, peer.config_factory) as pool:
        peer.token_status = status
        pool.drain()
        await until(lambda: pool.get_stats()["connections_errors"] >= 3)
        error = pool.last_open_error
        assert isinstance(error, AvatarSDKError)
        assert error.http_status == status
        peer.token_status = 200
        await serve(pool, 1)  # waits, and is not sent away
        await whole(pool, 3)


async def test_an_outage_is_asked_about_once_per_missing_connection_and_step():
    async with scripted() as peer, AvatarConnectionPool(5, peer.config_factory) as pool:
        peer.token_status = 503
        asked = peer.tokens
        async with asyncio.TaskGroup() as group:
            pool.drain()
            for mark in range(1, 31):  # many borrowers do not make more attempts
                group.create_task(serve(pool, mark))
            await until(lambda: peer.tokens >= asked + 5)
            await until(lambda: not pool.get_stats()["connections_opening"])
            assert peer.tokens == asked + 5
            peer.token_status = 200
        await whole(pool, 5)
        assert peer.tokens == asked + 10


async def test_a_service_that_is_down_at_first_is_taken_in_later(lab: Laboratory):
    lab.ingress.refuse()
    pool = lab.pool(2, min_size=1)
    with pytest.raises(PoolError, match="could not be reached"):
        await pool.initialize(timeout=1.0)
    await lab.ingress.listen()
    async with lab.pool(2) as pool:
        lab.ingress.refuse()
        lab.ingress.cut()
        await until(lambda: pool.get_stats()["connections_errors"] >= 2)
        await lab.ingress.listen()
        await serve(pool, 1)
        await whole(pool, 2)


async def test_a_token_that_a_restart_made_stale_is_no_refusal():
    async with scripted() as peer, AvatarConnectionPool(1, peer.config_factory) as pool:
        peer.stale_tokens = 1
        pool.drain()
        await serve(pool, 1)
        await whole(pool, 1)


async def test_tokens_that_a_restart_made_stale_all_at_once_are_no_refusal():
    async with scripted() as peer, AvatarConnectionPool(3, peer.config_factory) as pool:
        peer.stale_tokens = 3
        pool.drain()
        await serve(pool, 1)
        await whole(pool, 3)


# --- refusals -----------------------------------------------------------------------------


async def test_a_plan_that_is_full_shrinks_the_pool_and_a_free_slot_regrows_it():
    async with laboratory(ServiceLimits(max_connections=3)) as lab:
        async with AvatarSession(lab.config_factory()) as other:
            async with lab.pool(3) as pool:
                assert pool.total_count == 2
                error = pool.last_open_error
                assert isinstance(error, AvatarSDKError)
                assert error.code is AvatarSDKErrorCode.concurrencyLimit
                await asyncio.gather(*(serve(pool, mark) for mark in range(1, 9)))
                await other.close()
                await whole(pool, 3)
                assert pool.last_open_error is None
                await serve(pool, 9)


async def test_exhausted_credits_send_borrowers_away_until_topped_up():
    async with laboratory(ServiceLimits(credits=1.0)) as lab, lab.pool(1) as pool:
        async with pool.borrow() as conn:
            await conn.session.send_audio(marked_audio(1, 50), end=True)
            with pytest.raises(AvatarSDKError) as caught:
                await conn.collector.wait(SOON)
            assert caught.value.code is AvatarSDKErrorCode.creditsExhausted
        await until(lambda: pool.last_open_error is not None)
        async with asyncio.timeout(SOON):  # and not the pool's 30 s
            with pytest.raises(AvatarSDKError) as refused:
                async with pool.borrow():
                    pass
        assert refused.value.code is AvatarSDKErrorCode.billingRequired
        lab.service.top_up(60)
        await whole(pool, 1)
        await serve(pool, 2)


async def test_a_key_that_was_revoked_sends_borrowers_away_until_it_is_good_again():
    async with laboratory() as lab:
        key: dict[str, object] = {}

        def factory() -> SessionConfig:
            lab.overrides |= key
            return lab.config_factory()

        good = factory().api_key
        async with AvatarConnectionPool(2, factory) as pool:
            key["api_key"] = "revoked"
            lab.ingress.cut()
            waiting = await asyncio.gather(
                *(serve(pool, mark) for mark in range(1, 4)), return_exceptions=True
            )
            await until(lambda: pool.last_open_error is not None)
            assert all(isinstance(each, AvatarSDKError) for each in waiting)
            attempts = pool.get_stats()["connections_num"]
            refused = await asyncio.gather(
                *(serve(pool, mark) for mark in range(1, 20)), return_exceptions=True
            )
            assert all(isinstance(each, AvatarSDKError) for each in refused)
            assert all("401" in str(each) for each in refused)
            assert pool.get_stats()["connections_num"] <= attempts + 1  # probes, one at a time
            key["api_key"] = good
            await whole(pool, 2)
            await serve(pool, 1)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"api_key": "wrong"}, "HTTP 401"),
        ({"app_id": "wrong"}, "appIDUnrecognized"),
        ({"avatar_id": "wrong"}, "avatarNotFound"),
    ],
)
async def test_what_will_never_open_fails_initialize_at_once(
    lab: Laboratory, wrong: dict[str, object], reason: str
):
    lab.overrides |= wrong
    pool = lab.pool(3)
    async with asyncio.timeout(SOON):
        with pytest.raises(PoolError, match=reason):
            await pool.initialize()
