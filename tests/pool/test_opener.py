"""How connections are opened, and how long they are used for."""

from __future__ import annotations

import asyncio

import pytest
from clock import now, virtually
from scripted import Script, ScriptedSession, hold, new_pool

from avatarpool import AvatarConnectionPool
from avatarpool.pool.options import SHORTEST_LIFE


def members(pool: AvatarConnectionPool) -> list[tuple[float, float]]:
    """Each connection's times: until its successor is opened, and until it is lent no more."""
    return [
        (member.renew_at - member.opened_at, member.retire_at - member.opened_at)
        for member in pool._state.members
    ]


@virtually
async def test_each_session_has_a_life_of_its_own_length_with_time_left_for_a_request():
    async with new_pool(Script(), 50, max_lifetime=1000.0, request_timeout=100.0) as pool:
        lives = members(pool)
    usable = [retire for _, retire in lives]
    assert len(set(usable)) == 50
    assert all(1000.0 * SHORTEST_LIFE - 100.0 <= each <= 900.0 for each in usable)
    assert all(retire - renew == pytest.approx(30.0) for renew, retire in lives)


@virtually
async def test_of_a_short_life_a_tenth_is_left_to_open_the_successor():
    async with new_pool(Script(), 5, max_lifetime=100.0, request_timeout=10.0) as pool:
        assert all(retire - renew == pytest.approx(retire / 10) for renew, retire in members(pool))


@virtually
async def test_what_is_being_opened_as_the_pool_is_drained_is_opened_again():
    async def slowly(session: ScriptedSession) -> None:
        await asyncio.sleep(2.0)

    script = Script(None, slowly, slowly, slowly)
    async with new_pool(script, 1, max_size=2) as pool:
        holding = asyncio.create_task(hold(pool, 10.0))
        waiting = asyncio.create_task(hold(pool, 0.0))
        await asyncio.sleep(1.0)
        pool.drain()  # the key may have been rolled
        assert await waiting == "scripted-2"
        assert script.sessions[1].is_closed
        assert now() == pytest.approx(4.0)
        await holding


@virtually
async def test_an_opening_tells_how_long_it_took():
    async def slowly(session: ScriptedSession) -> None:
        await asyncio.sleep(2.0)

    told: list[float] = []
    pool = new_pool(Script(slowly), 1, on_event=lambda event: told.append(event.seconds))
    async with pool:
        assert told == [pytest.approx(2.0)]
