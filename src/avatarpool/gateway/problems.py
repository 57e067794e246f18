"""How a request is refused over HTTP: problem details (RFC 9457) with stable codes."""

from __future__ import annotations

import http
import json
import math
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from avatarpool.endpoint import refusals
from avatarpool.endpoint.guessing import Guesses
from avatarpool.gateway.failures import Failure

CONTENT_TYPE = "application/problem+json"

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refused(Exception):
    """A request that is answered with a problem, and with nothing else.

    Attributes:
        failure: What.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def refused(name: str, status: int, message: str, retry_after: float | None = None) -> Refused:
    """Return a refusal of HTTP's own; its name is one of `openapi.PROBLEMS`."""
    return Refused(Failure(name, message, refusals.INVALID_ARGUMENT, status, retry_after))


UNAUTHORIZED = Failure(
    "unauthorized",
    "a key that the gateway knows is needed: send it as X-Api-Key",
    refusals.UNAUTHENTICATED,
    401,
)
FOREIGN = Failure(
    "foreignOrigin",
    "this host or origin is none of the gateway's: see public_console and allowed_origins",
    refusals.INVALID_ARGUMENT,
    403,
)
AMBIGUOUS = Failure(
    "invalidRequest",
    "a header is there twice that may be there once",
    refusals.INVALID_ARGUMENT,
    400,
)

_BY_STATUS = {
    404: ("notFound", "there is nothing here: see /openapi.json"),
    405: ("methodNotAllowed", "the method is not one that this address takes: see Allow"),
    413: ("bodyTooLarge", "the body is too large"),
}


def details(failure: Failure) -> dict[str, object]:
    """Return what is told of a failure."""
    told: dict[str, object] = {
        "type": f"/openapi.json#/x-problems/{failure.name}",
        "title": http.HTTPStatus(failure.status).phrase,
        "status": failure.status,
        "detail": failure.message,
        "code": failure.name,
    }
    if failure.retry_after is not None:
        told["retry_after"] = round(failure.retry_after, 3)
    return told


def problem(failure: Failure) -> web.Response:
    """Return a failure's answer; after a wrong key, the connection's last."""
    response = web.Response(
        status=failure.status, body=json.dumps(details(failure)).encode(), content_type=CONTENT_TYPE
    )
    response.headers["Cache-Control"] = "no-store"
    if failure.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(failure.retry_after)))
    if failure.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="avatarpool"'
        response.force_close()
    if failure.status == 426:
        response.headers.update({"Upgrade": "websocket", "Sec-WebSocket-Version": "13"})
        response.headers["Connection"] = "Upgrade, close"
    return response


def told_as_problems(refusals_by_code: Counter[str], guesses: Guesses) -> Any:
    """Return the middleware that answers with problems, counts them, and slows guesses down.

    Args:
        refusals_by_code: Where they are counted.
        guesses: Wrong keys, of whatever door.
    """

    @web.middleware
    async def told(request: web.Request, handler: _Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refused as refused:
            failure, headers = refused.failure, {}
        except web.HTTPException as error:
            if error.status not in _BY_STATUS:
                raise
            name, message = _BY_STATUS[error.status]
            failure = Failure(name, message, refusals.INVALID_ARGUMENT, error.status)
            headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        refusals_by_code[failure.name] += 1
        if failure.status == 401:
            await guesses.wrong()
        response = problem(failure)
        response.headers.update(headers)
        return response

    return told


def of_upload(error: Exception, *, is_known: bool) -> Failure:
    """Return what is wrong with audio that was sent.

    Args:
        error: What reading it said.
        is_known: Whether it is of a kind that is read.
    """
    name, status = ("invalidAudio", 400) if is_known else ("unsupportedMediaType", 415)
    return Failure(name, str(error), refusals.INVALID_ARGUMENT, status)
