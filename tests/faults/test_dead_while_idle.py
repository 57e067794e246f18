"""Connections that die while nobody has them, and in the instant after they were lent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from echo import EchoDriver, marked_audio
from faults.laboratory import (
    SOON,
    Laboratory,
    answered,
    ids,
    laboratory,
    port_of,
    serve,
    until,
    whole,
)

from avatarpool import AvatarSDKError, AvatarSDKErrorCode
from avatarpool.endpoint import refusals
from avatarpool.pool.opening import FIRST_DELAY
from avatarpool.service import LocalAvatarService, ServiceLimits

Death = Callable[[Laboratory], None]

DEATHS: dict[str, tuple[Death, AvatarSDKErrorCode]] = {
    "reset": (lambda lab: lab.ingress.cut(), AvatarSDKErrorCode.connectionClosed),
    "fin": (lambda lab: lab.ingress.cut(reset=False), AvatarSDKErrorCode.connectionClosed),
    "1001": (
        lambda lab: lab.end_sessions(refusals.SERVICE_CLOSED),
        AvatarSDKErrorCode.connectionClosed,
    ),
    "4002": (
        lambda lab: lab.end_sessions(refusals.session_expired(60)),
        AvatarSDKErrorCode.sessionDurationExceeded,
    ),
    "4503": (
        lambda lab: lab.end_sessions(refusals.Ending(4503, None, "upstream is away")),
        AvatarSDKErrorCode.upstreamError,
    ),
    "idle": (lambda lab: lab.end_sessions(refusals.idle(60)), AvatarSDKErrorCode.idleTimeout),
}
every_death = pytest.mark.parametrize("death", DEATHS)


@every_death
async def test_what_dies_idle_is_replaced_and_the_next_borrower_never_sees_it(death: str):
    async with laboratory() as lab, lab.pool(3) as pool:
        before = ids(pool)
        DEATHS[death][0](lab)
        await until(lambda: pool.get_stats()["connections_lost"] == 3)
        async with asyncio.TaskGroup() as group:
            for mark in range(1, 10):
                group.create_task(serve(pool, mark))
        await whole(pool, 3)
        assert not before & ids(pool)
        assert pool.get_stats()["requests_errors"] == 0


async def test_the_services_own_idle_timeout_costs_no_borrower_anything():
    async with laboratory(ServiceLimits(idle_timeout=1.5)) as lab, lab.pool(2) as pool:
        for mark in range(1, 3):
            before = ids(pool)
            await until(lambda: len(ids(pool) - before) == 2)  # noqa: B023  # awaited at once
            await serve(pool, mark)
        assert pool.get_stats()["requests_errors"] == 0


async def test_a_service_that_restarts_finds_its_pool_again():
    async with laboratory() as lab, lab.pool(3) as pool:
        environment = lab.service.environment  # its successor has the same key and port
        await lab.service.close()
        await until(lambda: pool.get_stats()["connections_lost"] == 3)
        await until(lambda: not pool.get_stats()["connections_opening"])
        successor = LocalAvatarService(
            driver=EchoDriver,
            port=port_of(lab.service.console_url),
            api_key=environment["AVATAR_API_KEY"],
        )
        async with successor:
            await serve(pool, 1)
            await whole(pool, 3)
            assert pool.get_stats()["requests_errors"] == 0
            await pool.close()


@every_death
async def test_what_dies_after_it_was_lent_and_before_the_first_byte_is_exchanged(death: str):
    async with laboratory() as lab, lab.pool(2) as pool:
        async with pool.borrow() as conn, pool.borrow() as other:
            dying = {conn.connection_id, other.connection_id}
            DEATHS[death][0](lab)
            await until(lambda: pool.get_stats()["connections_lost"] == 2)
            await answered(conn, 1)
            await answered(other, 2)
            assert not dying & {conn.connection_id, other.connection_id}
        await whole(pool, 2)
        assert pool.get_stats()["requests_errors"] == 0


@every_death
async def test_what_dies_between_two_requests_of_a_borrow_is_exchanged(death: str):
    async with laboratory() as lab, lab.pool(2) as pool:
        async with pool.borrow() as conn:
            await answered(conn, 1)
            first = conn.connection_id
            DEATHS[death][0](lab)
            await until(lambda: pool.get_stats()["connections_lost"] == 2)
            await answered(conn, 2)
            assert conn.connection_id != first
        await whole(pool, 2)
        assert pool.get_stats()["requests_errors"] == 0


@every_death
async def test_what_dies_after_audio_was_sent_fails_at_once_with_the_cause(death: str):
    kill, code = DEATHS[death]
    async with laboratory() as lab, lab.pool(2) as pool:
        async with pool.borrow() as conn:
            await conn.session.send_audio(marked_audio(1, 5))
            await until(lambda: lab.service.counters.requests_open)
            async with asyncio.timeout(SOON):  # and not request_timeout's 45 s
                kill(lab)
                with pytest.raises(AvatarSDKError) as caught:
                    await conn.collector.wait()
                with pytest.raises(AvatarSDKError) as again:
                    await conn.session.send_audio(marked_audio(1, 5), end=True)
            assert caught.value.code is again.value.code is code
        await serve(pool, 2)
        await whole(pool, 2)
        stats = pool.get_stats()
        assert stats["requests_num"] == 2  # nothing was sent twice
        assert stats["requests_errors"] == 1


async def test_a_connection_cut_at_any_byte_of_the_answer_mixes_and_loses_nothing():
    size = 12
    async with laboratory() as lab:
        lab.ingress.on_link = lambda link: setattr(
            link.down, "cut_at", 700 + 41 * link.number if link.number < size else None
        )
        async with lab.pool(size) as pool:
            assert pool.total_count == size

            async def request(mark: int) -> AvatarSDKErrorCode | None:
                try:
                    await serve(pool, mark, frames=20)
                except AvatarSDKError as error:
                    return error.code
                return None

            codes = await asyncio.gather(*(request(mark) for mark in range(1, 61)))
            assert set(codes) == {None, AvatarSDKErrorCode.connectionClosed}
            assert len(codes) - codes.count(None) == pool.get_stats()["requests_errors"]
            await whole(pool, size)


async def test_a_connection_cut_at_any_byte_of_its_opening_is_tried_again():
    positions = [0, 1, 100, 300, 400, 450]
    async with laboratory() as lab:

        def plan(number: int) -> int | None:
            return positions[number] if number < len(positions) else None

        lab.ingress.on_link = lambda link: setattr(link.up, "cut_at", plan(link.number))
        async with lab.pool(len(positions)) as pool:
            await whole(pool, len(positions))
            assert pool.get_stats()["connections_errors"] >= 3


async def test_connections_that_die_young_between_served_requests_are_replaced_soon():
    async with laboratory() as lab, lab.pool(1) as pool:
        assert pool._keeper is not None
        for mark in range(1, 5):
            await serve(pool, mark)
            pool.drain()  # so that the one that dies is young and unused
            before = ids(pool)
            await until(lambda: pool.available_count == 1 and not before & ids(pool))  # noqa: B023
            lab.ingress.cut()
            await until(lambda: pool.get_stats()["connections_lost"] == mark)  # noqa: B023
            policy = pool._keeper.policy
            assert 0.0 < policy.next_at - policy._failed_at <= FIRST_DELAY
            await whole(pool, 1)
