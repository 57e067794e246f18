"""What a setting may be: kinds of values, and how one is described. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic.fields import FieldInfo

from avatarpool.config import url_fault
from avatarpool.exceptions import ConfigurationError
from avatarpool.gateway.keys import is_key_hash
from avatarpool.proxies import parse_proxy

DAY = 86400  # seconds
HOUR = 3600

MOST_LISTED = 1000
"""Clients, avatars, origins...: each key that comes is compared with the hashes of all."""

_SECRET_BYTES = (32, 4096)
_NAME = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)


def _no_flag(value: object) -> object:
    if isinstance(value, bool):  # to Python, that is a number
        raise ValueError("it is no number")  # noqa: TRY004 - what pydantic takes
    return value


def _checked(fits: Callable[[str], bool]) -> AfterValidator:
    def check(value: str) -> str:
        if not fits(value):
            raise ValueError("it does not fit")
        return value

    return AfterValidator(check)


def _is_host(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        try:
            return _NAME.fullmatch(host.encode("idna").decode()) is not None
        except ValueError:
            return False
    return True


def _is_http_url(url: str) -> bool:
    return not (url_fault(url, ("http", "https")) or set(url) & set("?#"))


def _is_websocket_url(url: str) -> bool:
    return not (url_fault(url, ("http", "https", "ws", "wss")) or set(url) & set("?#"))


def _is_origin(text: str) -> bool:
    return _is_http_url(text) and not urlsplit(text).path and text == text.lower()


def _is_in_a_header(text: str) -> bool:
    return text.isascii() and text.isprintable() and text == text.strip()


def _network(value: object) -> object:
    if isinstance(value, int):  # to Python, that is an address
        raise ValueError("it is no text")  # noqa: TRY004 - what pydantic takes
    return ip_network(value) if isinstance(value, str) else value


def _long_enough(secret: SecretStr) -> SecretStr:
    low, high = _SECRET_BYTES
    if not low <= len(secret.get_secret_value().encode()) <= high:
        raise ValueError("it is too short or too long")
    return secret


def _header_secret(secret: SecretStr) -> SecretStr:
    if not _is_in_a_header(secret.get_secret_value()):
        raise ValueError("no header carries it")
    return secret


def _proxy(value: bool | SecretStr) -> bool | SecretStr:  # noqa: FBT001 - a setting's value
    if isinstance(value, SecretStr):
        try:
            parse_proxy("proxy", value.get_secret_value())
        except ConfigurationError:
            raise ValueError("it is no proxy") from None
    return value


Seconds = Annotated[float, BeforeValidator(_no_flag), Field(allow_inf_nan=False)]
Count = Annotated[int, BeforeValidator(_no_flag)]
Host = Annotated[str, _checked(_is_host)]
HttpUrl = Annotated[str, _checked(_is_http_url)]
WebSocketUrl = Annotated[str, _checked(_is_websocket_url)]
Origin = Annotated[str, _checked(_is_origin)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
ProxyUrl = Annotated[bool | SecretStr, AfterValidator(_proxy)]
ApiKey = Annotated[SecretStr, AfterValidator(_header_secret)]
AppId = Annotated[str, _checked(_is_in_a_header)]
TokenSecret = Annotated[SecretStr, AfterValidator(_long_enough)]
KeyHash = Annotated[str, _checked(is_key_hash)]
AvatarId = Annotated[str, _checked(str.isprintable), Field(min_length=1, max_length=256)]

HTTP_URL = "an http:// or https:// URL without credentials and query"
WEBSOCKET_URL = "a ws://, wss://, http:// or https:// URL without credentials and query"
KEY_HASH = "`sha256:` and 64 lower-case hexadecimal digits, as `avatarpool gateway hash-key` has it"
FILE = "a file, from where the TOML file is"


def setting(default: Any, what: str, rule: str, **constraints: Any) -> Any:
    """Describe a setting.

    Args:
        default: ``...`` for none.
        what: What it is, with its unit.
        rule: What is allowed.
        constraints: The same for pydantic, where the type does not say it.
    """
    described = f"{what} ({rule})."
    if default is not ...:
        described += f" Default: {_as_default(default)}."
    return Field(default, description=described, json_schema_extra={"rule": rule}, **constraints)


def number(default: float, what: str, low: int, high: int) -> Any:
    """Describe a number between two others, or one of them."""
    return setting(default, what, f"{low} to {high}", ge=low, le=high)


def seconds(default: float, what: str, most: int) -> Any:
    """Describe a time that is not nothing."""
    return setting(default, f"Seconds {what}", f"above 0, at most {most}", gt=0, le=most)


def allowed(field: FieldInfo) -> str:
    """Say what a setting may be."""
    extra = field.json_schema_extra
    assert isinstance(extra, dict)
    return str(extra["rule"])


def _as_default(default: object) -> str:
    if isinstance(default, SecretStr) or default is None or default in ("", ()):
        return "none"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float):
        return f"{default:g}"
    return str(getattr(default, "value", default))
