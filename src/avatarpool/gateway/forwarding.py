"""Whose request it is that a proxy has forwarded, as far as that can be believed. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_MOST = 20  # addresses of a header


class Forwarding:
    """Finds a client's address behind proxies.

    Args:
        trusted: Proxies that are believed in whom they forward for; others say what they like.
    """

    def __init__(self, trusted: Iterable[IPv4Network | IPv6Network]) -> None:
        self._trusted = tuple(trusted)

    def client(self, peer: str, forwarded_for: str) -> str:
        """Return the address of whoever asks.

        The header is read from its end, where the nearest proxy has written: the first address
        there that is no trusted proxy's is the client's, and what stands before it may be
        anything.

        Args:
            peer: Who is connected.
            forwarded_for: The header ``X-Forwarded-For``.
        """
        address = peer
        for hop in reversed(forwarded_for.split(",")[-_MOST:]):
            if not self._is_trusted(address):
                break
            found = _address(hop)
            if found is None:
                break
            address = str(found)
        return address

    def _is_trusted(self, text: str) -> bool:
        address = _address(text)
        return address is not None and any(address in network for network in self._trusted)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text.strip())
    except ValueError:
        return None
