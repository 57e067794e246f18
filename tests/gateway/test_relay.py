"""One request through the gateway, where a client or the service stops in its middle."""

from __future__ import annotations

import asyncio

import pytest
from echo import EchoDriver
from gateway_service import GatewayService

from avatarpool import AvatarConnectionPool, AvatarSDKError, AvatarSDKErrorCode
from avatarpool.gateway.settings import Pools


async def test_a_client_that_stops_amid_its_audio_does_not_keep_a_session():
    pools = Pools(request_timeout=0.3)
    async with (
        GatewayService(driver=EchoDriver, sessions=1, pools=pools) as service,
        AvatarConnectionPool(2, service.config_factory) as pool,
        pool.borrow() as stopped,
    ):
        await stopped.session.send_audio(bytes(6400))
        async with pool.borrow() as other:
            await other.session.send_audio(bytes(640), end=True)
            assert await other.collector.wait(timeout=30)
        with pytest.raises(AvatarSDKError, match=r"no more audio within 0\.3 s") as caught:
            await stopped.collector.wait(timeout=30)
        assert caught.value.code is AvatarSDKErrorCode.invalidRequest


async def test_who_sends_a_piece_now_and_then_goes_on():
    pools = Pools(request_timeout=2.0)
    async with (
        GatewayService(driver=EchoDriver, pools=pools) as service,
        AvatarConnectionPool(1, service.config_factory) as pool,
        pool.borrow() as conn,
    ):
        for _ in range(10):
            await conn.session.send_audio(bytes(640))
            await asyncio.sleep(0.3)
        await conn.session.send_audio(bytes(640), end=True)
        frames = await conn.collector.wait(timeout=30)
        assert sum(len(frame.keyframes) for frame in frames) == 6
