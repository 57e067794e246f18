"""The gateway as one more shell of the service: a real one in front of a real local service."""

from __future__ import annotations

import contextlib
import secrets
import time
from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import urlsplit

from avatarpool import AvatarConnectionPool
from avatarpool.config import SessionConfig
from avatarpool.endpoint.counters import ServiceCounters
from avatarpool.exceptions import AvatarPoolError
from avatarpool.gateway.gateway import Gateway
from avatarpool.gateway.keys import key_hash
from avatarpool.gateway.settings import (
    Budget,
    ClientLimits,
    ClientSettings,
    GatewaySettings,
    Listen,
    Tokens,
    Upstream,
)
from avatarpool.service import LocalAvatarService, ServiceLimits


class GatewayService:
    """What the judges use of `LocalAvatarService`, and what stands behind it.

    Sizes, times and single use are the gateway's; credits and what is wrong with audio are
    the service's behind it. What that refuses for an avatar is known from one request before.
    """

    def __init__(
        self,
        *,
        limits=None,
        api_key=None,
        app_id="local-app",
        avatar_ids=("local-avatar",),
        other_apps=None,
        wall_clock=time.time,
        driver=None,
        sessions=4,
        allowed=None,
        shutdown_timeout=0.0,
        **options,
    ):
        self.limits = limits or ServiceLimits()
        self.app_id, self.avatar_ids = app_id, avatar_ids
        self._keys = {**(other_apps or {}), app_id: api_key or secrets.token_urlsafe(24)}
        behind = ServiceLimits(
            credits=self.limits.credits,
            max_request_seconds=self.limits.max_request_seconds,
        )
        drivers = {} if driver is None else {"driver": driver}
        self.upstream = LocalAvatarService(avatar_ids=avatar_ids, limits=behind, **drivers)
        self._wall_clock = wall_clock
        self._sessions = sessions
        self._allowed = allowed or {}  # to each client, beside what the limits say
        self._shutdown_timeout = shutdown_timeout
        self._options = options

    async def __aenter__(self):
        await self.upstream.start()
        settings = self.settings()
        self.gateway = Gateway(settings, wall_clock=self._wall_clock)
        await self.gateway.start()
        self.roster = self.gateway.ingress.roster
        self.gateway.ingress.limits = replace(
            self.gateway.ingress.limits,
            max_message_bytes=self.limits.max_message_bytes,
            max_overhead_bytes=self.limits.max_overhead_bytes,
            max_request_bytes=self.limits.max_request_bytes,
        )
        for app_id in self._keys:
            client = self.gateway.clients.by_app_id(app_id)
            client.max_connections = self.limits.max_connections
        return self

    async def __aexit__(self, *exc_info):
        await self.close()

    def settings(self, **changed):
        listen = Listen(
            port=0,
            ingress_port=0,
            idle_timeout=self.limits.idle_timeout,
            max_duration=self.limits.max_session_duration,
            shutdown_timeout=self._shutdown_timeout,
        )
        clients = [
            ClientSettings(
                name=name, app_id=name, key_hash=key_hash(key), limits=self.client_limits
            )
            for name, key in self._keys.items()
        ]
        config = self.upstream.config_factory()
        sections = {
            "listen": listen,
            "upstream": Upstream(
                api_key=config.api_key,
                app_id=config.app_id,
                console_endpoint=config.console_endpoint_url,
                ingress_endpoint=config.ingress_endpoint_url,
            ),
            "budget": Budget(sessions=self._sessions),
            "tokens": Tokens(
                single_use=self.limits.single_use_tokens, lifetime=self.limits.max_token_lifetime
            ),
            "clients": tuple(clients),
        }
        return GatewaySettings(**{**sections, **self._options, **changed})

    @property
    def client_limits(self):
        usual = {
            "max_concurrent": 1000,
            "max_waiting": 1000,
            "max_audio_seconds": self.limits.max_request_seconds,
        }
        return ClientLimits(**(usual | self._allowed))

    def of_client(self, app_id):
        """This gateway as another of its clients knows it."""
        return SimpleNamespace(
            app_id=app_id,
            avatar_ids=self.avatar_ids,
            console_url=self.console_url,
            ingress_url=self.ingress_url,
            environment={"AVATAR_API_KEY": self._keys[app_id]},
        )

    async def learn_refusals(self, avatar_id):
        """Have the gateway learn what the service behind it refuses, as by somebody's request."""
        if avatar_id is None and self.limits.credits != 0:
            return
        config = self.config_factory(avatar_id=avatar_id or self.avatar_ids[0])
        pool = AvatarConnectionPool(pool_size=1, config_factory=lambda: config)
        with contextlib.suppress(AvatarPoolError):
            async with pool, pool.borrow() as conn:
                await conn.session.send_audio(bytes(640), end=True)
                await conn.collector.wait()

    async def restart(self):
        """Close the gateway, and start another one on its ports."""
        ports = {
            "port": urlsplit(self.console_url).port,
            "ingress_port": urlsplit(self.ingress_url).port,
        }
        await self.gateway.close()
        settings = self.settings()
        listen = settings.listen.model_copy(update=ports)
        self.gateway = Gateway(self.settings(listen=listen), wall_clock=self._wall_clock)
        await self.gateway.start()
        self.roster = self.gateway.ingress.roster

    async def close(self):
        await self.gateway.close()
        await self.upstream.close()

    @property
    def environment(self):
        return {"AVATAR_API_KEY": self._keys[self.app_id]}

    @property
    def console_url(self):
        return self.gateway.console_url

    @property
    def ingress_url(self):
        return self.gateway.ingress_url

    @property
    def counters(self):
        return ServiceCounters.of(self.gateway._admission, self.roster)

    def config_factory(self, collector=None, **overrides):
        access = {
            "api_key": self._keys[self.app_id],
            "app_id": self.app_id,
            "avatar_id": self.avatar_ids[0],
            "console_endpoint_url": self.console_url,
            "ingress_endpoint_url": self.ingress_url,
        }
        return SessionConfig(**(access | overrides))

    def top_up(self, seconds):
        self.upstream.top_up(seconds)
