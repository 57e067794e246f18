"""An upgrade as a stranger asks for it: read to the letter, before anything else sees it.

One request, without a body, whose header fields are each there once where twice would mean two
things to two readers (RFC 9112, 5 and 6; RFC 6455, 4.2). Pure.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

MAX_HEAD_BYTES = 16 * 1024

_REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) ([!-~]{1,8192}) HTTP/1\.([01])")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}):[ \t]*([^\r\n\0]*)")
_MAX_FIELDS = 100
_MAX_QUERY_FIELDS = 50

_ONCE = frozenset({"host", "sec-websocket-key", "sec-websocket-version", "upgrade", "origin"})


class BadRequest(Exception):
    """It is no request that could be answered otherwise than with 400."""


@dataclass(frozen=True, slots=True)
class RequestHead:
    """The beginning of an HTTP request.

    Attributes:
        method: In capitals.
        path: Without the query.
        query: Decoded.
        headers: By lower-case names.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]

    @property
    def websocket_key(self) -> str:
        """The key of a WebSocket's upgrade; empty if it is none."""
        headers = self.headers
        options = [option.strip().lower() for option in headers.get("connection", "").split(",")]
        is_upgrade = (
            self.method == "GET"
            and headers.get("upgrade", "").lower() == "websocket"
            and "upgrade" in options
            and headers.get("sec-websocket-version") == "13"
        )
        key = headers.get("sec-websocket-key", "")
        try:
            is_key = len(base64.b64decode(key, validate=True)) == 16
        except ValueError:
            return ""
        return key if is_upgrade and is_key else ""


def read_request(raw: bytes) -> RequestHead:
    """Read a request up to its empty line.

    Raises:
        BadRequest: It is none, has a body, or could be read in two ways.
    """
    first, *lines = raw.split(b"\r\n")
    line = _REQUEST_LINE.fullmatch(first)
    if line is None or line[3] == b"0":
        raise BadRequest("this is no request of HTTP/1.1")
    headers = _headers(lines)
    if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        raise BadRequest("the request has a body")
    if "host" not in headers:
        raise BadRequest("the request names no host")
    target = line[2].decode()
    if not target.startswith("/"):
        raise BadRequest("the request names no path")
    parts = urlsplit(f"//host{target}")
    try:
        query = dict(parse_qsl(parts.query, max_num_fields=_MAX_QUERY_FIELDS))
    except ValueError:
        raise BadRequest("the query has too many fields") from None
    return RequestHead(line[1].decode(), parts.path, query, headers)


def _headers(lines: list[bytes]) -> dict[str, str]:
    if len(lines) > _MAX_FIELDS:
        raise BadRequest("the request has too many headers")
    headers: dict[str, str] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise BadRequest("a header is none")
        name, value = field[1].decode().lower(), field[2].rstrip(b" \t").decode("latin-1")
        if name in headers and (name in _ONCE or name.startswith(("x-", "content-"))):
            raise BadRequest(f"the header {name} is there twice")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def for_picows(head: RequestHead) -> bytes:
    """Return the upgrade in the one form that picows takes; it has no token."""
    return (
        f"GET / HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {head.websocket_key}\r\n\r\n"
    ).encode()


def refusal(status: int, reason: str, headers: dict[str, str], body: bytes) -> bytes:
    """Return an answer after which the connection is closed."""
    fields = {**headers, "Content-Length": str(len(body)), "Connection": "close"}
    if status == 426:
        fields["Connection"] = "Upgrade, close"
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} {reason}\r\n{lines}\r\n".encode() + body
