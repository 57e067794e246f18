"""The console over HTTP: an API key and an expiry in, a session token out."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web

from avatarpool.endpoint import http, refusals
from avatarpool.endpoint.accounts import Account
from avatarpool.endpoint.admission import Admission
from avatarpool.endpoint.refusals import TokenRefusal

log = logging.getLogger("avatarpool.service")


# Wrong keys in a second that are told so at once. A connection, which each of them ends,
# costs a millisecond; those beyond take so many seconds.
_FREE_GUESSES = 10
_GUESS_SECONDS = 0.25


class Console:
    """Answers token requests.

    Args:
        admission: Decides about them.
        body_timeout: Seconds for the body of one.
    """

    def __init__(self, admission: Admission[Account], body_timeout: float) -> None:
        self._admission = admission
        self._body_timeout = body_timeout
        self._guessed = 0.0  # the time up to which the latest wrong keys have used their share

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
            await self._slow_down()
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

    async def _slow_down(self) -> None:
        """Hold up who sends wrong keys faster than a mistake does."""
        now = asyncio.get_running_loop().time()
        self._guessed = max(self._guessed, now - 1.0) + 1.0 / _FREE_GUESSES
        if self._guessed > now:
            await asyncio.sleep(_GUESS_SECONDS)
