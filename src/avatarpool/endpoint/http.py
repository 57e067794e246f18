"""The doors over HTTP: their routes, and how they refuse."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

from avatarpool.endpoint import refusals
from avatarpool.endpoint.refusals import TokenRefusal, UpgradeRefusal

INGRESS_ROUTE = "/v2/driveningress/websocket"

CONSOLE_ROUTES = ("/v1/console/session-tokens", "/v1/auth/session-token", "/session-tokens")
"""Names of one resource: each client knows one, the last where its console URL has no path."""


def upgrade_refused(refusal: UpgradeRefusal) -> web.Response:
    """Return the ingress's answer."""
    return web.Response(status=refusal.status, body=refusal.body, headers=refusal.headers)


def token_refused(refusal: TokenRefusal) -> web.Response:
    """Return the console's answer."""
    error = {
        "status": refusal.status,
        "code": refusal.code,
        "title": refusal.title,
        "detail": refusal.detail,
    }
    response = web.json_response({"errors": [error]}, status=refusal.status)
    if refusal is refusals.BAD_API_KEY:
        response.force_close()  # one guess for each connection
    return response


@web.middleware
async def local_pages_only(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Refuse other machines' pages, which a browser on this one may have open.

    A page is behind a request that has an origin; it may have pointed a name of its own here.
    """
    origin = request.headers.get("Origin")
    if origin is None or (_is_loopback(origin) and _is_loopback(f"//{request.host}")):
        return await handler(request)
    return upgrade_refused(refusals.FOREIGN_PAGE)


def _is_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    return host in ("127.0.0.1", "::1", "localhost") or host.endswith(".localhost")
