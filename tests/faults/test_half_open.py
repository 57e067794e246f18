"""Half-open connections: the sockets stand, and nothing arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from echo import marked_audio
from faults.laboratory import SOON, Laboratory, ids, laboratory, serve, until, whole

from avatarpool import AvatarSDKError, AvatarSDKErrorCode, RequestTimeout

PINGS = {"ping_interval": 0.2, "ping_timeout": 0.2}


@pytest.fixture
async def lab() -> AsyncIterator[Laboratory]:
    async with laboratory() as lab:
        yield lab


@pytest.fixture
def pinged(lab: Laboratory) -> Laboratory:
    """A laboratory whose pools find out within 0.4 s."""
    lab.overrides |= PINGS
    return lab


def swallow(pinged: Laboratory) -> None:
    """Make black holes of what is open.

    What is opened from now on is pinged at the usual times: a busy machine may
    answer later than `PINGS` allow.
    """
    pinged.ingress.swallow()
    for name in PINGS:
        del pinged.overrides[name]


async def test_unanswered_pings_replace_idle_connections(pinged: Laboratory):
    async with pinged.pool(3) as pool:
        before = ids(pool)
        swallow(pinged)
        await until(lambda: not before & ids(pool))
        await serve(pool, 1)
        await whole(pool, 3)
        assert not before & ids(pool)
        assert pool.get_stats()["requests_errors"] == 0


async def test_answered_pings_keep_connections_however_idle(lab: Laboratory):
    lab.overrides |= {"ping_interval": 1.0, "ping_timeout": 1.0}
    async with lab.pool(2) as pool:
        before = ids(pool)
        pings = [link.down.passed for link in lab.ingress.links]
        # Each pong is a few bytes: wait for two of them on each connection.
        await until(
            lambda: all(
                link.down.passed >= was + 4
                for link, was in zip(lab.ingress.links, pings, strict=True)
            )
        )
        assert ids(pool) == before


async def test_a_black_hole_in_a_request_fails_it_by_the_unanswered_ping(pinged: Laboratory):
    async with pinged.pool(1) as pool:
        async with pool.borrow() as conn:
            await conn.session.send_audio(marked_audio(1, 5))
            swallow(pinged)
            async with asyncio.timeout(SOON):
                with pytest.raises(AvatarSDKError) as caught:
                    await conn.collector.wait()
        assert caught.value.code is AvatarSDKErrorCode.connectionClosed
        await serve(pool, 2)
        await whole(pool, 1)


async def test_a_connection_that_dies_silently_while_it_is_lent_is_exchanged(pinged: Laboratory):
    async with pinged.pool(1) as pool:
        async with pool.borrow() as conn:
            dying = conn.connection_id
            swallow(pinged)
            await until(lambda: pool.get_stats()["connections_lost"] == 1)
            await conn.session.send_audio(marked_audio(1, 5), end=True)
            assert len(await conn.collector.wait(SOON)) == 5
            assert conn.connection_id != dying
        await whole(pool, 1)


async def test_without_pings_a_request_into_a_black_hole_costs_its_timeout_and_its_connection(
    lab: Laboratory,
):
    lab.overrides["ping_interval"] = None
    async with lab.pool(1, quarantine_timeout=0.2) as pool:
        lab.ingress.swallow()
        async with pool.borrow() as conn:
            dead = conn.connection_id
            await conn.session.send_audio(marked_audio(1, 5), end=True)
            with pytest.raises(RequestTimeout):
                await conn.collector.wait(0.1)
        assert await serve(pool, 2) != dead
        await whole(pool, 1)
        assert pool.get_stats()["connections_retired"] == 1


async def test_a_peer_that_takes_no_more_audio_holds_nobody_for_ever(lab: Laboratory):
    lab.overrides["send_timeout"] = 0.2
    lab.ingress.on_link = lambda link: setattr(link.up, "bytes_per_second", 100_000)
    async with lab.pool(1) as pool:
        async with pool.borrow() as conn:
            async with asyncio.timeout(SOON):
                with pytest.raises(AvatarSDKError) as caught:
                    # More than all the buffers between here and the proxy hold.
                    for _ in range(100):
                        await conn.session.send_audio(marked_audio(1, 1000))
        assert caught.value.code is AvatarSDKErrorCode.connectionFailed
        lab.ingress.on_link = lambda link: None
        await serve(pool, 2)
        await whole(pool, 1)


async def test_the_end_of_an_answer_that_vanishes_is_a_timeout_and_no_mixed_frame(
    lab: Laboratory,
):
    async with lab.pool(1, quarantine_timeout=0.2) as pool:
        for link in lab.ingress.links:
            link.down.swallow_at = link.down.passed + 500
        async with pool.borrow() as conn:
            await conn.session.send_audio(marked_audio(1, 50), end=True)
            await until(lambda: conn.collector.frames)
            with pytest.raises(RequestTimeout) as caught:
                await conn.collector.wait(0.2)
        assert 0 < caught.value.frames < 50
        await serve(pool, 2)
        await whole(pool, 1)
