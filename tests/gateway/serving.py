"""Starts gateways, and asks them as a client without an SDK does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp

from avatarpool.gateway import keys
from avatarpool.gateway.gateway import Gateway
from avatarpool.gateway.settings import (
    Admin,
    Budget,
    ClientLimits,
    ClientSettings,
    GatewaySettings,
    Listen,
    Pools,
    Upstream,
)
from avatarpool.service import LocalAvatarService

ONE, TWO, ADMIN = (f"key-of-{name}-{'0123456789' * 4}" for name in ("one", "two", "admin"))
PATIENCE = 60.0


@dataclass
class Served:
    """A gateway that is up."""

    gateway: Gateway
    url: str  # without a path

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return str(parts.hostname), int(parts.port or 0)


def settings_of(service: LocalAvatarService, **sections: object) -> GatewaySettings:
    upstream = Upstream(
        api_key=service.environment["AVATAR_API_KEY"],
        app_id=service.app_id,
        console_endpoint=service.console_url,
        ingress_endpoint=service.ingress_url,
    )
    given = {
        "listen": Listen(port=0, ingress_port=0, shutdown_timeout=5.0),
        "upstream": upstream,
        "budget": Budget(sessions=3),
        "pools": Pools(),
        "clients": (client("one", ONE), client("two", TWO, avatars=("b",))),
        "admin": Admin(key_hash=keys.key_hash(ADMIN)),
    }
    return GatewaySettings(**(given | sections))


def client(name: str, key: str, **limits: object) -> ClientSettings:
    return ClientSettings(
        name=name, app_id=name, key_hash=keys.key_hash(key), limits=ClientLimits(**limits)
    )


@asynccontextmanager
async def served(service: LocalAvatarService, **sections: object) -> AsyncIterator[Served]:
    async with Gateway(settings_of(service, **sections)) as gateway:
        yield Served(gateway, gateway.page_url.rstrip("/"))


def has(key: str) -> dict[str, str]:
    return {"X-Api-Key": key}


async def problem(response: aiohttp.ClientResponse) -> dict[str, object]:
    """What a problem says; that it is one is checked."""
    assert response.content_type == "application/problem+json", await response.text()
    told = json.loads(await response.read())
    assert told["status"] == response.status
    assert told["type"] == f"/openapi.json#/x-problems/{told['code']}"
    return told


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


def is_idle(gateway: Gateway) -> bool:
    """Whether nothing is under way, and every session is back."""
    return not gateway.exchange._relays and all(
        not pool.get_stats()["connections_lent"] for pool in gateway.group.pools.values()
    )
