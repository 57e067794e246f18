"""The doors over HTTP: where credentials stand in a request, and how it is refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

from avatarpool.endpoint import refusals
from avatarpool.endpoint.admission import Credentials
from avatarpool.endpoint.refusals import TokenRefusal, UpgradeRefusal

INGRESS_ROUTE = "/v2/driveningress/websocket"

CONSOLE_ROUTES = ("/v1/console/session-tokens", "/v1/auth/session-token", "/session-tokens")
"""Names of one resource: each client knows one, the last where its console URL has no path."""

# What a 426 must name (RFC 9110, 15.5.22, and RFC 6455, 4.4).
_UPGRADE_TO = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}


def credentials(request: web.Request, *, can_upgrade: bool) -> Credentials:
    """Return an upgrade's: in headers by default, in the query for browsers."""
    headers, query = request.headers, request.query
    return Credentials(
        token=headers.get("X-Session-Key") or query.get("sessionKey", ""),
        app_id=headers.get("X-App-ID") or query.get("appId", ""),
        avatar_id=query.get("id", ""),
        can_upgrade=can_upgrade,
    )


def upgrade_refused(refusal: UpgradeRefusal) -> web.Response:
    """Return the ingress's answer."""
    return web.Response(
        status=refusal.status,
        body=refusal.body,
        content_type="application/json",
        charset="utf-8",
        headers=_UPGRADE_TO if refusal is refusals.NO_UPGRADE else None,
    )


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
