"""Whose pages may talk to the gateway: its hosts and origins, against DNS rebinding. Pure.

A browser lets any page send requests here. It says truly from which origin, and by which
name it came; a name that somebody else has pointed here is none of ours.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit


class Origins:
    """Judges hosts and origins.

    Args:
        host: What is listened on.
        public_urls: Under which the gateway is known.
        allowed: Origins of other pages that may use it.
    """

    def __init__(self, host: str, public_urls: Iterable[str], allowed: Iterable[str]) -> None:
        self._is_local = is_loopback(host)
        names = [urlsplit(url).hostname for url in public_urls if url]
        self._names = frozenset(name.lower() for name in (*names, host) if name)
        self._allowed = frozenset(origin.rstrip("/").lower() for origin in allowed)

    def allows(self, host: str | None, origin: str | None) -> bool:
        """Whether a request may be answered that names a host, and perhaps an origin."""
        name = _hostname(f"//{host}") if host else None
        if name is None or not self._is_own(name):
            return False
        if origin is None or origin.lower() in self._allowed:
            return True
        page = _hostname(origin)
        if page is None:  # "null" among others: a page that hides where it is from
            return False
        is_same = urlsplit(origin).netloc.lower() == str(host).lower()
        return is_same or (self._is_local and is_loopback(page) and is_loopback(name))

    def _is_own(self, name: str) -> bool:
        if name in self._names or is_loopback(name):
            return True
        return not self._is_local and _is_address(name)


def is_loopback(host: str) -> bool:
    """Whether a host's name is this machine, whoever asks."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
