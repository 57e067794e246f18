"""The live page: its files, the numbers it shows, and who may see them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

from aiohttp import web

from avatarpool.endpoint.pages import page_files, page_headers
from avatarpool.gateway.snapshot import Snapshot

INTERVAL = 1.0
"""Seconds between two events."""

MOST_READERS = 64
"""Pages that may look at once; the next one is told to come again."""

_HEADERS = page_headers()
_LOCKED = "the admin key is needed to look from here: send it as X-Api-Key"
_CLOSED = (
    "this page is for the gateway's own machine: give the gateway an admin key to look from here"
)
_CROWDED = f"{MOST_READERS} pages look already: close one, or try again"
_CLOSING = "the gateway is closing"

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Page:
    """Serves the page at ``/``, ``/v1/events`` and ``/v1/pools``.

    ``/v1/events`` are server-sent events: one ``rights`` with ``{"may_administer",
    "has_admin_key"}``, and a ``snapshot`` at once and each second, as `Snapshot` describes
    it. Who reads slower than that misses some.

    The files are no secret: where there is an admin key, everybody gets them, as a
    browser's first request has no header of ours; the page asks for the key then.

    Args:
        snapshot: Tells how the gateway stands.
        may_look: Whether who asks may see that.
        may_administer: Whether who asks may change it.
        has_admin_key: Whether there is a key at all.
    """

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        *,
        may_look: Callable[[web.Request], bool],
        may_administer: Callable[[web.Request], bool],
        has_admin_key: bool,
    ) -> None:
        self._snapshot = snapshot
        self._may_look = may_look
        self._may_administer = may_administer
        self._has_admin_key = has_admin_key
        self._readers = 0
        self._latest = b""  # the event that all readers get
        self._news = asyncio.Event()  # set when there is another, and replaced by a new one
        self._timer: asyncio.TimerHandle | None = None  # while somebody looks
        self._is_closed = False

    def add_to(self, app: web.Application) -> None:
        """Add the routes, and end all streams when the application shuts down."""
        for path, (body, content_type) in page_files("gateway").items():
            app.router.add_get(path, self._file(body, content_type))
        app.router.add_get("/v1/events", self._events, allow_head=False)
        app.router.add_get("/v1/pools", self._pools)
        app.on_shutdown.append(self._shut_down)

    def close(self) -> None:
        """End all streams."""
        self._is_closed = True
        self._news.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _shut_down(self, _app: web.Application) -> None:
        self.close()

    # --- what is answered -----------------------------------------------------------------

    def _file(self, body: bytes, content_type: str) -> _Handler:
        async def answer(request: web.Request) -> web.Response:
            if not (self._has_admin_key or self._may_look(request)):
                return _refusal(403, _CLOSED)
            return web.Response(body=body, content_type=content_type, headers=_HEADERS)

        return answer

    async def _pools(self, request: web.Request) -> web.Response:
        if not self._may_look(request):
            return self._unseen()
        return web.json_response(self._snapshot(), headers=_HEADERS)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if not self._may_look(request):
            return self._unseen()
        if self._is_closed:
            return _refusal(503, _CLOSING)
        if self._readers >= MOST_READERS:
            return _refusal(503, _CROWDED)
        rights = {
            "may_administer": self._may_administer(request),
            "has_admin_key": self._has_admin_key,
        }
        response = web.StreamResponse(headers=_HEADERS | {"Content-Type": "text/event-stream"})
        self._readers += 1
        try:
            await response.prepare(request)
            await response.write(_event("rights", rights))
            await self._stream(response)
        except ConnectionResetError:  # the page has gone
            pass
        finally:
            self._readers -= 1
        return response

    async def _stream(self, response: web.StreamResponse) -> None:
        if self._timer is None:
            self._tick()
        while not self._is_closed:
            news = self._news
            await response.write(self._latest)  # waits while the page does not read
            await news.wait()

    def _unseen(self) -> web.Response:
        return _refusal(401, _LOCKED) if self._has_admin_key else _refusal(403, _CLOSED)

    # --- one timer for all ----------------------------------------------------------------

    def _tick(self) -> None:
        """Make the next event, for as long as somebody reads them."""
        self._timer = None
        if not self._readers or self._is_closed:
            return
        self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._tick)
        self._latest = _event("snapshot", self._snapshot())
        news, self._news = self._news, asyncio.Event()
        news.set()


def _event(name: str, told: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(told)}\n\n".encode()


def _refusal(status: int, sentence: str) -> web.Response:
    """Answer with a problem, as HTTP calls it (RFC 9457)."""
    again = {"Retry-After": "5"} if status == 503 else {}
    return web.json_response(
        {"type": "about:blank", "status": status, "detail": sentence},
        status=status,
        content_type="application/problem+json",
        headers=_HEADERS | again,
    )
