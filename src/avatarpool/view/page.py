"""The page's own server: its files, and where they send audio to and have frames from."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib.resources import files
from urllib.parse import urlsplit

from aiohttp import web

from avatarpool.audio import read_audio
from avatarpool.endpoint.limits import ServiceLimits
from avatarpool.endpoint.listening import GuardedRunner, without_request
from avatarpool.endpoint.pages import face_files, page_files, page_headers
from avatarpool.exceptions import (
    AudioError,
    AvatarPoolError,
    ConfigurationError,
    PoolError,
    RequestTimeout,
)
from avatarpool.pool import AvatarConnectionPool
from avatarpool.view.face import face_svg
from avatarpool.view.live import Live
from avatarpool.view.outlet import patient
from avatarpool.view.speech import SAMPLE_RATE, Emit, animate

MAX_FILE_BYTES = 32 * 1024 * 1024
MAX_FILES = 8
"""Clips that are worked on at once."""

MAX_HELD_BYTES = MAX_FILES * MAX_FILE_BYTES
"""Bytes of all files that are being read or wait for their turn: with `MAX_FILES`, the bound on
the server's memory."""

IDLE_TIMEOUT = ServiceLimits().http_idle_timeout
"""Seconds for a whole request's head, from the connection's begin or the answer before."""

_UPLOAD_TIMEOUT = 30.0  # seconds; the file comes from this machine
_CLOSE_TIMEOUT = 1.0  # seconds for answers under way when the server is closed
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_HEADERS = page_headers(media="'self' blob:") | {"Permissions-Policy": "microphone=(self)"}


log = logging.getLogger("avatarpool.view")
log.addFilter(without_request)

# What each failure is answered with; the first that fits.
_STATUS = (
    ((AudioError, ConfigurationError), 400),  # the file, or the extra that its kind needs
    (PoolError, 503),
    (RequestTimeout, 504),
    (AvatarPoolError, 502),
)

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def create_page(pool: AvatarConnectionPool, *, patience: float = 15.0) -> web.AppRunner:
    """Make the server of the page, which needs a site.

    To ``POST /animate`` the audio goes as the file is. The answer is a JSON object
    per line, as `avatarpool.view.speech.animate` emits them; a failure is
    ``{"error"}`` with one sentence, as the answer or, after the first frame, as the
    last line.

    ``GET /live`` is a WebSocket. Once ``{"is_ready": true}`` has come, mono s16le
    samples at `SAMPLE_RATE` go up in pieces of 10 to 500 ms, and ``end`` as text
    after the last one. The same objects come down, a message each, without
    ``loudness_db``; the server closes after the last one.

    Requests are answered only if they name a loopback host and come from the
    page itself or from no page at all.

    Args:
        pool: Lends the sessions, of `SAMPLE_RATE`; whoever opened it closes it.
        patience: Seconds in which each frame must come, and for which the page may
            leave frames unread, all in all.
    """
    app = web.Application(middlewares=[_guard])
    app.on_response_prepare.append(_add_headers)
    for path, (body, content_type) in _files().items():
        app.router.add_get(path, _file(body, content_type))
    app.router.add_post("/animate", _Animator(pool, patience).answer)
    app.router.add_get("/live", Live(pool, patience).answer)
    # Who leaves amid a clip ends it: its session is somebody else's then.
    return GuardedRunner(
        app,
        ServiceLimits(send_timeout=patience, http_idle_timeout=IDLE_TIMEOUT),
        logger=log,
        auto_decompress=True,
        handler_cancellation=True,
        shutdown_timeout=_CLOSE_TIMEOUT,
    )


class _Animator:
    """``POST /animate``."""

    def __init__(self, pool: AvatarConnectionPool, patience: float) -> None:
        self._pool = pool
        self._patience = patience
        self._places = asyncio.Semaphore(MAX_FILES)
        self._held_bytes = 0  # of files that are not converted yet

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Animate the body; stream the frames."""
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})

        async def write(told: dict[str, object]) -> None:
            if not response.prepared:  # a failure before that has a status of its own
                await response.prepare(request)
            await response.write(json.dumps(told).encode() + b"\n")

        emit = patient(write, request, self._patience)
        with suppress(ConnectionResetError):  # the page has gone
            try:
                await self._animate(request, emit)
            except AvatarPoolError as error:
                if not response.prepared:
                    raise
                await emit({"error": str(error)})
        return response

    async def _animate(self, request: web.Request, emit: Emit) -> None:
        file = bytearray()
        try:
            # First: a slow upload holds what it has sent, and no place.
            await self._read(request, file)
            async with self._places:
                pcm = await _converted(bytes(file))
                self._held_bytes -= len(file)
                file.clear()
                await animate(self._pool, pcm, self._patience, emit)
        finally:
            self._held_bytes -= len(file)

    async def _read(self, request: web.Request, file: bytearray) -> None:
        try:
            async with asyncio.timeout(_UPLOAD_TIMEOUT):
                async for chunk in request.content.iter_any():
                    file += chunk
                    self._held_bytes += len(chunk)
                    if len(file) > MAX_FILE_BYTES:
                        raise web.HTTPRequestEntityTooLarge(MAX_FILE_BYTES, len(file))
                    if self._held_bytes > MAX_HELD_BYTES:
                        raise web.HTTPServiceUnavailable(
                            reason="too many files are being sent at once: try again"
                        )
        except TimeoutError:
            raise web.HTTPRequestTimeout from None
        except web.RequestPayloadError:  # no gzip, say, although it says so
            raise web.HTTPBadRequest(reason="the file did not come whole: send it again") from None


async def _converted(file: bytes) -> bytes:
    """Convert in a thread; cancelled, wait until it has: it keeps the file, and so the place."""
    thread = asyncio.ensure_future(asyncio.to_thread(read_audio, file, sample_rate=SAMPLE_RATE))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        await asyncio.gather(thread, return_exceptions=True)
        raise


def _files() -> dict[str, tuple[bytes, str]]:
    package = files("avatarpool")
    found = page_files("view") | face_files()
    found["/face.svg"] = (face_svg({}).encode(), "image/svg+xml")
    found["/speech.wav"] = (package.joinpath("assets", "speech.wav").read_bytes(), "audio/wav")
    return found


def _file(body: bytes, content_type: str) -> _Handler:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type=content_type)

    return answer


@web.middleware
async def _guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Refuse other sites' pages, and answer failures with one sentence."""
    try:
        if not _is_ours(request):
            return _refusal(403, "this page is for this machine alone: open its own address")
        return await handler(request)
    except web.HTTPRequestEntityTooLarge:
        limit = MAX_FILE_BYTES // 1024 // 1024
        return _refusal(413, f"the file is larger than {limit} MiB: choose a shorter one")
    except web.HTTPException as error:  # no such path, or not with this method
        return _refusal(error.status, error.reason.lower())
    except AvatarPoolError as error:
        status = next(status for kinds, status in _STATUS if isinstance(error, kinds))
        return _refusal(status, str(error))


def _is_ours(request: web.Request) -> bool:
    """Whether no foreign page is behind it, be it by its origin or by a name it points here."""
    try:
        host = urlsplit(f"//{request.host}").hostname
    except ValueError:
        return False
    origin = request.headers.get("Origin")
    return host in _LOOPBACK and origin in (None, f"http://{request.host}")


def _refusal(status: int, sentence: str) -> web.Response:
    return web.json_response({"error": sentence}, status=status)


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
