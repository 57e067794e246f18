"""Which proxy a connection goes through: one choice for tokens and sessions; no I/O."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from urllib.parse import SplitResult, quote, unquote, urlsplit

from avatarpool.exceptions import ConfigurationError

# Our name for each scheme. SOCKS5 has the proxy resolve names in either spelling: behind
# a company's firewall nobody else can.
_SCHEMES = {"http": "http", "https": "https", "socks5": "socks5", "socks5h": "socks5"}
_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443, "socks5": 1080}

_NO_HOST = (
    "has no valid host and port: write scheme://user:password@host:port, "
    "with %-codes for special characters of the password"
)

# RFC 1929 has one byte for the length of each.
_MAX_SOCKS_CREDENTIAL = 255


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy; neither its text nor its repr shows the credentials.

    Attributes:
        scheme: How it is spoken to: ``http``, ``https`` or ``socks5``.
        host: Its name or address.
        port: Its port.
        username: Empty where it asks for none.
        password: Goes with it.
    """

    scheme: str
    host: str
    port: int
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.scheme}://{authority(self.host, self.port)}"

    @property
    def authorization(self) -> dict[str, str]:
        """The header that an HTTP proxy takes the credentials from; empty without any."""
        if not self.username:
            return {}
        credentials = b64encode(f"{self.username}:{self.password}".encode()).decode()
        return {"Proxy-Authorization": f"Basic {credentials}"}

    @property
    def url(self) -> str:
        """The URL with the credentials, for those who connect."""
        if not self.username:
            return str(self)
        credentials = f"{quote(self.username, safe='')}:{quote(self.password, safe='')}"
        return f"{self.scheme}://{credentials}@{authority(self.host, self.port)}"


class ProxyFailed(ConnectionError):
    """The proxy failed, and not what lies behind it.

    Attributes:
        proxy: Which one.
        http_status: Its answer, if it is an HTTP proxy that gave one.
    """

    def __init__(self, proxy: Proxy, what: str, *, http_status: int | None = None) -> None:
        super().__init__(f"the proxy {proxy} {what}")
        self.proxy = proxy
        self.http_status = http_status


def authority(host: str, port: int) -> str:
    """Return ``host:port`` as URLs and CONNECT have it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def proxy_for(
    url: str, *, setting: str | bool = True, environ: Mapping[str, str] = os.environ
) -> Proxy | None:
    """Choose the proxy for a URL; None: go there directly, as always to this machine.

    Args:
        url: Where to go, with one of the schemes ``http``, ``https``, ``ws`` and ``wss``.
        setting: The proxy's URL; True asks the environment, False takes none.
        environ: The environment. The lower-case name of a variable goes before the
            upper-case one, and the scheme's own variable before ``ALL_PROXY``;
            an empty one counts as not set.

    Raises:
        ConfigurationError: The proxy's URL cannot work; its password is not shown.
    """
    target = urlsplit(url)
    if setting is False or is_this_machine(target.hostname or ""):
        return None
    if isinstance(setting, str):
        return parse_proxy("proxy", setting)
    if is_exempt(target, environ.get("no_proxy") or environ.get("NO_PROXY") or ""):
        return None
    for name in _variables(is_secure=target.scheme in ("https", "wss"), environ=environ):
        if value := environ.get(name, "").strip():
            return parse_proxy(name, value)
    return None


@lru_cache(64)  # asked twice for each session, of the same few hosts
def is_this_machine(host: str) -> bool:
    """Whether a host is the machine we are on, which no proxy can reach for us."""
    address = _address(host)
    if address is not None:
        address = getattr(address, "ipv4_mapped", None) or address
        return address.is_loopback or address.is_unspecified
    name = host.rstrip(".").lower()
    return name == "localhost" or name.endswith(".localhost")  # RFC 6761


def is_exempt(target: SplitResult, exceptions: str) -> bool:
    """Whether ``NO_PROXY`` names a target.

    Its entries, between commas, are host names that stand for those below them too (with
    or without a dot in front), addresses, networks (``10.0.0.0/8``), each with a port or
    without, or ``*``. Names are not looked up to compare them with networks.
    """
    host = (target.hostname or "").rstrip(".")
    port = target.port or _PORTS[target.scheme]
    entries = re.split(r"[\s,]+", exceptions.lower())
    return any(entry == "*" or _names(entry, host, port) for entry in entries if entry)


def parse_proxy(name: str, url: str) -> Proxy:
    """Read a proxy's URL; without a scheme it is ``http``, as everywhere.

    Raises:
        ConfigurationError: It cannot work; ``name`` says whose it is.
    """
    proxy, fault = _parse(url)
    if proxy is None:
        raise ConfigurationError("the proxy cannot be used", [f"{name} {fault}"])
    return proxy


def _parse(url: str) -> tuple[Proxy | None, str]:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        scheme = _SCHEMES.get(parts.scheme)
        if scheme is None:
            return None, "must begin with http://, https://, socks5:// or socks5h://"
        host, port = parts.hostname or "", parts.port or _PORTS[scheme]
        host.encode("idna")
        url.encode()  # bytes of the environment that are no UTF-8 come as lone surrogates
    except ValueError:
        return None, _NO_HOST
    # What a password left over must not be taken for a host, nor be shown as one.
    if not host or parts.path not in ("", "/") or parts.query or parts.fragment:
        return None, _NO_HOST
    username, password = unquote(parts.username or ""), unquote(parts.password or "")
    if scheme == "socks5" and not (_fits_socks(username) and _fits_socks(password)):
        return None, (
            f"has a user name or password that is not of up to {_MAX_SOCKS_CREDENTIAL} "
            "ASCII characters, which is all that SOCKS5 takes"
        )
    if ":" in username:
        return None, "has a colon in its user name, which HTTP has no way to send"
    return Proxy(scheme, host, port, username, password), ""


def _fits_socks(credential: str) -> bool:
    return credential.isascii() and len(credential) <= _MAX_SOCKS_CREDENTIAL


def _variables(*, is_secure: bool, environ: Mapping[str, str]) -> list[str]:
    if is_secure:
        names = ["https_proxy", "HTTPS_PROXY"]
    elif "REQUEST_METHOD" in environ:
        names = ["http_proxy"]  # under CGI the other is a client's header "Proxy:"
    else:
        names = ["http_proxy", "HTTP_PROXY"]
    return [*names, "all_proxy", "ALL_PROXY"]


def _names(entry: str, host: str, port: int) -> bool:
    address, network = _address(host), _network(entry)
    if network is not None:
        return address is not None and address in network
    if re.search(r"[^:]:\d+$", entry):
        entry, _, its_port = entry.rpartition(":")
        if its_port != str(port):
            return False
    name = entry.strip("[]").removeprefix("*").strip(".")
    return host == name or (address is None and bool(name) and host.endswith(f".{name}"))


def _network(entry: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return None


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
