"""The console over HTTP: an API key and an expiry in, a session token out."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web

from avatarpool.endpoint import http, refusals
from avatarpool.endpoint.accounts import Account
from avatarpool.endpoint.admission import Admission
from avatarpool.endpoint.guessing import Guesses
from avatarpool.endpoint.refusals import TokenRefusal

log = logging.getLogger("avatarpool.service")


class Console:
    """Answers token requests.

    Args:
        admission: Decides about them.
        body_timeout: Seconds for the body of one.
        guesses: Wrong keys; left out, those of the console alone.
    """

    def __init__(
        self,
        admission: Admission[Account],
        body_timeout: float,
        guesses: Guesses | None = None,
    ) -> None:
        self._admission = admission
        self._body_timeout = body_timeout
        self._guesses = guesses or Guesses()

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        granted = await self._granted(request)
        if isinstance(granted, TokenRefusal):
            log.info("token request refused: %s", granted.detail)
            return http.token_refused(granted)
        # One name for each of the official clients.
        return web.json_response({"sessionToken": granted, "session_token": granted})

    async def _granted(self, request: web.Request) -> str | TokenRefusal:
        account = self._admission.applicant(request.headers.get("X-Api-Key", ""))
        if isinstance(account, TokenRefusal):
            await self._guesses.wrong()
            return account
        try:
            async with asyncio.timeout(self._body_timeout):
                body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return refusals.bad_token_request("the body is too large")
        except TimeoutError:
            return refusals.bad_token_request("the body did not arrive")
        except ConnectionError:
            body = b""  # its client has gone: nobody hears the refusal
        return self._admission.grant(account, body)
