"""What settings say that cannot all be, although each may be by itself. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from typing import NamedTuple

from avatarpool.exceptions import ConfigurationError
from avatarpool.gateway.settings import (
    NEEDED,
    ClientSettings,
    GatewaySettings,
    Listen,
    Pools,
)
from avatarpool.pool.options import SHORTEST_LIFE


class Contradiction(NamedTuple):
    """One of them.

    Attributes:
        name: The setting that is to be changed, as ``section.key``.
        text: What is wrong with it, and what to do; no secrets.
        beside: The setting, or section, that it does not go with.
    """

    name: str
    text: str
    beside: str = ""


def contradictions(
    settings: GatewaySettings, wrong: Collection[str] = (), *, local_upstream: bool = False
) -> list[Contradiction]:
    """Name what cannot all be.

    Args:
        settings: All of them.
        wrong: Sections, settings as ``section.key``, and lists with an item left out as
            ``section.#``, that are known to be wrong: nothing is told of these.
        local_upstream: Whether the command starts the service.
    """

    def is_right(name: str) -> bool:
        return name not in wrong and name.partition(".")[0] not in wrong

    found = itertools.chain(
        () if local_upstream else _missing(settings),
        _listening(settings.listen),
        _open_to_all(settings),
        _alike(settings.clients),
        _living(settings.pools),
        _warm(settings),
    )
    return [each for each in found if is_right(each.name) and is_right(each.beside)]


def warnings(settings: GatewaySettings) -> list[str]:
    """Say what may be meant, but should be known; one sentence each."""
    told = []
    listen = settings.listen
    if not listen.is_loopback and listen.tls_certificate is None and not listen.trusted_proxies:
        told.append(
            f"{listen.host} is beyond loopback and there is no TLS: keys and audio are not "
            "encrypted on their way here. Set listen.tls_certificate and tls_key, or "
            "listen.trusted_proxies if a TLS terminator stands before the gateway."
        )
    if settings.budget.redis is not None and not settings.tokens.secrets:
        told.append(
            "Gateways share this account, but tokens.secrets is empty: no other one takes the "
            "tokens that this one grants."
        )
    return told


def _missing(settings: GatewaySettings) -> Iterator[Contradiction]:
    for key in NEEDED:
        if not getattr(settings.upstream, key):
            yield Contradiction(f"upstream.{key}", f"is missing: set it, or AVATAR_{key.upper()}")


def _listening(listen: Listen) -> Iterator[Contradiction]:
    for one, other in (("tls_certificate", "tls_key"), ("public_console", "public_ingress")):
        for given, left_out in ((one, other), (other, one)):
            if getattr(listen, given) is not None and getattr(listen, left_out) is None:
                text = f"has no {left_out} beside it: give both or neither"
                yield Contradiction(f"listen.{given}", text, f"listen.{left_out}")
    if listen.port and listen.port == listen.ingress_port:
        text = f"{listen.port} is listen.port too: choose another"
        yield Contradiction("listen.ingress_port", text, "listen.port")


def _open_to_all(settings: GatewaySettings) -> Iterator[Contradiction]:
    host = settings.listen.host
    if not settings.clients and not settings.listen.is_loopback:
        text = (
            f'"{host}" is beyond loopback, and there are no clients: add [[clients]], '
            "or listen on 127.0.0.1"
        )
        yield Contradiction("listen.host", text, "clients.#")


def _alike(clients: tuple[ClientSettings, ...]) -> Iterator[Contradiction]:
    for key in ("name", "app_id", "key_hash"):
        owners: dict[str, str] = {}
        for client in clients:
            value = getattr(client, key)
            if value in owners:
                text = f"is that of clients.{owners[value]} too: each client needs its own"
                yield Contradiction(f"clients.{client.name}.{key}", text)
            owners.setdefault(value, client.name)


def _living(pools: Pools) -> Iterator[Contradiction]:
    shortest = pools.session_ttl_minutes * 60.0 * SHORTEST_LIFE
    if pools.request_timeout >= shortest:
        text = (
            f"{pools.request_timeout:g} is no less than the {shortest:g} s that a session may "
            "have (pools.session_ttl_minutes, less 10 %): lower it, or raise that"
        )
        yield Contradiction("pools.request_timeout", text, "pools.session_ttl_minutes")


def _warm(settings: GatewaySettings) -> Iterator[Contradiction]:
    seen = set()
    for warm in settings.pools.warm:
        name = f"pools.warm.{warm.avatar}"
        try:
            key = warm.key
        except ConfigurationError as error:
            yield Contradiction(name, f"has a key that cannot be: {'; '.join(error.problems)}")
            continue
        if key in seen:
            yield Contradiction(name, f"stands there twice as {key}: add the sessions up")
        seen.add(key)
    kept, allowed = sum(each.sessions for each in settings.pools.warm), settings.budget.sessions
    if kept >= allowed:
        text = (
            f"keeps {kept} sessions, which leaves none of budget.sessions ({allowed}) for "
            "others: keep fewer"
        )
        yield Contradiction("pools.warm", text, "budget.sessions")
