"""Whose request it is: a client by its key or a session token, or the gateway's administrator."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from aiohttp import web

from avatarpool.endpoint.tokens import TokenOffice, TokenRefused
from avatarpool.gateway import keys, problems
from avatarpool.gateway.clients import Client, Clients
from avatarpool.gateway.problems import Refused
from avatarpool.gateway.settings import GatewaySettings

SUBPROTOCOL = "avatarpool"
"""What a page offers beside ``avatarpool.<its key or token>``, and gets."""


class Authentication:
    """Finds out whose a request is.

    Args:
        clients: Who may ask.
        tokens: What the console gives them for their keys.
        settings: Those in force.
    """

    def __init__(
        self, clients: Clients, tokens: TokenOffice, settings: Callable[[], GatewaySettings]
    ) -> None:
        self._clients = clients
        self._tokens = tokens
        self._settings = settings

    # --- clients ------------------------------------------------------------------------------

    def client(self, request: web.Request, *, is_page: bool = False) -> Client:
        """Return the client that a request comes of.

        Args:
            request: With a key or a session token as ``X-Api-Key`` or ``Authorization: Bearer``.
            is_page: Whether it may be in the query or a subprotocol as well: a browser's
                WebSocket has no headers.

        Raises:
            Refused: It is nobody's, or says so in two ways.
        """
        given = set(_in_headers(request))
        if is_page:
            given.update(_in_url(request))
        if len(given) > 1:
            raise problems.refused("invalidRequest", 400, "the request has several credentials")
        found = self._owner(given.pop()) if given else None
        if found is None:
            raise Refused(problems.UNAUTHORIZED)
        return found

    def _owner(self, secret: str) -> Client | None:
        client = self._clients.by_api_key(secret)
        if client is not None:
            return client
        try:
            token = self._tokens.redeem(secret)
        except TokenRefused:
            return None
        return self._clients.by_app_id(token.app_id)

    # --- the administrator --------------------------------------------------------------------

    @property
    def has_admin_key(self) -> bool:
        """Whether there is a key for what the gateway's administrator may do."""
        return self._settings().admin.key_hash is not None

    def may_administer(self, request: web.Request) -> bool:
        """Whether a request has the admin key."""
        hashed = self._settings().admin.key_hash
        given = set(_in_headers(request))
        return hashed is not None and len(given) == 1 and keys.matches(given.pop(), hashed)

    def may_look(self, request: web.Request) -> bool:
        """Whether a request may see page and metrics: it is of this machine, or has the admin key.

        What is reached through something else is for this machine no more, wherever it listens.
        """
        listen = self._settings().listen
        is_local = listen.is_loopback and not (listen.public_console or listen.trusted_proxies)
        return is_local or self.may_administer(request)

    def check_looks(self, request: web.Request) -> None:
        """Have only those go on who may look.

        Raises:
            Refused: This one may not.
        """
        if self.may_look(request):
            return
        if self.has_admin_key:
            raise problems.refused(
                "unauthorized", 401, "the admin key is needed from here: send it as X-Api-Key"
            )
        raise problems.refused(
            "adminOff", 404, "this is for the gateway's own machine: give it an admin key"
        )

    def check_administers(self, request: web.Request) -> None:
        """Have only the administrator go on.

        Raises:
            Refused: This is somebody else.
        """
        if not self.has_admin_key:
            raise problems.refused(
                "adminOff", 404, "there is no admin key: set key_hash in the section [admin]"
            )
        if not self.may_administer(request):
            raise problems.refused(
                "unauthorized", 401, "the admin key is needed: send it as X-Api-Key"
            )


def _in_headers(request: web.Request) -> Iterator[str]:
    yield from filter(None, request.headers.getall("X-Api-Key", ()))
    for value in request.headers.getall("Authorization", ()):
        scheme, _, secret = value.partition(" ")
        if scheme.lower() == "bearer" and secret.strip():
            yield secret.strip()


def _in_url(request: web.Request) -> Iterator[str]:
    for name in ("api_key", "token"):
        yield from filter(None, request.query.getall(name, ()))
    for value in request.headers.getall("Sec-WebSocket-Protocol", ()):
        for offered in value.split(","):
            name, _, secret = offered.strip().partition(".")
            if name == SUBPROTOCOL and secret:
                yield secret
