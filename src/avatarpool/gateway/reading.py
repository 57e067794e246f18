"""Reads settings: a TOML file, the environment, and what values refer to.

Everything that is wrong is told at once, each with the file, the setting, its value (never a
secret's) and what is allowed.
"""

from __future__ import annotations

import itertools
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from avatarpool.blendshapes import Basis
from avatarpool.environment import Settings
from avatarpool.exceptions import ConfigurationError
from avatarpool.fleet.leasing import open_store
from avatarpool.gateway.contradictions import Contradiction, contradictions
from avatarpool.gateway.settings import (
    NEEDED,
    SECTIONS,
    Admin,
    Budget,
    ClientLimits,
    ClientSettings,
    GatewaySettings,
    Listen,
    Pools,
    Tokens,
    Upstream,
    Warm,
)
from avatarpool.gateway.showing import nearest, quoted, shown
from avatarpool.gateway.sources import DanglingError, read_toml, referred_to
from avatarpool.gateway.values import MOST_LISTED, allowed

S = TypeVar("S", bound=BaseModel)
Table = Mapping[str, Any]

_UNUSABLE = "the gateway's settings cannot work"
_NOTHING: Table = MappingProxyType({})

_MOST_SHOWN = 60  # characters of a name

_DANGLING = object()  # in the place of what a reference does not lead to: fits no setting

_FILES = ("tls_certificate", "tls_key", "ca_file", "basis")
"""Settings that name files: from where the TOML file is."""


def read_settings(
    file: Path | None, *, listen: Table = _NOTHING, local_upstream: bool = False
) -> GatewaySettings:
    """Return the settings of a file and the environment.

    Args:
        file: TOML; None: the defaults.
        listen: What goes before the file's section of that name, from the command line.
        local_upstream: Whether the command starts the service, so that none need be named.

    Raises:
        ConfigurationError: They cannot work; each problem is a sentence with the file, the
            setting, the value and what is allowed.
    """
    draft = _Draft(file)
    try:
        tables = read_toml(file) if file is not None else {}
    except DanglingError as error:
        raise ConfigurationError(_UNUSABLE, [f"{file} {error}"]) from None
    settings = draft.settings(tables, listen, has_environment=not local_upstream)
    found = contradictions(settings, draft.wrong, local_upstream=local_upstream)
    for each in itertools.chain(found, _unusable(settings)):
        draft.tell(each.name, each.text)
    if draft.problems:
        raise ConfigurationError(_UNUSABLE, list(draft.problems.values()))
    return settings


