"""The gateway: one account's sessions for the clients of any language."""

from __future__ import annotations

import asyncio
import logging
import secrets
import ssl
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

from aiohttp import web

from avatarpool.blendshapes import Basis
from avatarpool.endpoint.accepting import HANDSHAKES_SHARE
from avatarpool.endpoint.admission import Admission
from avatarpool.endpoint.console import Console
from avatarpool.endpoint.crowd import places
from avatarpool.endpoint.guessing import Guesses
from avatarpool.endpoint.limits import ServiceLimits
from avatarpool.endpoint.listening import Listener, netloc
from avatarpool.endpoint.refusals import UpgradeRefusal
from avatarpool.endpoint.spent import SpentTokens
from avatarpool.endpoint.tokens import TokenOffice
from avatarpool.exceptions import ConfigurationError
from avatarpool.gateway import doors
from avatarpool.gateway.admin import Administration
from avatarpool.gateway.animations import Animations
from avatarpool.gateway.authentication import Authentication
from avatarpool.gateway.clients import Client, Clients
from avatarpool.gateway.exchange import Exchange
from avatarpool.gateway.forwarding import Forwarding
from avatarpool.gateway.health import Gauged, Health
from avatarpool.gateway.host import Host
from avatarpool.gateway.ingress import Ingress
from avatarpool.gateway.origins import Origins
from avatarpool.gateway.page import Page
from avatarpool.gateway.settings import GatewaySettings
from avatarpool.gateway.snapshot import Snapshot
from avatarpool.gateway.upstream import basis_of, group_of
from avatarpool.gateway.watching import Watching

log = logging.getLogger("avatarpool.gateway")

_SHARE = 0.5  # of the process's files for the clients of each port


class Gateway:
    """Serves official SDKs, host-mode clients and plain HTTP from one group of sessions.

    ::

        async with Gateway(settings) as gateway:
            print(gateway.console_url, gateway.ingress_url)
            await asyncio.Event().wait()

    Args:
        settings: What `reading.read_settings` makes of a file and the environment.
        wall_clock: Unix time in seconds.
        basis: Whose expression coefficients the service's are, where the settings name no file.

    Attributes:
        settings: What is in force.
        group: The account's sessions.
        exchange: Serves clients' requests.
        ingress: The official clients' connections.
        watching: How it has stood in the last minutes.
        host: The host-mode clients'.

    Raises:
        ConfigurationError: The settings cannot work.
    """

    exchange: Exchange
    ingress: Ingress
    watching: Watching
    host: Host

    def __init__(
        self,
        settings: GatewaySettings,
        *,
        wall_clock: Callable[[], float] = time.time,
        basis: Basis | None = None,
    ) -> None:
        self._basis = basis_of(settings) or basis
        self.settings = settings
        self.group = group_of(settings)
        most = _limits(settings).max_sockets
        self.clients = Clients(settings.clients, places(most, _SHARE * (1 - HANDSHAKES_SHARE)))
        self._wall_clock = wall_clock
        self._listener: Listener | None = None
        self._tls: ssl.SSLContext | None = None
        self._console: tuple[str, int] = (settings.listen.host, settings.listen.port)
        self._ingress: tuple[str, int] = (settings.listen.host, settings.listen.ingress_port)
        self._closed: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Gateway {netloc(*self._console)} {self.group!r}>"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Listen; warm sessions are opened in the background. Cancelling leaves nothing behind.

        Raises:
            OSError: An address cannot be listened on.
            ConfigurationError: The certificate, the budget or its store cannot be used.
        """
        settings = self.settings
        tls = self._tls = _tls(settings)
        self.watching = Watching(asyncio.get_running_loop().time)
        self.group.add_listener(self.watching.heard)
        self.exchange = Exchange(
            self.group,
            self.clients,
            self.watching,
            session_timeout=settings.pools.timeout,
            first_frame_timeout=settings.pools.first_frame_timeout,
            request_timeout=settings.pools.request_timeout,
            resends=settings.pools.resend_lost_requests,
        )
        limits = _limits(settings)
        self._admission = Admission(
            self.clients,
            _tokens(settings, limits, self._wall_clock, self.clients),
            self._refuse_avatar,
            max_token_lifetime=settings.tokens.lifetime,
            wall_clock=self._wall_clock,
        )
        self.ingress = Ingress(self._admission, self.exchange, limits, share=_SHARE)
        self._know_the_world()
        self._listener = Listener(
            self._application(limits),
            limits,
            upgraded=self.host.reading,
            tls=tls,
            handler_cancellation=True,
            share=_SHARE,
        )
        try:
            await self.group.initialize(wait=False)
            self._console = await self._listener.start(*self._console)
            self._ingress = await self.ingress.start(*self._ingress, tls)
        except BaseException:
            await self.close()
            raise
        log.info("gateway listens on %s and %s", netloc(*self._console), netloc(*self._ingress))

    def _application(self, limits: ServiceLimits) -> web.Application:
        authentication = Authentication(self.clients, self._admission.tokens, lambda: self.settings)
        guesses, refused = Guesses(), Counter[str]()
        self.host = Host(self.exchange, authentication, limits, self._default_avatar, self._basis)
        self._animations = Animations(self.exchange, authentication, limits, self._basis)
        gauged = Gauged(self._connections, self.ingress.refused, refused)
        self._health = Health(self.exchange, authentication, gauged)
        app = doors.application(
            Console(self._admission, limits.handshake_timeout, guesses),
            lambda: self.ingress.origins,
            guesses=guesses,
            refused=refused,
        )
        doors.routes(
            app,
            uploads=self._animations,
            hosts=self.host,
            health=self._health,
            administration=Administration(self.exchange, authentication, limits.handshake_timeout),
            page=Page(self._snapshot, authentication),
        )
        return app

    def _snapshot(self) -> Snapshot:
        is_paused = self.exchange.is_paused
        return self.watching.snapshot(self.group, self.clients, is_paused=is_paused)

    def _connections(self) -> dict[str, int]:
        return {"sdk": len(self.ingress.roster), "host": len(self.host.connections)}

    def _default_avatar(self, client: Client) -> str:
        """Return the avatar of who names none: the client's first, or the first that is warm."""
        warm = [each.avatar for each in self.settings.pools.warm]
        return next(filter(client.allows, (*client.limits.avatars, *warm)), "")

    async def close(self) -> None:
        """Refuse new work, wait for requests under way within ``shutdown_timeout``, and end.

        A second call waits for the first; cancelling one cuts what is under way.
        """
        if self._closed is None:
            self._closed = asyncio.create_task(self._close())
        try:
            await asyncio.shield(self._closed)
        except asyncio.CancelledError:
            if self._listener is not None:
                await self.exchange.close()
            await self._closed
            raise

    async def _close(self) -> None:
        if self._listener is not None:
            self._admission.is_closing = True
            await self.exchange.drain(self.settings.listen.shutdown_timeout)
            await self.exchange.close()
            await self.ingress.close()
            await self.host.close()
            await self._listener.close()
            self._animations.close()
            self._health.close()
        await self.group.close()

    def reload(self, settings: GatewaySettings) -> None:
        """Take over what can be changed while it runs: see `changes.changed`.

        A certificate that was renewed in its place is read again, for new connections. One that
        is there no more stays in use, and the log says so: it may have gone elsewhere, which is
        for a restart.

        Raises:
            ConfigurationError: The certificate cannot be used, or the budget would leave no
                session beside the warm ones; nothing is changed.
        """
        if self._tls is not None and settings.listen.tls_certificate is not None:
            _renew_certificate(self._tls, settings)
        if settings.budget.sessions != self.settings.budget.sessions:
            self.group.resize(settings.budget.sessions)
        gone = self.clients.replace(settings.clients)
        self.exchange.queue.reconsider([*self.clients, *gone])
        if settings.tokens.secrets != self.settings.tokens.secrets:  # else a random one stays
            self._admission.tokens.secrets = _secrets(settings)
        self._admission.max_token_lifetime = settings.tokens.lifetime
        self.exchange.resends = settings.pools.resend_lost_requests
        self.settings = settings
        self._know_the_world()

    def _know_the_world(self) -> None:
        """Tell the ingress by which names it is known, and through whom it is reached."""
        listen = self.settings.listen
        public = [listen.public_console or "", listen.public_ingress or ""]
        self.ingress.origins = Origins(listen.host, public, listen.allowed_origins)
        self.ingress.forwarding = Forwarding(listen.trusted_proxies)

    # --- where it is ----------------------------------------------------------------------

    @property
    def console_url(self) -> str:
        """Base URL for session tokens, as clients take it."""
        return self.settings.listen.public_console or f"{self._base_url}/v1/console"

    @property
    def ingress_url(self) -> str:
        """Base URL of the WebSocket, as clients take it."""
        scheme = "wss" if self._is_secure else "ws"
        own = f"{scheme}://{netloc(*self._ingress)}/v2/driveningress"
        return self.settings.listen.public_ingress or own

    @property
    def page_url(self) -> str:
        """The live page."""
        return f"{self._base_url}/"

    @property
    def _base_url(self) -> str:
        return f"{'https' if self._is_secure else 'http'}://{netloc(*self._console)}"

    @property
    def _is_secure(self) -> bool:
        return self.settings.listen.tls_certificate is not None

    def _refuse_avatar(self, client: Client, avatar_id: str) -> UpgradeRefusal | None:
        return self.exchange.refuse_avatar(client, avatar_id)


