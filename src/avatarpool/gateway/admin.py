"""``POST /v1/admin/...``: what the gateway's administrator does while it runs."""

from __future__ import annotations

import asyncio
import json
import logging

from aiohttp import web

from avatarpool.exceptions import ConfigurationError, PoolClosed
from avatarpool.fleet.budget import MOST_SESSIONS
from avatarpool.gateway import failures, problems
from avatarpool.gateway.authentication import Authentication
from avatarpool.gateway.exchange import Exchange
from avatarpool.gateway.problems import Refused

log = logging.getLogger("avatarpool.gateway")

ROUTE = "/v1/admin"

_MAX_BODY_BYTES = 1024


class Administration:
    """Pauses, resumes, drains and resizes; the answer is 204.

    Args:
        exchange: What is changed.
        authentication: Who may.
        body_timeout: Seconds for a body to come.
    """

    def __init__(
        self, exchange: Exchange, authentication: Authentication, body_timeout: float
    ) -> None:
        self._exchange = exchange
        self._authentication = authentication
        self._body_timeout = body_timeout

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        for verb in (self.pause, self.resume, self.drain, self.resize):
            app.router.add_post(f"{ROUTE}/{verb.__name__}", verb)

    async def pause(self, request: web.Request) -> web.Response:
        """Refuse new requests from now on; those under way go on."""
        self._authentication.check_administers(request)
        self._exchange.is_paused = True
        return _done("paused")

    async def resume(self, request: web.Request) -> web.Response:
        """Take new requests again."""
        self._authentication.check_administers(request)
        self._exchange.is_paused = False
        return _done("resumed")

    async def drain(self, request: web.Request) -> web.Response:
        """Replace every session: idle ones now, others when their request is over."""
        self._authentication.check_administers(request)
        try:
            self._exchange.group.drain()
        except PoolClosed:
            raise Refused(failures.CLOSING) from None
        return _done("drained")

    async def resize(self, request: web.Request) -> web.Response:
        """Change the budget, ``{"sessions": n}``; sessions beyond it go as they come free."""
        self._authentication.check_administers(request)
        sessions = _sessions(await self._body(request))
        try:
            self._exchange.group.resize(sessions)
        except ConfigurationError as error:
            raise problems.refused("invalidRequest", 400, error.problems[0]) from None
        self._exchange.queue.advance()
        return _done(f"resized to {sessions} sessions")

    async def _body(self, request: web.Request) -> bytes:
        body = b""
        try:
            async with asyncio.timeout(self._body_timeout):
                while piece := await request.content.readany():
                    body += piece
                    if len(body) > _MAX_BODY_BYTES:
                        raise problems.refused("bodyTooLarge", 413, "the body is too large")
        except TimeoutError:
            raise problems.refused("bodyTimeout", 408, "the body did not come in time") from None
        except web.RequestPayloadError:
            raise problems.refused("invalidRequest", 400, "the body is garbled") from None
        return body


def _sessions(body: bytes) -> int:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        told = None
    sessions = told.get("sessions") if isinstance(told, dict) else None
    if not isinstance(sessions, int) or isinstance(sessions, bool):
        raise problems.refused("invalidRequest", 400, 'send {"sessions": n}, a whole number')
    if not 1 <= sessions <= MOST_SESSIONS:
        raise problems.refused("invalidRequest", 400, f"sessions may be 1 to {MOST_SESSIONS}")
    return sessions


def _done(what: str) -> web.Response:
    # A warning, which the journal has without a configuration of logs: clients feel it.
    log.warning("gateway %s by its administrator", what)
    return web.Response(status=204)
