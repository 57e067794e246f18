"""Speech in, face animation out, over HTTP: the pool in an aiohttp application.

``python main.py``, then ``curl -F file=@speech.wav localhost:8080/animate``.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict

from aiohttp import BodyPartReader, http_exceptions, web

from avatarpool import AvatarConnectionPool, SessionConfig, keyframes_of
from avatarpool.audio import read_audio
from avatarpool.environment import Settings
from avatarpool.exceptions import (
    AudioError,
    AvatarPoolError,
    AvatarSDKError,
    ConfigurationError,
    PoolError,
    RequestTimeout,
)
from avatarpool.service import LocalAvatarService

HOST, PORT = "127.0.0.1", 8080
POOL_SIZE = 3  # WebSocket connections to maintain
MAX_WAITING = 50  # requests that wait for one; more are answered 503 at once
BORROW_TIMEOUT = 10.0  # seconds that a request waits for a connection
REQUEST_TIMEOUT = 45.0  # seconds that it then waits for its last frame
UPLOAD_TIMEOUT = 60.0  # seconds for a whole upload
MAX_BODY_BYTES = 10 * 1024 * 1024
MAX_PARTS = 20  # of a form; each takes time, and nobody else is served meanwhile

# What each failure is answered with; the first that fits.
STATUS = (
    (AudioError, 400),
    (ConfigurationError, 400),  # the file needs an extra that is not installed
    (PoolError, 503),  # no connection came free: try again soon
    (RequestTimeout, 504),
    (AvatarSDKError, 502),  # the avatar service failed, not this one
    (AvatarPoolError, 500),
)

# What aiohttp raises over a body or a form that is not well-formed.
_DAMAGED = (
    web.RequestPayloadError,
    http_exceptions.HttpProcessingError,
    ValueError,
    RuntimeError,
)

routes = web.RouteTableDef()
avatar_pool = web.AppKey("avatar_pool", AvatarConnectionPool)


@routes.post("/animate")
async def animate(request: web.Request) -> web.Response:
    """Animate an upload: a speech file, in a form or as it is, or raw samples.

    Served with ``handler_cancellation``, it is cancelled wherever it is when its client
    leaves, and the connection is somebody else's.
    """
    upload, content_type = await read_upload(request)
    audio = await asyncio.to_thread(read_audio, upload, content_type=content_type)
    async with request.app[avatar_pool].borrow(timeout=BORROW_TIMEOUT) as conn:
        request_id = await conn.session.send_audio(audio, end=True)
        frames = await conn.collector.wait(timeout=REQUEST_TIMEOUT)
    answer: dict[str, object] = {"request_id": request_id, "frames": len(frames)}
    if request.query.get("keyframes") in ("1", "true"):
        answer["keyframes"] = [asdict(keyframe) for keyframe in keyframes_of(frames)]
    return web.json_response(answer)


async def read_upload(request: web.Request) -> tuple[bytes, str]:
    """Return the upload and its content type: the body, or the first file of a form."""
    try:
        async with asyncio.timeout(UPLOAD_TIMEOUT):
            if request.content_type != "multipart/form-data":
                return await request.read(), request.headers.get("Content-Type", "")
            file: tuple[bytes, str] | None = None
            count = 0
            async for part in await request.multipart():
                count += 1
                if count > MAX_PARTS:
                    raise AudioError(f"the form has more than {MAX_PARTS} parts: send one file")
                if file is None and isinstance(part, BodyPartReader) and part.filename:
                    body = await part.read(decode=True)  # as bounded as a whole body
                    file = bytes(body), part.headers.get("Content-Type", "")
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except AudioError:
        raise
    except _DAMAGED as error:
        raise AudioError("the upload is damaged: send it again") from error
    if file is None:
        raise AudioError("the form has no file: send one, as curl -F file=@speech.wav does")
    return file


@routes.get("/stats")
async def stats(request: web.Request) -> web.Response:
    """Show what the pool is doing."""
    return web.json_response(request.app[avatar_pool].get_stats())


@web.middleware
async def errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer what is expected to fail with a status that tells whose turn it is."""
    try:
        return await handler(request)
    except web.HTTPRequestEntityTooLarge:
        return _error(413, f"the audio is larger than {MAX_BODY_BYTES} bytes")
    except web.HTTPException as error:  # no such path, or not with this method
        allow = error.headers.get("Allow")
        return _error(error.status, error.reason, {"Allow": allow} if allow else None)
    except AvatarPoolError as error:
        status = next(status for kind, status in STATUS if isinstance(error, kind))
        return _error(status, error, {"Retry-After": "1"} if status == 503 else None)


def _error(status: int, error: object, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response({"error": str(error)}, status=status, headers=headers)


async def pool_of_application(app: web.Application) -> AsyncIterator[None]:
    """Open the pool when the application starts and close it when it stops."""
    async with AsyncExitStack() as stack:
        settings = read_environment()
        config_factory: Callable[[], SessionConfig] = settings.session_config
        if settings.is_empty:
            print("No AVATAR_* account is set: using a local avatar service.", file=sys.stderr)
            service = await stack.enter_async_context(LocalAvatarService())
            config_factory = service.config_factory
        pool = AvatarConnectionPool(
            pool_size=POOL_SIZE, config_factory=config_factory, max_waiting=MAX_WAITING
        )
        app[avatar_pool] = await stack.enter_async_context(pool)
        yield


def read_environment() -> Settings:
    """Read the service's variables: all of them are set, or none."""
    settings = Settings.read()
    if settings.missing and not settings.is_empty:
        names = ", ".join(settings.missing)
        print(f"These environment variables are missing: {names}", file=sys.stderr)
        sys.exit(2)
    return settings


def create_app() -> web.Application:
    """Put the application together."""
    app = web.Application(middlewares=[errors_as_json], client_max_size=MAX_BODY_BYTES)
    app.add_routes(routes)
    app.cleanup_ctx.append(pool_of_application)
    return app


if __name__ == "__main__":
    try:
        read_environment()  # an incomplete one ends here, before anything starts
        web.run_app(create_app(), host=HOST, port=PORT, handler_cancellation=True)
    except AvatarPoolError as error:
        print(f"The avatar service cannot be used: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)
