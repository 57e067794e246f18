"""The doors over HTTP: their routes, and how aiohttp answers there."""

from __future__ import annotations

from aiohttp import web

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
    return web.json_response({"errors": [error]}, status=refusal.status)
