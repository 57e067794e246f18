"""What the gateway answers over HTTP: the console's tokens, and who may ask at all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from avatarpool.endpoint import http
from avatarpool.endpoint.console import Console
from avatarpool.endpoint.refusals import UpgradeRefusal
from avatarpool.gateway.origins import Origins

_FOREIGN = UpgradeRefusal(
    403, "this host or origin is none of the gateway's: see public_console and allowed_origins"
)


def application(console: Console, origins: Callable[[], Origins]) -> web.Application:
    """Make the application, whose other routes are added by those that have them."""
    made = web.Application(middlewares=[_own_pages_only(origins)])
    for route in http.CONSOLE_ROUTES:
        made.router.add_post(route, console.handle)
    return made


def _own_pages_only(origins: Callable[[], Origins]) -> Any:
    @web.middleware
    async def checked(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        host, origin = request.headers.get("Host"), request.headers.get("Origin")
        if not origins().allows(host, origin):
            return http.upgrade_refused(_FOREIGN)
        return await handler(request)

    return checked
