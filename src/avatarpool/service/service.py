"""The local avatar service as one object: start it, point clients at it, close it."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from aiohttp import web

from avatarpool.config import SessionConfig
from avatarpool.endpoint import http
from avatarpool.endpoint.admission import Admission
from avatarpool.endpoint.console import Console
from avatarpool.endpoint.counters import ServiceCounters
from avatarpool.endpoint.limits import ServiceLimits
from avatarpool.endpoint.listening import Listener, netloc
from avatarpool.endpoint.roster import Roster
from avatarpool.exceptions import ConfigurationError
from avatarpool.lipsync import DriverFactory, default_driver, load_default_driver
from avatarpool.service.doors import FaultyDoors
from avatarpool.service.faults import Faults
from avatarpool.service.ingress import Ingress
from avatarpool.service.session import Workshop
from avatarpool.service.workers import Workers

log = logging.getLogger("avatarpool.service")

_CONSOLE_PATH = http.CONSOLE_ROUTES[0].rsplit("/", 1)[0]
_INGRESS_PATH = http.INGRESS_ROUTE.rsplit("/", 1)[0]


class LocalAvatarService:
    """Console, ingress and lip-sync on one port of this machine.

    An async context manager::

        async with LocalAvatarService() as service:
            pool = AvatarConnectionPool(config_factory=service.config_factory)

    It starts and closes once. Audio is animated in worker threads, never on
    the event loop.

    Args:
        host: Address to listen on; loopback unless told otherwise.
        port: Port to listen on; 0 takes a free one.
        limits: Everything that is bounded.
        api_key: Key for the console; a random one by default, never shown.
        app_id: The application that the key belongs to.
        avatar_ids: The avatars there are, one at least.
        other_apps: Further applications, ``{app_id: api_key}``; each has its
            own credits and its own slots.
        seed: Decides blinks and head motion; the same audio and seed give the
            same frames.
        driver: Makes the driver of each request, in one of the worker threads;
            by default the trained one.
        workers: Threads that animate. With one, requests take turns, 160 ms of
            audio each; more help where a driver lets go of Python's lock.
        wall_clock: Unix time in seconds, for the expiry of tokens.
        faults: What to get wrong; may be changed while it runs.
        has_admin: Whether faults can be set over HTTP too, with ``api_key`` and with no
            other application's: ``GET``, ``PUT`` and ``DELETE`` of `admin_url`.

    Raises:
        ConfigurationError: The options cannot work together.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: ServiceLimits | None = None,
        api_key: str | None = None,
        app_id: str = "local-app",
        avatar_ids: Sequence[str] = ("local-avatar",),
        other_apps: Mapping[str, str] | None = None,
        seed: int = 0,
        driver: DriverFactory = default_driver,
        workers: int = 1,
        wall_clock: Callable[[], float] = time.time,
        faults: Faults | None = None,
        has_admin: bool = False,
    ) -> None:
        self.app_id = app_id
        self.avatar_ids = tuple(avatar_ids)
        self.limits = limits or ServiceLimits()
        self.faults = faults or Faults()
        self._has_admin = has_admin
        self._host = host
        self._port = port  # the real one once started
        self._api_key = secrets.token_urlsafe(24) if api_key is None else api_key
        keys = {**(other_apps or {}), app_id: self._api_key}
        _check(keys, self.avatar_ids, workers)
        self._admission = Admission.local(keys, self.avatar_ids, self.limits, wall_clock=wall_clock)
        self._driver = driver
        self._seed = seed
        self._worker_count = workers
        self._workers: Workers | None = None
        self._listener: Listener | None = None
        self._ingress: Ingress | None = None
        self._doors: FaultyDoors | None = None
        self._was_started = False
        self._closing = asyncio.Lock()  # a second close() waits for the first

    def __repr__(self) -> str:
        counters = self.counters
        state = "listening" if self._listener else "closed" if self._was_started else "new"
        return (
            f"<LocalAvatarService {self._netloc} {state}, {counters.connections_open} "
            f"connections, {counters.requests_open} requests>"
        )

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
        """Listen; cancelling leaves nothing behind.

        Raises:
            OSError: The address cannot be listened on, or the lips cannot be loaded.
            RuntimeError: It was started before.
        """
        if self._was_started:
            raise RuntimeError(f"{self!r} was started before: make a new one")
        self._was_started = True
        self._workers = Workers(self._worker_count)
        workshop = Workshop(self.limits, self._workers, self._driver, self._seed)
        self._ingress = Ingress(self._admission, workshop)
        console = Console(self._admission, self.limits.handshake_timeout)
        self._doors = FaultyDoors(self.faults, console.handle, self._ingress.handle)
        self._listener = Listener(
            self._application(self._doors), self.limits, upgraded=self._ingress.reading
        )
        try:
            await self._load_driver()  # before the first request asks for it
            self._host, self._port = await self._listener.start(self._host, self._port)
        except BaseException:
            await self.close()
            raise
        log.info("avatar service listens on %s", self._netloc)

    async def close(self) -> None:
        """End all sessions (close code 1001) and stop listening, in bounded time.

        A second call waits for the first.
        """
        async with self._closing:
            listener, self._listener = self._listener, None
            if listener is not None:
                await self._close(listener)

    async def _close(self, listener: Listener) -> None:
        try:
            listener.stop()
            self._admission.is_closing = True
            if self._doors is not None:
                self._doors.close()
            if self._ingress is not None:
                await self._ingress.close()
        finally:
            try:
                await listener.close()
            finally:
                if self._workers is not None:
                    # A step under way is 160 ms of audio at most: milliseconds.
                    self._workers.close()
        log.info("avatar service on %s closed", self._netloc)

    @property
    def counters(self) -> ServiceCounters:
        """What it has done so far."""
        roster = self._ingress.roster if self._ingress is not None else Roster()
        return ServiceCounters.of(self._admission, roster)

    @property
    def console_url(self) -> str:
        """Base URL for session tokens, as the clients take it."""
        return f"http://{self._netloc}{_CONSOLE_PATH}"

    @property
    def ingress_url(self) -> str:
        """Base URL of the WebSocket, as the clients take it."""
        return f"ws://{self._netloc}{_INGRESS_PATH}"

    @property
    def admin_url(self) -> str:
        """Where faults are set, if the service has that."""
        return f"http://{self._netloc}/admin/faults"

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that point a program here; holds the API key."""
        return {
            "AVATAR_API_KEY": self._api_key,
            "AVATAR_APP_ID": self.app_id,
            "AVATAR_CONSOLE_ENDPOINT": self.console_url,
            "AVATAR_INGRESS_ENDPOINT": self.ingress_url,
            "AVATAR_SESSION_AVATAR_ID": self.avatar_ids[0],
        }

    def config_factory(self, collector: object = None, **overrides: object) -> SessionConfig:
        """Return a configuration that opens a session here.

        Args:
            collector: Ignored: whoever opens the session wires its callbacks.
            overrides: Fields of `SessionConfig` to set otherwise.
        """
        del collector
        fields: dict[str, object] = {
            "api_key": self._api_key,
            "app_id": self.app_id,
            "avatar_id": self.avatar_ids[0],
            "console_endpoint_url": self.console_url,
            "ingress_endpoint_url": self.ingress_url,
        }
        return SessionConfig(**(fields | overrides))  # type: ignore[arg-type]

    def top_up(self, seconds: float, app_id: str | None = None) -> None:
        """Give an application more credits, in seconds of audio.

        Raises:
            KeyError: There is no such application.
        """
        account = self._admission.accounts.by_app_id(app_id or self.app_id)
        if account is None:
            raise KeyError(app_id)
        account.top_up(seconds)

    @property
    def _netloc(self) -> str:
        return netloc(self._host, self._port)

    async def _load_driver(self) -> None:
        if self._driver is not default_driver:
            return
        assert self._workers is not None
        try:
            await self._workers.run(load_default_driver, is_first=True)
        except Exception as error:
            raise OSError(f"the lips cannot be loaded: {error}") from error

    def _application(self, doors: FaultyDoors) -> web.Application:
        is_local = self._host in ("127.0.0.1", "::1", "localhost")
        application = web.Application(
            client_max_size=self.limits.max_token_request_bytes,
            middlewares=[http.local_pages_only] if is_local else [],
        )
        for route in http.CONSOLE_ROUTES:
            application.router.add_post(route, doors.console)
        application.router.add_get(http.INGRESS_ROUTE, doors.ingress)
        if self._has_admin:
            from avatarpool.service import admin  # noqa: PLC0415  # pydantic, which few need

            operator = self._admission.accounts.by_app_id(self.app_id)
            assert operator is not None
            managed = admin.Admin(operator, self.faults, self.limits.handshake_timeout)
            application.router.add_route("*", admin.ROUTE, managed.handle)
        return application


def _check(keys: Mapping[str, str], avatar_ids: Sequence[str], workers: int) -> None:
    problems = []
    if not all(keys) or not all(keys.values()):
        problems.append("an app id or an API key is empty")
    if len(set(keys.values())) < len(keys):
        problems.append("two applications have the same API key")
    if not avatar_ids or not all(avatar_ids):
        problems.append("avatar_ids is empty, or one of them is")
    if workers < 1:
        problems.append(f"workers {workers} is below 1")
    if problems:
        raise ConfigurationError("the local avatar service cannot work", problems)