class _Draft:
    """Makes settings of tables, and keeps what is wrong with them.

    Args:
        file: Where the tables are from.

    Attributes:
        problems: A sentence for each setting that is wrong, by its name.
        wrong: The settings that are, as ``section.key``, and have their defaults; those as
            ``section.#`` are lists without an item that is.
    """

    def __init__(self, file: Path | None) -> None:
        self.problems: dict[str, str] = {}
        self.wrong: set[str] = set()
        self._folder = file.parent if file is not None else Path()
        self._front = f"{file}: " if file is not None else ""
        self._origins: dict[str, str] = {}  # of settings that are not from the file

    def tell(self, name: str, text: str) -> None:
        """Keep what is wrong with a setting, unless that is known."""
        self.problems.setdefault(name, f"{self._origins.get(name, self._front + name)} {text}")

    def settings(self, tables: Table, listen: Table, *, has_environment: bool) -> GatewaySettings:
        """Return what is right of the settings."""
        sections = [name for name in SECTIONS if "." not in name]
        for name in tables:
            if name not in sections:
                self.tell(quoted(name), f"is no section{nearest(name, sections)}")
        listening = self._stated(tables, "listen")
        for key in listen:
            self._origins[f"listen.{key}"] = f"--{key.replace('_', '-')}"
        upstream = self._stated(tables, "upstream")
        if has_environment:
            upstream = {**self._environment(upstream), **upstream}
        pools = self._stated(tables, "pools")
        warm = self._items(pools.get("warm", []), "pools.warm")
        defaults = self._made(ClientLimits, self._stated(tables, "defaults"), "defaults")
        clients = self._items(tables.get("clients", []), "clients")
        return GatewaySettings(
            listen=self._made(Listen, {**listening, **listen}, "listen") or Listen(),
            upstream=self._made(Upstream, upstream, "upstream") or Upstream(),
            tokens=self._made(Tokens, self._stated(tables, "tokens"), "tokens") or Tokens(),
            budget=self._made(Budget, self._stated(tables, "budget"), "budget") or Budget(),
            pools=self._pools(pools, warm),
            defaults=defaults or ClientLimits(),
            clients=self._clients(clients, defaults or ClientLimits()),
            admin=self._made(Admin, self._stated(tables, "admin"), "admin") or Admin(),
        )

    def _stated(self, tables: Table, section: str) -> Table:
        table = tables.get(section, {})
        if isinstance(table, dict):
            return table
        self.wrong.add(section)
        self.tell(section, f"must be a table, [{section}]")
        return _NOTHING

    def _items(self, items: object, section: str) -> Iterator[tuple[str, Table]]:
        """Yield the tables of a list, and a name for each."""
        if not isinstance(items, list) or len(items) > MOST_LISTED:
            self.wrong.add(section)
            self.tell(section, f"must be up to {MOST_LISTED} tables, [[{section}]]")
            return
        for number, table in enumerate(items, 1):
            if isinstance(table, dict):
                called = table.get("name", table.get("avatar"))
                is_name = isinstance(called, str) and called and called.isprintable()
                yield f"{section}.{str(called)[:_MOST_SHOWN] if is_name else f'#{number}'}", table
            else:
                self.wrong.add(f"{section}.#")
                self.tell(f"{section}.#{number}", f"must be a table, [[{section}]]")

    def _environment(self, upstream: Table) -> Table:
        """Return what the environment says of the upstream, where the file says nothing."""
        try:
            environment = Settings.read()
        except ConfigurationError as error:
            self.problems |= {problem: problem for problem in error.problems}
            return _NOTHING
        found: dict[str, Any] = {}
        for key in (*NEEDED, "use_query_auth"):
            if key not in upstream and (value := getattr(environment, key)):
                found[key] = value
                self._origins[f"upstream.{key}"] = f"AVATAR_{key.upper()}"
        return found

    def _pools(self, table: Table, items: Iterator[tuple[str, Table]]) -> Pools:
        kept = [self._made(Warm, item, "pools.warm", name) for name, item in items]
        rest = {key: value for key, value in table.items() if key != "warm"}
        pools = self._made(Pools, rest, "pools") or Pools()
        return pools.model_copy(update={"warm": tuple(each for each in kept if each is not None)})

    def _clients(
        self, items: Iterator[tuple[str, Table]], defaults: ClientLimits
    ) -> tuple[ClientSettings, ...]:
        clients = []
        for name, item in items:
            own = {key: value for key, value in item.items() if key in SECTIONS["defaults"]}
            rest = {key: value for key, value in item.items() if key not in own}
            limits = self._made(ClientLimits, own, "clients", name)
            client = self._made(ClientSettings, rest, "clients", name)
            if client is not None and limits is not None:
                mine = {key: getattr(limits, key) for key in limits.model_fields_set}
                clients.append(
                    client.model_copy(update={"limits": defaults.model_copy(update=mine)})
                )
        return tuple(clients)

    def _made(self, model: type[S], table: Table, section: str, item: str = "") -> S | None:
        """Return a section, without what is wrong; None if that was needed.

        Args:
            model: What it is to be.
            table: As it was stated.
            section: Its name.
            item: The name of one of several.
        """
        values = self._values(table, section, item)
        while True:
            try:
                return model.model_validate(values)
            except ValidationError as error:
                found = error.errors(include_input=False, include_url=False, include_context=False)
            for each in found:
                key, *inner = map(str, each["loc"])
                rule = allowed(SECTIONS[section][key])
                if key not in values:
                    self._is_wrong(section, item, key, f"is missing: it is {rule}")
                    continue
                at = int(inner[0]) if inner and inner[0].isdecimal() else None
                stated = table[key] if at is None else table[key][at]
                text = f"{shown(key, stated)}must be {rule}"
                self._is_wrong(section, item, key, text, at)
            if any(each["type"] == "missing" for each in found):
                return None
            for each in found:
                values.pop(str(each["loc"][0]), None)

    def _values(self, table: Table, section: str, item: str) -> dict[str, Any]:
        """Return what a table says, or refers to, of the settings that there are."""

        def followed(key: str, stated: Any, at: int | None = None) -> Any:
            if isinstance(stated, list) and at is None:
                return [followed(key, each, number) for number, each in enumerate(stated)]
            if not isinstance(stated, str):
                return stated
            try:
                return referred_to(stated, self._folder)
            except DanglingError as error:
                self._is_wrong(section, item, key, str(error), at)
                return _DANGLING

        values = {}
        for key, stated in table.items():
            if key in SECTIONS[section]:
                value = followed(key, stated)
                is_path = key in _FILES and isinstance(value, str)
                values[key] = self._folder / value if is_path else value
            else:
                text = f"is no setting{nearest(key, SECTIONS[section])}"
                self._is_wrong(section, item, key, text)
        return values

    def _is_wrong(
        self, section: str, item: str, key: str, text: str, at: int | None = None
    ) -> None:
        self.wrong.add(f"{section}.#" if item else f"{section}.{key}")
        self.tell(f"{item or section}.{quoted(key)}" + ("" if at is None else f".#{at + 1}"), text)


