"""A gateway over the local service, with its clients' keys at hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import aiohttp
import pytest
from gateway_service import GatewayService
from served_gateway import Served, served

from avatarpool.lipsync import EchoDriver
from avatarpool.service import LocalAvatarService


@pytest.fixture
async def upstream() -> AsyncIterator[LocalAvatarService]:
    async with LocalAvatarService(driver=EchoDriver, avatar_ids=("a", "b", "c")) as service:
        yield service


@pytest.fixture
async def gateway(upstream: LocalAvatarService) -> AsyncIterator[Served]:
    """One with three sessions, an admin key, and the clients ``one`` and ``two``."""
    async with served(upstream) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


@pytest.fixture
async def shell_of() -> AsyncIterator[Callable[..., Awaitable[GatewayService]]]:
    """Starts one as official clients know it, over a service that echoes; with its options."""
    async with AsyncExitStack() as stack:

        async def start(**options: object) -> GatewayService:
            return await stack.enter_async_context(GatewayService(driver=EchoDriver, **options))

        yield start


@pytest.fixture
async def shell(shell_of: Callable[..., Awaitable[GatewayService]]) -> GatewayService:
    """One of these."""
    return await shell_of()
