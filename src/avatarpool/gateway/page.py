"""The live page: its files, the numbers it shows, and who may see them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Protocol

from aiohttp import web

from avatarpool.endpoint.pages import page_files, page_headers
from avatarpool.gateway import failures
from avatarpool.gateway.failures import UNABLE, Failure
from avatarpool.gateway.problems import Refused
from avatarpool.gateway.snapshot import Snapshot

EVENTS_ROUTE, POOLS_ROUTE = "/v1/events", "/v1/pools"

INTERVAL = 1.0
"""Seconds between two events."""

MOST_READERS = 64
"""Pages that may look at once; the next one is told to come again."""

_HEADERS = page_headers()
_CROWDED = Failure(
    "busy", f"{MOST_READERS} pages look already: close one, or try again", UNABLE, 503, 5.0
)

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Access(Protocol):
    """Who may see and do what: see `Authentication`."""

    @property
    def has_admin_key(self) -> bool:
        """Whether there is a key at all."""

    def may_administer(self, request: web.Request) -> bool:
        """Whether who asks may change something."""

    def check_looks(self, request: web.Request) -> None:
        """Raise `Refused` where who asks may not see the numbers."""


class Page:
    """Serves the page at ``/``, ``/v1/events`` and ``/v1/pools``.

    ``/v1/events`` are server-sent events: one ``rights`` with ``{"may_administer",
    "has_admin_key"}``, and a ``snapshot`` at once and each second, as `Snapshot` describes
    it. Who reads slower than that misses some.

    The files are no secret: where there is an admin key, everybody gets them, as a
    browser's first request has no header of ours; the page asks for the key then.

    Args:
        snapshot: Tells how the gateway stands.
        access: Who may see that, and who may change it.
    """

    def __init__(self, snapshot: Callable[[], Snapshot], access: Access) -> None:
        self._snapshot = snapshot
        self._access = access
        self._readers = 0
        self._latest = b""  # the event that all readers get
        self._news = asyncio.Event()  # set when there is another, and replaced by a new one
        self._timer: asyncio.TimerHandle | None = None  # while somebody looks
        self._is_closed = False

    def add_to(self, app: web.Application) -> None:
        """Add the routes, and end all streams when the application shuts down."""
        for path, (body, content_type) in page_files("gateway").items():
            app.router.add_get(path, self._file(body, content_type))
        app.router.add_get(EVENTS_ROUTE, self._events, allow_head=False)
        app.router.add_get(POOLS_ROUTE, self._pools)
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
            if not self._access.has_admin_key:
                self._access.check_looks(request)
            return web.Response(body=body, content_type=content_type, headers=_HEADERS)

        return answer

    async def _pools(self, request: web.Request) -> web.Response:
        self._access.check_looks(request)
        return web.json_response(self._snapshot(), headers=_HEADERS)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        self._access.check_looks(request)
        if self._is_closed:
            raise Refused(failures.CLOSING)
        if self._readers >= MOST_READERS:
            raise Refused(_CROWDED)
        rights = {
            "may_administer": self._access.may_administer(request),
            "has_admin_key": self._access.has_admin_key,
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
