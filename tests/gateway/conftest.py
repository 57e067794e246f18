"""A gateway over the local service, with its clients' keys at hand."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from serving import Served, served

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
