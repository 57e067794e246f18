"""Speech in, face animation out, over HTTP: the pool in a FastAPI application.

``python main.py``, then ``curl --data-binary @speech.wav localhost:8080/animate``.
The lifespan is Starlette's, and works the same without FastAPI.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from typing import TypedDict

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from avatarpool import AvatarConnectionPool, AvatarSession, SessionConfig
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


class State(TypedDict):
    """What the lifespan gives to every request."""

    pool: AvatarConnectionPool


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
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
        await stack.enter_async_context(pool)
        yield {"pool": pool}


app = FastAPI(title="avatarpool", lifespan=lifespan)


@app.post("/animate")
async def animate(request: Request, *, keyframes: str = "") -> dict[str, object]:
    """Animate a WAV file, or raw 16 kHz PCM sent as ``Content-Type: audio/pcm``."""
    audio = await read_body(request)
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "audio/pcm":
        audio = await asyncio.to_thread(read_file, audio)
    pool: AvatarConnectionPool = request.state.pool
    async with pool.borrow(timeout=BORROW_TIMEOUT) as conn:
        request_id = await conn.session.send_audio(audio, end=True)
        frames = await conn.collector.wait(timeout=REQUEST_TIMEOUT)
    answer: dict[str, object] = {"request_id": request_id, "frames": len(frames)}
    if keyframes in ("1", "true"):
        answer["keyframes"] = [asdict(k) for frame in frames for k in frame.keyframes]
    return answer


def read_file(body: bytes) -> bytes:
    """Convert an audio file to what the sessions take."""
    try:
        return read_audio(body)
    except AudioError as error:
        raise AudioError(f"{error} (raw 16 kHz mono PCM needs Content-Type: audio/pcm)") from error


@app.get("/stats")
async def stats(request: Request) -> dict[str, object]:
    """Show what the pool is doing."""
    pool: AvatarConnectionPool = request.state.pool
    return dict(pool.get_stats())


@app.exception_handler(AvatarPoolError)
async def error_as_json(_request: Request, error: Exception) -> JSONResponse:
    """Answer what is expected to fail with a status that tells whose turn it is."""
    headers = {}
    if isinstance(error, AudioError):
        status = 400
    elif isinstance(error, PoolError):  # no connection came free: try again soon
        status, headers = 503, {"Retry-After": "1"}
    elif isinstance(error, RequestTimeout):
        status = 504
    elif isinstance(error, AvatarSDKError):  # the avatar service failed, not this one
        status = 502
    else:
        status = 500
    return JSONResponse({"error": str(error)}, status, headers)


@app.exception_handler(HTTPException)
async def http_error_as_json(_request: Request, error: HTTPException) -> JSONResponse:
    """Give HTTP's own errors the same shape."""
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def read_body(request: Request) -> bytes:
    """Read the request's body, up to the limit."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"the audio is larger than {MAX_BODY_BYTES} bytes")
    return bytes(body)


def read_environment() -> Settings:
    """Read the service's variables: all of them are set, or none."""
    settings = Settings.read()
    if settings.missing and not settings.is_empty:
        names = ", ".join(settings.missing)
        print(f"These environment variables are missing: {names}", file=sys.stderr)
        sys.exit(2)
    return settings


async def check_service() -> None:
    """Open one session, if the environment names a service: it may not let us.

    The lifespan would find out as well, but uvicorn shows what it raises as a traceback.
    """
    settings = read_environment()  # an incomplete one ends here
    if not settings.is_empty:
        async with AvatarSession(settings.session_config()):
            pass


if __name__ == "__main__":
    try:
        asyncio.run(check_service())
    except AvatarPoolError as error:
        print(f"The avatar service cannot be used: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)
    uvicorn.run(app, host=HOST, port=PORT)
