"""What a gateway takes over while it runs, and what not before it is started again. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from avatarpool.gateway.settings import SECTIONS, GatewaySettings

_RELOADABLE = (
    ("tokens", "secrets"),
    ("tokens", "lifetime"),
    ("budget", "sessions"),
    ("admin", "key_hash"),
    ("listen", "allowed_origins"),
    ("listen", "trusted_proxies"),
    ("pools", "resend_lost_requests"),
)
"""Beside all of ``defaults`` and ``clients``."""


class Changes(NamedTuple):
    """The settings that differ, as ``section.key``; clients as ``clients.name``.

    Attributes:
        reloadable: Those that can be taken over at once.
        needs_restart: Those that cannot.
    """

    reloadable: tuple[str, ...]
    needs_restart: tuple[str, ...]


def changed(old: GatewaySettings, new: GatewaySettings) -> Changes:
    """Return what differs."""
    reloadable: list[str] = []
    needs_restart: list[str] = []
    for section, key in _different(old, new):
        is_reloadable = section == "defaults" or (section, key) in _RELOADABLE
        (reloadable if is_reloadable else needs_restart).append(f"{section}.{key}")
    before = {client.name: client for client in old.clients}
    after = {client.name: client for client in new.clients}
    reloadable += [
        f"clients.{name}" for name in (before | after) if before.get(name) != after.get(name)
    ]
    return Changes(tuple(reloadable), tuple(needs_restart))


def taken_over(old: GatewaySettings, new: GatewaySettings) -> GatewaySettings:
    """Return the old settings with what is reloadable of the new ones.

    They may contradict each other, as new clients may a host that is to be another one.
    """
    merged = old.model_copy(update={"defaults": new.defaults, "clients": new.clients})
    for section, key in _RELOADABLE:
        values = getattr(merged, section).model_copy(
            update={key: getattr(getattr(new, section), key)}
        )
        merged = merged.model_copy(update={section: values})
    return merged


def _different(old: GatewaySettings, new: GatewaySettings) -> Iterator[tuple[str, str]]:
    for section in GatewaySettings.model_fields:
        if section != "clients":
            before, after = getattr(old, section), getattr(new, section)
            for key in SECTIONS[section]:
                if getattr(before, key) != getattr(after, key):
                    yield section, key
