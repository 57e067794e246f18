"""A second shell over `avatarpool.endpoint`: picows at the ingress, an echo for a face."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web
from picows import WSUpgradeResponse, WSUpgradeResponseWithListener, ws_create_server
from picows.picows import _validate_upgrade_request
from picows_connection import Connection

from avatarpool.config import SessionConfig
from avatarpool.endpoint import http, refusals
from avatarpool.endpoint.admission import Admission, Credentials
from avatarpool.endpoint.console import Console
from avatarpool.endpoint.conversation import Conversation
from avatarpool.endpoint.counters import ServiceCounters
from avatarpool.endpoint.limits import ServiceLimits
from avatarpool.endpoint.listening import Listener
from avatarpool.endpoint.refusals import UpgradeRefusal
from avatarpool.endpoint.roster import Roster
from avatarpool.service import opus


class PicowsService:
    """What tests use of `LocalAvatarService`: tokens by aiohttp, sessions by picows."""

    def __init__(
        self,
        *,
        limits=None,
        api_key=None,
        app_id="local-app",
        avatar_ids=("local-avatar",),
        other_apps=None,
        wall_clock=time.time,
    ):
        self.limits = limits or ServiceLimits()
        self.app_id, self.avatar_ids = app_id, avatar_ids
        self.environment = {"AVATAR_API_KEY": api_key or secrets.token_urlsafe(24)}
        keys = {**(other_apps or {}), app_id: self.environment["AVATAR_API_KEY"]}
        self._admission = Admission.local(keys, avatar_ids, self.limits, wall_clock=wall_clock)
        self.roster = Roster()
        self.connections = set()

    async def __aenter__(self):
        await self.start()
        return self

    async def __aexit__(self, *exc_info):
        await self.close()

    async def start(self):
        application = web.Application(client_max_size=self.limits.max_token_request_bytes)
        console = Console(self._admission, self.limits.handshake_timeout)
        for route in http.CONSOLE_ROUTES:
            application.router.add_post(route, console.handle)
        self._listener = Listener(application, self.limits)
        _, console_port = await self._listener.start("127.0.0.1", 0)
        self._server = await ws_create_server(
            self._upgraded,
            "127.0.0.1",
            0,
            websocket_handshake_timeout=self.limits.http_idle_timeout,
            # Beyond it picows closes with words of its own, and calls that an error.
            max_frame_size=self.limits.max_message_bytes + (1 << 20),
        )
        # A peer that does not read is to be noticed before all of its frames are in the kernel.
        self._server.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        ingress_port = self._server.sockets[0].getsockname()[1]
        self.console_url = f"http://127.0.0.1:{console_port}/v1/console"
        self.ingress_url = f"ws://127.0.0.1:{ingress_port}/v2/driveningress"

    async def close(self):
        self._admission.is_closing = True
        self._server.close()
        open_ones = tuple(self.connections)
        for connection in open_ones:
            connection.end(refusals.SERVICE_CLOSED)
        for connection in open_ones:
            await connection.transport.wait_disconnected()
        await self._listener.close()

    def _upgraded(self, request):
        target = urlsplit(request.path.decode(errors="replace"))
        if target.path != http.INGRESS_ROUTE:
            return None
        query = dict(parse_qsl(target.query))
        credentials = Credentials.of(request.headers, query, can_upgrade=_can_upgrade(request))
        admitted = self._admission.admit(credentials)
        if isinstance(admitted, UpgradeRefusal):
            answer = WSUpgradeResponse.create_error_response(
                admitted.status, admitted.body, admitted.headers
            )
            return WSUpgradeResponseWithListener(answer, None)
        conversation = Conversation(
            f"picows-{secrets.token_hex(8)}",
            credentials.avatar_id,
            admitted,
            self.limits,
            takes_opus=opus.is_available(),
            now=asyncio.get_running_loop().time(),
        )
        return Connection(self, conversation, admitted)

    @property
    def counters(self):
        return ServiceCounters.of(self._admission, self.roster)

    def config_factory(self, collector=None, **overrides):
        access = {
            "api_key": self.environment["AVATAR_API_KEY"],
            "app_id": self.app_id,
            "avatar_id": self.avatar_ids[0],
            "console_endpoint_url": self.console_url,
            "ingress_endpoint_url": self.ingress_url,
        }
        return SessionConfig(**(access | overrides))

    def top_up(self, seconds):
        self._admission.accounts.by_app_id(self.app_id).top_up(seconds)


def _can_upgrade(request):
    """Whether picows will upgrade it: what it refuses by itself must not be admitted."""
    options = request.headers.get("Connection", "").lower().split(",")
    if "upgrade" in map(str.strip, options):
        request.headers["Connection"] = "upgrade"  # the one spelling that picows knows
    try:
        _validate_upgrade_request(request)
    except RuntimeError:
        return False
    return True
