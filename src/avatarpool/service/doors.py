"""In front of console and ingress: what they get wrong on purpose before anybody is admitted."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from functools import partial

from aiohttp import web

from avatarpool.endpoint import http, refusals
from avatarpool.service.faults import Faults, Step
from avatarpool.service.ingress import NewSocket
from avatarpool.service.sabotage import FaultySocket, Sabotage

_LOOK = 0.02  # seconds between two looks at whether a client has gone


class FaultyDoors:
    """Stands before console and ingress, and gets wrong what it is told to.

    Args:
        faults: The service's.
        console: Answers token requests.
        ingress: Serves upgrades, over the sockets that it is given.
    """

    def __init__(
        self,
        faults: Faults,
        console: Callable[[web.Request], Awaitable[web.Response]],
        ingress: Callable[[web.Request, NewSocket], Awaitable[web.StreamResponse]],
    ) -> None:
        self._faults = faults
        self._console = console
        self._ingress = ingress
        self._is_closing = False

    def close(self) -> None:
        """Hold nobody up any more."""
        self._is_closing = True

    async def console(self, request: web.Request) -> web.Response:
        """Answer a token request."""
        fault = self._faults.of_token()
        if fault is not None:
            await self._until_gone(request, fault.delay)
            if fault.status is not None:
                return http.token_refused(refusals.token_fault(fault.status))
        return await self._console(request)

    async def ingress(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection."""
        sabotage = Sabotage(self._faults)
        fault = sabotage.fault
        if fault is not None:
            delay = math.inf if fault.stalls_at is Step.UPGRADE else fault.delay
            await self._until_gone(request, delay)
            if fault.upgrade_status is not None:
                return http.upgrade_refused(refusals.upgrade_fault(fault.upgrade_status))
            if request.transport is None:
                return web.Response()  # which nobody reads

        return await self._ingress(request, partial(FaultySocket, sabotage))

    async def _until_gone(self, request: web.Request, seconds: float) -> None:
        """Leave a request alone for so long, or until its client has gone or the service closes."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while (  # noqa: ASYNC110  # a client that goes is not told to its handler
            request.transport is not None and not self._is_closing and loop.time() < deadline
        ):
            await asyncio.sleep(min(_LOOK, deadline - loop.time()))
