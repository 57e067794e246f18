"""The console over HTTP: an API key and an expiry in, a session token out."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable

from aiohttp import web

from avatarpool.service import refusals
from avatarpool.service.accounts import Accounts
from avatarpool.service.counters import ServiceCounters
from avatarpool.service.faults import Faults
from avatarpool.service.limits import ServiceLimits
from avatarpool.service.refusals import TokenRefusal
from avatarpool.service.sabotage import until_gone
from avatarpool.service.tokens import TokenOffice

logger = logging.getLogger("avatarpool.service")

ROUTES = ("/v1/console/session-tokens", "/v1/auth/session-token", "/session-tokens")
"""Names of one resource: each client knows one, the last where its console URL has no path."""


class Console:
    """Answers token requests.

    Args:
        accounts: Who may ask.
        tokens: Issues what they ask for.
        limits: The service's limits.
        counters: Where tokens are counted.
        wall_clock: Unix time in seconds.
        faults: What to get wrong.
    """

    def __init__(
        self,
        accounts: Accounts,
        tokens: TokenOffice,
        limits: ServiceLimits,
        counters: ServiceCounters,
        wall_clock: Callable[[], float],
        *,
        faults: Faults,
    ) -> None:
        self._accounts = accounts
        self._tokens = tokens
        self._limits = limits
        self._counters = counters
        self._wall_clock = wall_clock
        self._faults = faults
        self._is_closing = False

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        fault = self._faults.of_token()
        if fault is not None:
            await until_gone(request, fault.delay, lambda: self._is_closing)
            if fault.status is not None:
                return _refused(refusals.token_fault(fault.status))
        account = self._accounts.by_api_key(request.headers.get("X-Api-Key", ""))
        if account is None:
            return _refused(refusals.BAD_API_KEY)
        try:
            async with asyncio.timeout(self._limits.handshake_timeout):
                body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _refused(refusals.bad_token_request("the body is too large"))
        except TimeoutError:
            return _refused(refusals.bad_token_request("the body did not arrive"))
        except ConnectionError:
            body = b""  # its client has gone: nobody hears the refusal
        expires_at = self._expiry(body)
        if isinstance(expires_at, TokenRefusal):
            return _refused(expires_at)
        token = self._tokens.issue(account.app_id, expires_at)
        self._counters.tokens_issued += 1
        # One name for each of the official clients.
        return web.json_response({"sessionToken": token, "session_token": token})

    def close(self) -> None:
        """Hold up no request any more."""
        self._is_closing = True

    def _expiry(self, body: bytes) -> int | TokenRefusal:
        try:
            data = json.loads(body)
        except (ValueError, RecursionError):
            return refusals.bad_token_request("the body is no JSON")
        expires_at = data.get("expireAt") if isinstance(data, dict) else None
        if not isinstance(expires_at, int) or isinstance(expires_at, bool):
            return refusals.bad_token_request("expireAt is no whole number of Unix seconds")
        now = self._wall_clock()
        if not now < expires_at < now + self._limits.max_token_lifetime:
            hours = self._limits.max_token_lifetime / 3600
            return refusals.bad_token_request(f"expireAt is not within the next {hours:g} h")
        return expires_at


def _refused(refusal: TokenRefusal) -> web.Response:
    logger.info("token request refused: %s", refusal.detail)
    error = {
        "status": refusal.status,
        "code": refusal.code,
        "title": refusal.title,
        "detail": refusal.detail,
    }
    return web.json_response({"errors": [error]}, status=refusal.status)
