"""Speech in, face animation out, over HTTP: the pool in a FastAPI application.

``python main.py``, then ``curl -F file=@speech.wav localhost:8080/animate``.
The lifespan is Starlette's, and works the same without FastAPI.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from typing import TypedDict

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from avatarpool import AvatarConnectionPool, AvatarSession, SessionConfig, keyframes_of
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

# What each failure is answered with; the first that fits.
STATUS = (
    (AudioError, 400),
    (ConfigurationError, 400),  # the file needs an extra that is not installed
    (PoolError, 503),  # no connection came free: try again soon
    (RequestTimeout, 504),
    (AvatarSDKError, 502),  # the avatar service failed, not this one
    (AvatarPoolError, 500),
)


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
            print("No AVATAR_* account is set: using a local avatar service.", file=sys.stderr)
            service = await stack.enter_async_context(LocalAvatarService())
            config_factory = service.config_factory
        pool = AvatarConnectionPool(
            pool_size=POOL_SIZE, config_factory=config_factory, max_waiting=MAX_WAITING
        )
        await stack.enter_async_context(pool)
        yield {"pool": pool}


app = FastAPI(title="avatarpool", lifespan=lifespan)


@app.post("/animate")
async def animate(request: Request, *, keyframes: str = "") -> dict[str, object]:
    """Animate an upload: a speech file, in a form or as it is, or raw samples."""
    upload, content_type = await read_upload(request)
    pool: AvatarConnectionPool = request.state.pool

    async def work() -> dict[str, object]:
        audio = await asyncio.to_thread(read_audio, upload, content_type=content_type)
        async with pool.borrow(timeout=BORROW_TIMEOUT) as conn:
            request_id = await conn.session.send_audio(audio, end=True)
            frames = await conn.collector.wait(timeout=REQUEST_TIMEOUT)
        answer: dict[str, object] = {"request_id": request_id, "frames": len(frames)}
        if keyframes in ("1", "true"):
            answer["keyframes"] = [asdict(keyframe) for keyframe in keyframes_of(frames)]
        return answer

    return await while_connected(request, work())


async def while_connected(
    request: Request, work: Coroutine[object, object, dict[str, object]]
) -> dict[str, object]:
    """Do the work, and cancel it when the client leaves: Starlette would finish it for nobody."""
    working = asyncio.create_task(work)
    # With the body read, the next event is that the client has gone.
    leaving = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def read_upload(request: Request) -> tuple[bytes, str]:
    """Return the upload and its content type: the body, or the file of a form."""
    request = Request(request.scope, bounded(request.receive))
    content_type = request.headers.get("Content-Type", "")
    try:
        async with asyncio.timeout(UPLOAD_TIMEOUT):
            if not content_type.lower().startswith("multipart/form-data"):
                return await request.body(), content_type
            async with request.form(max_files=1) as form:
                for file in form.values():
                    if isinstance(file, UploadFile):
                        return await file.read(), file.content_type or ""
    except TimeoutError:
        raise HTTPException(408) from None
    raise AudioError("the form has no file: send one, as curl -F file=@speech.wav does")


def bounded(receive: Receive) -> Receive:
    """Refuse a body beyond the limit, as soon as it is."""
    received = 0

    async def receive_bounded() -> Message:
        nonlocal received
        event = await receive()
        received += len(event.get("body", b""))
        if received > MAX_BODY_BYTES:
            raise HTTPException(413, f"the audio is larger than {MAX_BODY_BYTES} bytes")
        return event

    return receive_bounded


@app.get("/stats")
async def stats(request: Request) -> dict[str, object]:
    """Show what the pool is doing."""
    pool: AvatarConnectionPool = request.state.pool
    return dict(pool.get_stats())


@app.exception_handler(AvatarPoolError)
async def error_as_json(_request: Request, error: Exception) -> JSONResponse:
    """Answer what is expected to fail with a status that tells whose turn it is."""
    status = next(status for kind, status in STATUS if isinstance(error, kind))
    return JSONResponse(
        {"error": str(error)}, status, {"Retry-After": "1"} if status == 503 else None
    )


@app.exception_handler(ClientDisconnect)
async def nothing_for_nobody(_request: Request, _error: Exception) -> Response:
    """End the request of a client that has left; without this it would be a traceback."""
    return Response(status_code=499)


@app.exception_handler(HTTPException)
async def http_error_as_json(_request: Request, error: HTTPException) -> JSONResponse:
    """Give HTTP's own errors the same shape."""
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


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
