"""Faults over HTTP, for tests in other languages; there only where it was asked for."""

from __future__ import annotations

import asyncio

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from avatarpool.endpoint.accounts import Account
from avatarpool.service.faults import Faults

ROUTE = "/admin/faults"

_FAULTS: TypeAdapter[Faults] = TypeAdapter(Faults)


class Admin:
    """Shows and sets a service's faults.

    ``GET`` shows them, ``PUT`` replaces all of them, ``DELETE`` takes them back.
    Bytes are base64. Whoever asks must be the service's operator, and no other tenant.

    Args:
        operator: Whose key it takes.
        faults: What to change.
        body_timeout: Seconds for a body.
    """

    def __init__(self, operator: Account, faults: Faults, body_timeout: float) -> None:
        self._operator = operator
        self._faults = faults
        self._body_timeout = body_timeout

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        if not self._operator.has_key(request.headers.get("X-Api-Key", "")):
            return _refused(401, "X-Api-Key is not the key of this service's operator")
        if request.method == "PUT":
            try:
                async with asyncio.timeout(self._body_timeout):
                    faults = _FAULTS.validate_json(await request.read())
            except ValidationError as error:
                return _refused(400, _sentence(error))
            except (TimeoutError, ConnectionError):
                return _refused(400, "the body did not arrive")
            self._faults.become(faults)
        elif request.method == "DELETE":
            self._faults.become(Faults())
        return web.Response(body=_FAULTS.dump_json(self._faults), content_type="application/json")


def _refused(status: int, why: str) -> web.Response:
    return web.json_response({"error": why}, status=status)


def _sentence(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or 'the body'}: {problem['msg'].lower()}"
        for problem in error.errors(include_url=False, include_input=False)
    )
