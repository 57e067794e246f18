"""The service that can be broken in every way, and restarted."""

import asyncio
import random

import pytest

from avatarpool import AvatarConnectionPool
from avatarpool.service import Faults, ServiceLimits
from avatarpool.soak import troubles
from avatarpool.soak.plan import FaultMix
from avatarpool.soak.troubles import BreakableService


@pytest.fixture
async def breakable():
    async with BreakableService(random.Random(1)) as breakable:
        yield breakable


@pytest.mark.parametrize("mix", FaultMix)
async def test_every_fault_is_taken_back_when_its_time_is_over_and_when_it_is_cancelled(
    breakable, mix
):
    for name, trouble in breakable.troubles(mix).items():
        if name in ("restart", "strict limits"):
            continue
        making = asyncio.create_task(trouble(60.0))
        while breakable.faults == Faults():
            await asyncio.sleep(0)
        making.cancel()
        await asyncio.wait([making])
        assert breakable.faults == Faults(), name
        await trouble(0.0)
        assert breakable.faults == Faults(), name


async def test_a_restarted_service_is_another_one_on_the_same_port(breakable):
    restart = breakable.troubles(FaultMix.RESTARTS)["restart"]
    before = breakable.config_factory()
    async with AvatarConnectionPool(1, breakable.config_factory, request_timeout=1.0) as pool:
        (old,) = pool.get_stats()["connections"]
        await restart(0.0)
        while not pool.available_count:
            await asyncio.sleep(0.01)
        (new,) = pool.get_stats()["connections"]
    assert old["connection_id"] != new["connection_id"]
    assert breakable.config_factory() == before


async def test_a_restart_that_is_cancelled_leaves_a_running_service(breakable):
    restarting = asyncio.create_task(breakable.troubles(FaultMix.RESTARTS)["restart"](60.0))
    await asyncio.sleep(0)
    restarting.cancel()
    await asyncio.wait([restarting])
    async with AvatarConnectionPool(1, breakable.config_factory):
        pass


async def test_strict_limits_are_over_when_their_time_is(breakable, monkeypatch):
    monkeypatch.setattr(troubles, "_STRICT", [lambda rng: ServiceLimits(max_connections=1)])
    be_strict = breakable.troubles(FaultMix.RESTARTS)["strict limits"]
    async with AvatarConnectionPool(2, breakable.config_factory, request_timeout=1.0) as pool:
        being = asyncio.create_task(be_strict(60.0))
        while "concurrencyLimit" not in str(pool.last_open_error):
            await asyncio.sleep(0.01)
        being.cancel()
        while pool.available_count < 2:
            await asyncio.sleep(0.01)


async def test_it_tells_of_requests_that_nobody_has_ended(breakable):
    async with AvatarConnectionPool(1, breakable.config_factory) as pool:
        assert breakable.unfinished() is None
        async with pool.borrow() as conn:
            await conn.session.send_audio(bytes(1280))
            while breakable.unfinished() is None:
                await asyncio.sleep(0)
            assert breakable.unfinished() == "1 requests are open at the service"
        while breakable.unfinished() is not None:
            await asyncio.sleep(0)
