"""Turns between clients, as they come to them over the wire."""

from __future__ import annotations

import asyncio

from echo import EchoDriver
from gateway_service import GatewayService

from avatarpool import AvatarConnectionPool

PIECE = bytes(32_000)  # a second


async def ask(pool, done, name):
    async with pool.borrow(timeout=60.0) as conn:
        await conn.session.send_audio(PIECE, end=True)
        await conn.collector.wait(timeout=60.0)
    done.append(name)


async def test_a_storm_delays_another_clients_request_by_no_more_than_one():
    done = []
    async with GatewayService(
        driver=EchoDriver, sessions=1, api_key="one", other_apps={"quiet": "two"}
    ) as service:
        quiet = service.config_factory(app_id="quiet", api_key="two")
        async with (
            AvatarConnectionPool(30, service.config_factory, timeout=60.0) as storm,
            AvatarConnectionPool(1, lambda: quiet) as calm,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(30):
                group.create_task(ask(storm, done, "storm"))
            for _ in range(5):
                async with asyncio.timeout(60):
                    while len(service.gateway.exchange.queue) < 2:  # it storms
                        await asyncio.sleep(0.001)
                before = done.count("storm")
                await ask(calm, done, "calm")
                # The one that runs when it asks, and one more that a busy machine lets end
                # while the quiet client's audio, or its last frame, is on its way.
                assert done.count("storm") - before <= 2
    assert done.count("storm") == 30
