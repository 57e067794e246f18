"""Shows settings to people, and what was meant for one; secrets never. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr

from avatarpool.gateway.settings import SECRET, SECTIONS, GatewaySettings
from avatarpool.proxies import parse_proxy

_MOST_CHARACTERS = 240  # of somebody's words
_MOST_NUMBER = 10**15  # that is shown


def in_force(settings: GatewaySettings) -> str:
    """Return all settings as TOML, but for secrets: of these it says whether they are set."""
    lines: list[str] = []
    for section in SECTIONS:
        if section == "upstream" and settings.upstream.is_empty:
            lines += ["[upstream]", "# a local avatar service, started with the gateway", ""]
        elif section == "pools.warm":
            for warm in settings.pools.warm:
                lines += ["[[pools.warm]]", *_lines(section, warm), ""]
        elif section == "clients":
            for client in settings.clients:
                lines += ["[[clients]]", *_lines(section, client, client.limits), ""]
        else:
            lines += [f"[{section}]", *_lines(section, getattr(settings, section)), ""]
    return "\n".join(lines[:-1])


def shown(key: str, stated: object) -> str:
    """Return what a file says of a setting, with a space behind it; nothing if that is secret.

    What a reference leads to is not shown, as it may be a secret by mistake. Neither is a
    text that may be a URL with credentials in front or as parameters.
    """
    if isinstance(stated, str) and stated.partition(":")[0] in ("env", "file"):
        return f"{quoted(stated)} "
    if key in SECRET or not isinstance(stated, str | bool | int | float):
        return ""
    if isinstance(stated, str) and set(stated) & set("@?"):
        return ""
    if isinstance(stated, int) and abs(stated) > _MOST_NUMBER:  # Python may not write it at all
        return ""
    return f"{_written(quoted(stated) if isinstance(stated, str) else stated)} "


def quoted(text: str) -> str:
    """Return somebody's words in one line of bounded length."""
    return "".join(c if c.isprintable() else " " for c in text[:_MOST_CHARACTERS])


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which of those that there are might have been meant."""
    near = get_close_matches(name, known, 1, 0.5)
    return f": did you mean {near[0]}?" if near else f": there are {', '.join(known)}"


def _lines(section: str, *values: BaseModel) -> Iterator[str]:
    for key in SECTIONS[section]:
        if key == "warm":
            continue  # has tables of its own
        value: Any = next(getattr(each, key) for each in values if key in type(each).model_fields)
        if value is None or (key in SECRET and not value and not isinstance(value, bool)):
            yield f"# {key}: none"
        elif key in SECRET and not isinstance(value, bool):
            yield f"# {key}: {_without_secrets(key, value)}"
        else:
            yield f"{key} = {_written(value)}"


def _without_secrets(key: str, value: SecretStr | tuple[SecretStr, ...] | str) -> str:
    if key == "secrets":
        return f"{len(value)} set"
    if key in ("redis", "proxy") and isinstance(value, SecretStr):
        return _without_credentials(key, value.get_secret_value())
    return "set"


def _without_credentials(key: str, url: str) -> str:
    if key == "proxy":
        return str(parse_proxy(key, url))
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _written(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_written, value))}]"
    text = str(getattr(value, "value", value))  # an enum's member, a path, a network
    return json.dumps(text, ensure_ascii=False)
