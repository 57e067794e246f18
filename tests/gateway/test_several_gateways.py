"""Gateways that share one account: its sessions through Redis, their tokens by a secret."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import aiohttp
import pytest
from echo import EchoDriver
from gateway_service import GatewayService
from redis_server import redis_server

from avatarpool import AvatarConnectionPool, AvatarSDKError, AvatarSession
from avatarpool.gateway.gateway import Gateway
from avatarpool.gateway.keys import key_hash
from avatarpool.gateway.settings import Budget, Listen, Tokens

SESSIONS = 3


async def test_two_gateways_never_have_more_sessions_than_the_account_in_all():
    with redis_server() as redis:
        async with AsyncExitStack() as stack:
            budget = Budget(sessions=SESSIONS, redis=redis.url, name="account", lease_ttl=5.0)
            first = await stack.enter_async_context(
                GatewayService(driver=EchoDriver, budget=budget)
            )
            second = await stack.enter_async_context(Gateway(first.settings()))
            most = 0

            def config_for(gateway):
                return lambda: first.config_factory(
                    console_endpoint_url=gateway.console_url,
                    ingress_endpoint_url=gateway.ingress_url,
                )

            async def speak(pool):
                nonlocal most
                async with pool.borrow() as conn:
                    await conn.session.send_audio(bytes(6400), end=True)
                    assert len(await conn.collector.wait()) > 0
                most = max(most, first.upstream.counters.connections_open)

            pools = [
                await stack.enter_async_context(
                    AvatarConnectionPool(4, config_for(gateway), name=name, timeout=60.0)
                )
                for name, gateway in (("a", first.gateway), ("b", second))
            ]
            async with asyncio.timeout(120):
                for _ in range(5):
                    await asyncio.gather(*(speak(pool) for pool in pools for _ in range(8)))
            assert 0 < most <= SESSIONS
            for gateway in (first.gateway, second):
                total = gateway.group.get_stats()["total"]
                assert total["requests_num"] == 40
                assert total["requests_errors"] == 0


async def opens(config, token):
    session = AvatarSession(config)
    session._token = token
    try:
        await session.start()
    except AvatarSDKError as error:
        return error.http_status
    finally:
        await session.close()
    return 101


async def token_from(config):
    session = AvatarSession(config)
    await session.init()
    return session._token


async def test_a_token_of_one_gateway_opens_a_session_at_another_that_knows_its_secret():
    old, new = "an old secret of at least 32 bytes", "a new secret of at least 32 bytes!"
    listen = Listen(port=0, ingress_port=0, shutdown_timeout=0.0)
    async with GatewayService(driver=EchoDriver, tokens=Tokens(secrets=(old,))) as first:
        token = await token_from(first.config_factory())
        for secrets, status in (((new, old), 101), ((new,), 400), ((), 400)):
            settings = first.settings(tokens=Tokens(secrets=secrets), listen=listen)
            async with Gateway(settings) as second:
                config = first.config_factory(ingress_endpoint_url=second.ingress_url)
                assert await opens(config, token) == status


async def test_a_secret_can_be_exchanged_while_it_runs():
    old, new = "an old secret of at least 32 bytes", "a new secret of at least 32 bytes!"
    async with GatewayService(driver=EchoDriver, tokens=Tokens(secrets=(old,))) as service:
        config, gateway = service.config_factory(), service.gateway
        token = await token_from(config)
        gateway.reload(service.settings(tokens=Tokens(secrets=(new, old))))
        assert await opens(config, token) == 101
        gateway.reload(service.settings(tokens=Tokens(secrets=(new,))))
        assert await opens(config, token) == 400
        assert await opens(config, await token_from(config)) == 101


async def test_secrets_that_are_taken_out_are_followed_by_a_random_one_that_stays():
    given = "a secret in the settings, of 32 bytes"
    async with GatewayService(driver=EchoDriver, tokens=Tokens(secrets=(given,))) as service:
        config, gateway = service.config_factory(), service.gateway
        token = await token_from(config)
        gateway.reload(service.settings(tokens=Tokens()))
        assert await opens(config, token) == 400
        token = await token_from(config)
        gateway.reload(service.settings(tokens=Tokens(lifetime=60)))
        assert await opens(config, token) == 101


@pytest.mark.parametrize(
    "client",
    [
        {"key_hash": key_hash("another key")},
        {"name": "another", "key_hash": key_hash("another key")},  # who gets the application
    ],
)
async def test_a_token_ends_with_the_key_that_it_was_got_with(client):
    async with GatewayService(driver=EchoDriver) as service, aiohttp.ClientSession() as http:
        config, gateway = service.config_factory(), service.gateway
        token = await token_from(config)
        url = gateway.console_url.replace("/console", "/animations")

        async def statuses():
            async with http.post(url, headers={"X-Api-Key": token}) as answer:
                return await opens(config, token), answer.status

        (usual,) = service.settings().clients
        gateway.reload(service.settings())
        assert await statuses() == (101, 400)  # it is let in, with no audio
        gateway.reload(service.settings(clients=(usual.model_copy(update=client),)))
        assert await statuses() == (400, 401)