def _tls(settings: GatewaySettings) -> ssl.SSLContext | None:
    if settings.listen.tls_certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _load_certificate(context, settings)
    return context


def _renew_certificate(context: ssl.SSLContext, settings: GatewaySettings) -> None:
    listen = settings.listen
    gone = [file for file in (listen.tls_certificate, listen.tls_key) if file and not file.exists()]
    if gone:
        log.warning("the certificate in use stays: there is no %s any more", gone[0])
        return
    # A key that does not fit would leave the context with a certificate alone, so another is tried.
    _load_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), settings)
    _load_certificate(context, settings)


def _load_certificate(context: ssl.SSLContext, settings: GatewaySettings) -> None:
    listen = settings.listen
    assert listen.tls_certificate is not None
    try:
        context.load_cert_chain(listen.tls_certificate, listen.tls_key)
    except OSError as error:
        why = f"listen.tls_certificate {str(listen.tls_certificate)!r} cannot be used: {error}"
        raise ConfigurationError("the gateway cannot work", [why]) from None


def _limits(settings: GatewaySettings) -> ServiceLimits:
    listen = settings.listen
    return ServiceLimits(
        idle_timeout=listen.idle_timeout,
        max_session_duration=listen.max_duration,
        max_token_lifetime=settings.tokens.lifetime,
    )


def _tokens(
    settings: GatewaySettings,
    limits: ServiceLimits,
    wall_clock: Callable[[], float],
    clients: Clients,
) -> TokenOffice:
    spent = SpentTokens(limits.max_used_tokens) if settings.tokens.single_use else None
    return TokenOffice(
        wall_clock, spent, secrets=_secrets(settings), fingerprint=clients.fingerprint
    )


def _secrets(settings: GatewaySettings) -> list[bytes]:
    given = [secret.get_secret_value().encode() for secret in settings.tokens.secrets]
    return given or [secrets.token_bytes(32)]
