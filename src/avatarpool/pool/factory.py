"""Makes the pool's sessions, ours or a vendor's, from what the user's factory gives."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import datetime, timedelta, timezone
from functools import cached_property
from typing import cast

from avatarpool.client.console import ConsoleClient
from avatarpool.client.session import AvatarSession, new_avatar_session
from avatarpool.client.vendors import ForeignSession
from avatarpool.client.wiring import Nowhere
from avatarpool.config import SessionConfig
from avatarpool.exceptions import AvatarPoolError, ConfigurationError, PoolError
from avatarpool.pool.collector import AnimationCollector
from avatarpool.pool.connection import Connection, PoolableSession
from avatarpool.protocol.refusals import connection_closed
from avatarpool.untrusted import awaited, secrets_in, words

Given = SessionConfig | Mapping[str, object]

log = logging.getLogger("avatarpool.pool")

ConfigFactory = (
    Callable[[AnimationCollector], Given | Awaitable[Given]]
    | Callable[[], Given | Awaitable[Given]]
)


_FACTORY_TIMEOUT = 30.0  # seconds; it may ask a vault


class SessionMaker:
    """Opens sessions over one shared token client.

    Args:
        config_factory: The user's: a configuration per session.
        session_factory: `new_avatar_session`, ours or an official SDK's.
        token_ttl: Lifetime of a token whose configuration does not say.
    """

    def __init__(
        self,
        config_factory: ConfigFactory,
        session_factory: Callable[..., object],
        token_ttl: timedelta,
    ) -> None:
        self.console = ConsoleClient(token_ttl)
        self._config_factory = config_factory
        self._session_factory = session_factory
        self._token_ttl = token_ttl

    async def rehearse(self, connection: Connection) -> None:
        """Make a session that is never opened: it shows whether the configuration can work.

        Raises:
            ConfigurationError: It cannot.
        """
        try:
            await self._new_session(connection)
        except ConfigurationError:
            raise
        except Exception as error:  # noqa: BLE001  # it may be another one next time
            said = str(error) if isinstance(error, AvatarPoolError) else words(error)
            log.warning("config_factory or session_factory failed: %s", said)

    async def open(self, connection: Connection) -> None:
        """Open a session for a connection, or leave nothing behind.

        Raises:
            AvatarSDKError: The service refused, failed or was not reached.
            ConfigurationError: The configuration cannot work.
        """
        connection.session = session = await self._new_session(connection)
        try:
            await session.init()
            await session.start()
            if not session.is_open:
                raise await session.ending() or connection_closed(
                    None, "as soon as it was open", phase="websocket_runtime"
                )
        except BaseException:
            await session.close()
            raise

    async def _new_session(self, connection: Connection) -> PoolableSession:
        wiring = AnimationCollector()
        limit = asyncio.timeout(_FACTORY_TIMEOUT)
        try:
            async with limit:
                given = await awaited(self._ask_factory(wiring))
        except AvatarPoolError:
            raise
        except Exception as error:
            late = f"no end within {_FACTORY_TIMEOUT:.2f} s"
            reason = late if limit.expired() else words(error)
            raise PoolError(f"config_factory failed: {reason}") from error
        if self._session_factory is not new_avatar_session:
            options = dict(_as_mapping(given))
            options.setdefault("expire_at", datetime.now(timezone.utc) + self._token_ttl)
            try:
                return ForeignSession(self._session_factory, options, wiring, connection)
            except AvatarPoolError:
                raise
            except Exception as error:
                what = words(error, secrets_in(options))
                raise PoolError(f"session_factory failed: {what}") from error
        wiring.sink = Nowhere()  # what the user's callbacks pass on, we know already
        config = _without_wiring(_as_config(given), wiring)
        return AvatarSession(config, console=self.console, observer=connection)

    async def _ask_factory(self, wiring: AnimationCollector) -> Given:
        factory = self._config_factory
        if self._is_collectors:
            given = cast("Callable[[AnimationCollector], Given]", factory)(wiring)
        else:
            given = cast("Callable[[], Given]", factory)()
        return await given if inspect.isawaitable(given) else given

    @cached_property
    def _is_collectors(self) -> bool:
        return takes_collector(self._config_factory)


def takes_collector(config_factory: Callable[..., object]) -> bool:
    """Whether a user's factory is called with a collector."""
    parameters = inspect.signature(config_factory).parameters.values()
    # An optional parameter may be anything, unless it is called what we pass.
    return any(p.name == "collector" or _is_required(p) for p in parameters)


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD


def _as_config(given: object) -> SessionConfig:
    """Take what a factory returned: ours, a mapping, or a vendor's dataclass."""
    if isinstance(given, SessionConfig):
        return given
    options = _as_mapping(given)
    unknown = sorted(set(options) - {field.name for field in fields(SessionConfig)})
    if unknown:
        raise ConfigurationError(
            "config_factory cannot work", [f"SessionConfig has no field {name}" for name in unknown]
        )
    return SessionConfig(**options)  # type: ignore[arg-type]


def _as_mapping(given: object) -> Mapping[str, object]:
    if isinstance(given, Mapping):
        strange = [f"it named a field {name!r}" for name in given if not isinstance(name, str)]
    elif is_dataclass(given) and not isinstance(given, type):
        return _changed_fields(given)
    else:
        strange = [f"it returned {type(given).__name__}, not a SessionConfig or a mapping"]
    if strange:
        raise ConfigurationError("config_factory cannot work", strange)
    return cast("Mapping[str, object]", given)


def _without_wiring(config: SessionConfig, wiring: AnimationCollector) -> SessionConfig:
    """Drop callbacks that lead to the collector: our session reports to the pool directly."""
    wired = {
        name: None
        for name in ("transport_frames", "on_error", "on_close")
        if getattr(getattr(config, name), "__self__", None) is wiring
    }
    return replace(config, **wired) if wired else config  # type: ignore[arg-type]


def _changed_fields(config: object) -> dict[str, object]:
    """A dataclass's fields that are not at their defaults, for a vendor's keywords."""
    return {
        field.name: getattr(config, field.name)
        for field in fields(cast("SessionConfig", config))
        if getattr(config, field.name) not in (field.default, None, {})
    }
