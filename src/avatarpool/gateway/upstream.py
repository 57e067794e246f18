"""The account's sessions, as the settings have them: a group of pools under one budget."""

from __future__ import annotations

import ssl
from collections.abc import Callable

from pydantic import SecretStr

from avatarpool.blendshapes import Basis
from avatarpool.config import SessionConfig
from avatarpool.exceptions import ConfigurationError
from avatarpool.fleet import AvatarPoolGroup, Budget, LocalBudget, PoolKey, RedisBudget
from avatarpool.gateway.settings import GatewaySettings, Upstream


def group_of(settings: GatewaySettings) -> AvatarPoolGroup:
    """Make the group; it is not open yet.

    Args:
        settings: The gateway's.

    Raises:
        ConfigurationError: The settings cannot work.
    """
    pools = settings.pools
    return AvatarPoolGroup(
        _config_factory(settings.upstream),
        budget=_budget(settings),
        warm={warm.key: warm.sessions for warm in pools.warm},
        name="gateway",
        timeout=pools.timeout,
        request_timeout=pools.request_timeout,
        max_idle=pools.max_idle,
        session_ttl_minutes=pools.session_ttl_minutes,
    )


def basis_of(settings: GatewaySettings) -> Basis | None:
    """Return whose expression coefficients the service's are, if that is known.

    Raises:
        ConfigurationError: The file cannot be used.
    """
    file = settings.upstream.basis
    try:
        return None if file is None else Basis.load(file)
    except OSError as error:
        why = f"upstream.basis {str(file)!r} cannot be used: {error}"
        raise ConfigurationError("the gateway cannot work", [why]) from None


def _budget(settings: GatewaySettings) -> Budget:
    budget = settings.budget
    if budget.redis is None:
        return LocalBudget(budget.sessions)
    return RedisBudget(
        budget.redis.get_secret_value(),
        name=budget.name,
        sessions=budget.sessions,
        lease_ttl=budget.lease_ttl,
    )


def _config_factory(upstream: Upstream) -> Callable[[PoolKey], SessionConfig]:
    proxy = upstream.proxy
    context = _context(upstream)

    def config_for(_: PoolKey) -> SessionConfig:
        return SessionConfig(
            api_key=upstream.api_key.get_secret_value(),
            app_id=upstream.app_id,
            console_endpoint_url=upstream.console_endpoint,
            ingress_endpoint_url=upstream.ingress_endpoint,
            use_query_auth=upstream.use_query_auth,
            proxy=proxy.get_secret_value() if isinstance(proxy, SecretStr) else proxy,
            ssl_context=context,
        )

    return config_for


def _context(upstream: Upstream) -> ssl.SSLContext | None:
    if upstream.ca_file is None:
        return None
    try:
        return ssl.create_default_context(cafile=upstream.ca_file)
    except OSError as error:
        why = f"upstream.ca_file {str(upstream.ca_file)!r} cannot be used: {error}"
        raise ConfigurationError("the gateway cannot work", [why]) from None
