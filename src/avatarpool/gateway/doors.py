"""What the gateway answers over HTTP: whose doors there are, and who may ask at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from avatarpool.endpoint import http
from avatarpool.endpoint.console import Console
from avatarpool.endpoint.guessing import Guesses
from avatarpool.endpoint.pages import face_files
from avatarpool.gateway import animations, host, openapi, problems
from avatarpool.gateway.admin import Administration
from avatarpool.gateway.animations import Animations
from avatarpool.gateway.health import Health
from avatarpool.gateway.host import Host
from avatarpool.gateway.origins import Origins
from avatarpool.gateway.page import Page
from avatarpool.gateway.problems import Refused

_IS_OURS = web.RequestKey("is_ours", bool)  # a request of a page that may ask

# Two readers may take different ones of two.
_ONCE = (
    "Host",
    "Origin",
    "Content-Length",
    "Content-Type",
    "Content-Encoding",
    "Transfer-Encoding",
)


def application(
    console: Console,
    origins: Callable[[], Origins],
    *,
    guesses: Guesses,
    refused: Counter[str],
) -> web.Application:
    """Make the application, whose other routes are added by those that have them.

    Args:
        console: Answers token requests.
        origins: Whose pages may ask, and by which names.
        guesses: Wrong keys, of whatever door.
        refused: Where problems are counted, by their codes.
    """
    middlewares = [problems.told_as_problems(refused, guesses), _own_pages_only(origins)]
    made = web.Application(middlewares=middlewares)
    made.on_response_prepare.append(_share)
    for route in http.CONSOLE_ROUTES:
        made.router.add_post(route, console.handle)
    for path, (body, content_type) in face_files().items():
        made.router.add_get(path, _file(body, content_type))
    return made


def routes(
    app: web.Application,
    *,
    uploads: Animations,
    hosts: Host,
    health: Health,
    administration: Administration,
    page: Page,
) -> None:
    """Add what those answer who have no SDK."""
    app.router.add_post(animations.ROUTE, uploads.handle)
    app.router.add_get(host.ROUTE, hosts.handle, allow_head=False)
    app.router.add_get(openapi.ROUTE, openapi.handle)
    health.add_to(app)
    administration.add_to(app)
    page.add_to(app)


def _own_pages_only(origins: Callable[[], Origins]) -> Any:
    @web.middleware
    async def checked(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if any(len(request.headers.getall(name, ())) > 1 for name in _ONCE):
            raise Refused(problems.AMBIGUOUS)
        host, origin = request.headers.get("Host"), request.headers.get("Origin")
        if not origins().allows(host, origin):
            raise Refused(problems.FOREIGN)
        request[_IS_OURS] = True
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            return web.Response(status=204, headers=_PREFLIGHT)
        return await handler(request)

    return checked


def _file(body: bytes, content_type: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Answer with a file that is for every page that may ask at all."""
    headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type=content_type, headers=headers)

    return answer


# What a page of another origin may send, once its origin is one of those that may.
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Accept, Authorization, Content-Type, X-Api-Key",
    "Access-Control-Max-Age": "600",
}


async def _share(request: web.Request, response: web.StreamResponse) -> None:
    """Let the page read an answer that it may have; a stranger's it was not given."""
    origin = request.headers.get("Origin")
    response.headers["Vary"] = "Origin"
    if origin is not None and _IS_OURS in request and response.status != 101:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = "Retry-After"
