"""The doors over HTTP: their routes, how aiohttp serves them, and how it refuses."""

from __future__ import annotations

import logging

from aiohttp import http_exceptions, web

from avatarpool.endpoint.limits import ServiceLimits
from avatarpool.endpoint.refusals import TokenRefusal, UpgradeRefusal

INGRESS_ROUTE = "/v2/driveningress/websocket"

CONSOLE_ROUTES = ("/v1/console/session-tokens", "/v1/auth/session-token", "/session-tokens")
"""Names of one resource: each client knows one, the last where its console URL has no path."""


def _without_request(record: logging.LogRecord) -> bool:
    """Take out what aiohttp quotes of a request that it cannot parse: keys and tokens."""
    if record.exc_info and isinstance(record.exc_info[1], http_exceptions.HttpProcessingError):
        record.exc_info = None
        record.levelno, record.levelname = logging.INFO, "INFO"
    return True


log = logging.getLogger("avatarpool.service.http")
log.addFilter(_without_request)


def runner(application: web.Application, limits: ServiceLimits) -> web.AppRunner:
    """Return what serves an application within limits; it logs no key and no token."""
    # No access log: its lines would hold the query, and so the tokens.
    return web.AppRunner(
        application,
        access_log=None,
        logger=log,
        keepalive_timeout=limits.http_idle_timeout,
        shutdown_timeout=limits.close_timeout,
        lingering_time=0.0,  # a body that was refused is not waited for
    )


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
