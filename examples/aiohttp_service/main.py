"""Speech in, face animation out, over HTTP: the pool in an aiohttp application.

``python main.py``, then ``curl -F file=@speech.wav localhost:8080/animate``.
"""

from __future__ import annotations

import asyncio
import io
import sys
import wave
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict
from email.message import Message

from aiohttp import BodyPartReader, http_exceptions, web

from avatarpool import AudioFormat, AvatarConnectionPool, SessionConfig
from avatarpool.audio import check_audio, read_audio
from avatarpool.environment import VARIABLES, Settings
from avatarpool.exceptions import (
    AudioError,
    AvatarPoolError,
    AvatarSDKError,
    ConfigurationError,
    PoolError,
    RequestTimeout,
)
from avatarpool.protocol.settings import DEFAULT_SAMPLE_RATE, PCM_SAMPLE_RATES
from avatarpool.service import LocalAvatarService

HOST, PORT = "127.0.0.1", 8080
POOL_SIZE = 3  # WebSocket connections to maintain
MAX_WAITING = 50  # requests that wait for one; more are answered 503 at once
BORROW_TIMEOUT = 10.0  # seconds that a request waits for a connection
REQUEST_TIMEOUT = 45.0  # seconds that it then waits for its last frame
UPLOAD_TIMEOUT = 60.0  # seconds for a whole upload
MAX_BODY_BYTES = 10 * 1024 * 1024

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
    audio = await asyncio.to_thread(to_speech, *await read_upload(request))
    async with request.app[avatar_pool].borrow(timeout=BORROW_TIMEOUT) as conn:
        request_id = await conn.session.send_audio(audio, end=True)
        frames = await conn.collector.wait(timeout=REQUEST_TIMEOUT)
    answer: dict[str, object] = {"request_id": request_id, "frames": len(frames)}
    if request.query.get("keyframes") in ("1", "true"):
        answer["keyframes"] = [asdict(k) for frame in frames for k in frame.keyframes]
    return web.json_response(answer)


async def read_upload(request: web.Request) -> tuple[bytes, str]:
    """Return the upload and its content type: the body, or the first file of a form."""
    try:
        async with asyncio.timeout(UPLOAD_TIMEOUT):
            if request.content_type != "multipart/form-data":
                return await request.read(), request.headers.get("Content-Type", "")
            file: tuple[bytes, str] | None = None
            async for part in await request.multipart():
                if file is None and isinstance(part, BodyPartReader) and part.filename:
                    body = await part.read(decode=True)  # as bounded as a whole body
                    file = bytes(body), part.headers.get("Content-Type", "")
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except _DAMAGED as error:
        raise AudioError("the upload is damaged: send it again") from error
    if file is None:
        raise AudioError("the form has no file: send one, as curl -F file=@speech.wav does")
    return file


def to_speech(body: bytes, content_type: str) -> bytes:
    """Convert an upload to what the sessions take; call it in a thread, for it blocks."""
    if not body:
        raise AudioError("the upload is empty: send a speech file")
    header = Message()
    header["Content-Type"] = content_type
    kind = header.get_content_type()
    if kind not in ("audio/pcm", "audio/l16"):
        try:
            return read_audio(body)
        except AudioError as error:
            raw = f"raw 16-bit mono PCM needs Content-Type: audio/pcm;rate={DEFAULT_SAMPLE_RATE}"
            raise AudioError(f"{error} ({raw})") from error
    rates = {str(rate): rate for rate in PCM_SAMPLE_RATES}
    rate = rates.get(str(header.get_param("rate", DEFAULT_SAMPLE_RATE)))
    if rate is None or str(header.get_param("channels", 1)) != "1":
        raise AudioError(f"raw PCM must be mono, at a rate of {', '.join(rates)} Hz")
    check_audio(body, AudioFormat.PCM_S16LE, is_first=True)
    samples = array("h", body)
    if (kind == "audio/l16") is (sys.byteorder == "little"):  # it is big-endian (RFC 2586)
        samples.byteswap()
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(rate)
        wav.writeframes(samples.tobytes())
    return read_audio(file.getvalue())


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
