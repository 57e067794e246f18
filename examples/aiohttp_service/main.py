"""Speech in, face animation out, over HTTP: the pool in an aiohttp application.

``python main.py``, then ``curl --data-binary @speech.wav localhost:8080/animate``.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict

from aiohttp import web

from avatarpool import AvatarConnectionPool, SessionConfig
from avatarpool.audio import read_audio
from avatarpool.environment import VARIABLES, Settings
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
BORROW_TIMEOUT = 10.0  # seconds that a request waits for a connection
REQUEST_TIMEOUT = 45.0  # seconds that it then waits for its last frame
MAX_BODY_BYTES = 10 * 1024 * 1024

# What each failure is answered with; the first that fits.
STATUS = (
    (AudioError, 400),
    (PoolError, 503),  # no connection came free: try again soon
    (RequestTimeout, 504),
    (AvatarSDKError, 502),  # the avatar service failed, not this one
    (AvatarPoolError, 500),
)

routes = web.RouteTableDef()
avatar_pool = web.AppKey("avatar_pool", AvatarConnectionPool)


@routes.post("/animate")
async def animate(request: web.Request) -> web.Response:
    """Animate a WAV file, or raw 16 kHz PCM sent as ``Content-Type: audio/pcm``."""
    audio = await request.read()
    if request.content_type != "audio/pcm":
        audio = await asyncio.to_thread(read_file, audio)
    async with request.app[avatar_pool].borrow(timeout=BORROW_TIMEOUT) as conn:
        request_id = await conn.session.send_audio(audio, end=True)
        frames = await conn.collector.wait(timeout=REQUEST_TIMEOUT)
    answer: dict[str, object] = {"request_id": request_id, "frames": len(frames)}
    if request.query.get("keyframes") in ("1", "true"):
        answer["keyframes"] = [asdict(k) for frame in frames for k in frame.keyframes]
    return web.json_response(answer)


def read_file(body: bytes) -> bytes:
    """Convert an audio file to what the sessions take."""
    try:
        return read_audio(body)
    except AudioError as error:
        raise AudioError(f"{error} (raw 16 kHz mono PCM needs Content-Type: audio/pcm)") from error


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
            names = ", ".join(VARIABLES)
            print(f"None of {names} is set: using a local avatar service.", file=sys.stderr)
            service = await stack.enter_async_context(LocalAvatarService())
            config_factory = service.config_factory
        pool = AvatarConnectionPool(pool_size=POOL_SIZE, config_factory=config_factory)
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
        web.run_app(create_app(), host=HOST, port=PORT)
    except AvatarPoolError as error:
        print(f"The avatar service cannot be used: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)
