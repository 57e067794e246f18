"""Faults over HTTP, for tests in other languages; there only where it was asked for."""

from __future__ import annotations

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from avatarpool.endpoint.accounts import Accounts
from avatarpool.service.faults import Faults

ROUTE = "/admin/faults"

_FAULTS: TypeAdapter[Faults] = TypeAdapter(Faults)


class Admin:
    """Shows and sets a service's faults.

    ``GET`` shows them, ``PUT`` replaces all of them, ``DELETE`` takes them back.
    Bytes are base64. Whoever asks must have the key of an account, as for a token.

    Args:
        accounts: Who may ask.
        faults: What to change.
    """

    def __init__(self, accounts: Accounts, faults: Faults) -> None:
        self._accounts = accounts
        self._faults = faults

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        if self._accounts.by_api_key(request.headers.get("X-Api-Key", "")) is None:
            return web.json_response({"error": "X-Api-Key is no key of this service"}, status=401)
        if request.method == "PUT":
            try:
                faults = _FAULTS.validate_json(await request.read())
            except ValidationError as error:
                return web.json_response({"error": _sentence(error)}, status=400)
            self._faults.become(faults)
        elif request.method == "DELETE":
            self._faults.become(Faults())
        return web.Response(body=_FAULTS.dump_json(self._faults), content_type="application/json")


def _sentence(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or 'the body'}: {problem['msg'].lower()}"
        for problem in error.errors(include_url=False, include_input=False)
    )