def _unusable(settings: GatewaySettings) -> Iterator[Contradiction]:
    """Try what files and URLs are for, as far as that needs no network."""
    listen, ca_file, redis = settings.listen, settings.upstream.ca_file, settings.budget.redis
    if listen.tls_certificate is not None and listen.tls_key is not None:
        yield from _unusable_pair(listen.tls_certificate, listen.tls_key)
    if ca_file is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca_file)
        except (OSError, ValueError) as error:
            yield Contradiction("upstream.ca_file", f'"{ca_file}" cannot be used: {_why(error)}')
    if settings.upstream.basis is not None:
        try:
            Basis.load(settings.upstream.basis)
        except (OSError, ValueError) as error:
            why = _why(error) if isinstance(error, OSError) else str(error)
            yield Contradiction("upstream.basis", why)
    if redis is not None:
        try:
            open_store(redis.get_secret_value(), settings.budget.name, settings.budget.lease_ttl)
        except ConfigurationError as error:
            yield Contradiction("budget.redis", f"cannot be used: {'; '.join(error.problems)}")


def _unusable_pair(certificate: Path, key: Path) -> Iterator[Contradiction]:
    for name, file in (("tls_certificate", certificate), ("tls_key", key)):
        try:  # OpenSSL does not say which of the two it cannot read
            file.open("rb").close()
        except (OSError, ValueError) as error:
            yield Contradiction(f"listen.{name}", f'"{file}" cannot be used: {_why(error)}')
            return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:  # with a password for the key, so that OpenSSL asks nobody
        context.load_cert_chain(certificate, key, lambda: b"")
    except OSError as error:
        text = f'"{certificate}" cannot be used with listen.tls_key: {_why(error)}'
        yield Contradiction("listen.tls_certificate", text)


def _why(error: OSError | ValueError) -> str:
    """Say why a file cannot be used, in words that quote nothing of it."""
    if isinstance(error, ssl.SSLError):
        is_another = error.reason == "KEY_VALUES_MISMATCH"
        return "they are no pair" if is_another else "it is no PEM, or its key has a password"
    if isinstance(error, OSError):
        return (error.strerror or "it cannot be read").lower()
    return "its path has a null character"
