"""The peer's answer to a WebSocket's upgrade, read here and not by picows.

picows 2.3 takes a 101 whose ``Connection`` is ``Upgrade`` and nothing else, lets
extensions and subprotocols pass that nobody asked for, and reads of a refusal what
came in the packet of its headers. So a protocol of ours stands in front of picows' from
the first byte: it judges the answer by the letter of RFC 6455 (4.1) and either says what
is wrong or gives picows the one form it takes. Then it is gone.

Of picows this relies on what its own `ws_connect` does: ``WSProtocol`` is a buffered
protocol that sends its request when a connection is made, and shows it at once at
``transport.request``; it reads what is put where ``get_buffer`` says, and
``wait_until_handshake_complete`` tells what it thinks of an answer.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Any, cast

from avatarpool.protocol.refusals import HIDDEN

_MAX_HEAD_BYTES = 16 * 1024

# A refusal's sentence is short. A page of a gateway's may be long, or never end.
_MAX_BODY_BYTES = 16 * 1024
_BODY_SECONDS = 1.0

_READ_BYTES = 2048

_BEGINNING = b"HTTP/1."
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)(?: [^\r\n]*)?")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\r\n\0]*)")
_FOLD = re.compile(rb"[ \t]*\r\n[ \t]+")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[^\r\n]*\r\n")

# What picows takes, and all that it needs.
_ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %b\r\n\r\n"
)

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

_SHOWN = 60  # characters of what a peer wrote


class UpgradeFailed(Exception):
    """The peer's answer is not the WebSocket that was asked for.

    Attributes:
        status: The answer's HTTP status; None where it is no HTTP.
        body: What came of a refusal's body.
    """

    def __init__(self, why: str, *, status: int | None = None, body: bytes = b"") -> None:
        super().__init__(why)
        self.status = status
        self.body = body


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of an HTTP response.

    Attributes:
        minor: Of its version, HTTP/1.x.
        status: Its status.
        fields: Its header fields by their lower-case names; several of one name are one
            list, as HTTP has it.
    """

    minor: int
    status: int
    fields: dict[str, str]


def read_head(raw: bytes) -> Head:
    """Read a response up to its empty line.

    Raises:
        UpgradeFailed: It is no HTTP/1.
    """
    first, *lines = _FOLD.sub(b" ", raw).split(b"\r\n")  # a folded line is one (RFC 9112, 5.2)
    status_line = _STATUS_LINE.fullmatch(first)
    if status_line is None:
        raise _no_http(f"it began with {_shown(first)}")
    fields: dict[str, str] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise _no_http(f"one of its headers is {_shown(line)}")
        name, value = field[1].decode().lower(), field[2].rstrip(b" \t").decode("latin-1")
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return Head(int(status_line[1]), int(status_line[2]), fields)


def check_switch(head: Head, accept: str) -> None:
    """Check a 101: whether it opens the WebSocket that was asked for.

    Args:
        head: The answer.
        accept: The ``Sec-WebSocket-Accept`` that belongs to the request's key.

    Raises:
        UpgradeFailed: It does not.
    """
    why = _wrong_with(head, accept)
    if why:
        raise UpgradeFailed(f"the peer's 101 opens no such WebSocket: {why}", status=101)


def _wrong_with(head: Head, accept: str) -> str:
    upgrade, connection, accepted, extensions, subprotocol = map(
        head.fields.get,
        (
            "upgrade",
            "connection",
            "sec-websocket-accept",
            "sec-websocket-extensions",
            "sec-websocket-protocol",
        ),
    )
    tokens = [token.strip(" \t").lower() for token in (connection or "").split(",")]
    has_body = "transfer-encoding" in head.fields or head.fields.get("content-length", "0") != "0"
    complaints = (
        (head.minor == 0, "it is of HTTP/1.0"),
        (
            (upgrade or "").lower() != "websocket",
            f"its Upgrade is {_shown(upgrade)} and not 'websocket'",
        ),
        ("upgrade" not in tokens, f"its Connection is {_shown(connection)} and names no 'Upgrade'"),
        (accepted != accept, f"its Sec-WebSocket-Accept is {_shown(accepted)}: of another key"),
        (extensions, f"it chose the extension {_shown(extensions)}, which nobody asked for"),
        (subprotocol, f"it chose the subprotocol {_shown(subprotocol)}, which nobody asked for"),
        (has_body, "it has a body"),
    )
    return next((why for is_wrong, why in complaints if is_wrong), "")


def read_body(head: Head, data: bytes) -> tuple[bytes, bool]:
    """Return what is there of a response's body, and whether that is all of it."""
    if head.status in (204, 304):
        return b"", True
    if "transfer-encoding" in head.fields:
        return _read_chunks(data)
    length = head.fields.get("content-length", "")
    if re.fullmatch("[0-9]{1,15}", length):
        return data[: int(length)], len(data) >= int(length)
    return data, False  # its end is that of the connection


def _read_chunks(data: bytes) -> tuple[bytes, bool]:
    body = b""
    while chunk := _CHUNK_SIZE.match(data):
        begin, size = chunk.end(), int(chunk[1], 16)
        if size == 0:
            return body, True
        body += data[begin : begin + size]
        data = data[begin + size + 2 :]
    return body, False


def _no_http(why: str) -> UpgradeFailed:
    return UpgradeFailed(f"the peer did not answer as a WebSocket server: {why}")


def _shown(text: str | bytes | None) -> str:
    if text is None:
        return "missing"
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


class Upgrade(asyncio.BufferedProtocol):
    """Stands between a transport and picows until the peer has answered.

    Args:
        picows: Its ``WSProtocol``, of a client.
        secret: What must not be seen of the answer's headers.
    """

    def __init__(self, picows: Any, secret: str) -> None:
        self._picows = picows
        self._secret = secret.encode()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._room = memoryview(bytearray(_READ_BYTES))
        self._data = bytearray()  # not dealt with yet
        self._refusal: Head | None = None  # whose body is on its way
        self._patience: asyncio.TimerHandle | None = None  # for that
        self._answered: asyncio.Future[None] = self._loop.create_future()

    async def wait_answered(self) -> None:
        """Wait until the WebSocket is open.

        Cancelling leaves the connection to `abort`.

        Raises:
            UpgradeFailed: The answer was another, or there was none.
            OSError: The connection broke.
        """
        await self._answered
        await self._picows.wait_until_handshake_complete()

    @property
    def refusal(self) -> UpgradeFailed | None:
        """The refusal that has come so far."""
        if self._refusal is None:
            return None
        body, _ = read_body(self._refusal, bytes(self._data[:_MAX_BODY_BYTES]))
        status = self._refusal.status
        return UpgradeFailed(f"HTTP {status}", status=status, body=body)

    def abort(self) -> None:
        """Cut the connection, if there is one."""
        self._settle()
        if self._transport is not None:
            self._transport.abort()

    # --- called by the transport ---------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Have picows send its request."""
        self._transport = cast("asyncio.Transport", transport)
        self._picows.connection_made(transport)

    def get_buffer(self, _hint: int) -> memoryview:
        """Return where the next read goes."""
        return self._room

    def buffer_updated(self, size: int) -> None:
        """Take what was read."""
        if self._answered.done():
            return
        self._data += self._room[:size]
        try:
            self._advance()
        except UpgradeFailed as failed:
            self._settle(failed)

    def connection_lost(self, error: Exception | None) -> None:
        """Take the end of the connection, which may be that of a refusal."""
        closed = UpgradeFailed("the peer closed the connection during the upgrade")
        self._settle(self.refusal or error or closed)

    # --- the answer ------------------------------------------------------------

    def _advance(self) -> None:
        while self._refusal is None:
            end = self._data.find(b"\r\n\r\n")
            if not _BEGINNING.startswith(bytes(self._data[: len(_BEGINNING)])):
                raise _no_http(f"it began with {_shown(self._presentable(len(self._data)))}")
            if max(end, len(self._data) if end < 0 else 0) > _MAX_HEAD_BYTES:
                raise _no_http(f"its headers are over {_MAX_HEAD_BYTES} bytes")
            if end < 0:
                return
            head = read_head(self._presentable(end))
            del self._data[: end + 4]
            if head.status == 101:
                self._switch(head)
                return
            if head.status >= 200:  # what is below announces an answer
                self._refusal = head
                self._patience = self._loop.call_later(_BODY_SECONDS, self._refuse)
        _, is_whole = read_body(self._refusal, bytes(self._data))
        if is_whole or len(self._data) >= _MAX_BODY_BYTES:
            self._refuse()

    def _refuse(self) -> None:
        self._settle(self.refusal)

    def _presentable(self, end: int) -> bytes:
        head = bytes(self._data[:end])
        return head.replace(self._secret, HIDDEN.encode()) if self._secret else head

    def _switch(self, head: Head) -> None:
        assert self._transport is not None
        key = self._picows.transport.request.headers["Sec-WebSocket-Key"].encode()
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest()).decode()  # noqa: S324
        check_switch(head, accept)
        self._transport.set_protocol(self._picows)
        self._pass_on(_ACCEPTED % accept.encode())
        self._pass_on(self._data)
        self._settle()

    def _pass_on(self, data: bytes | bytearray) -> None:
        assert self._transport is not None
        left = memoryview(data)
        while left and not self._transport.is_closing():
            reading: Any = self._transport.get_protocol()  # somebody may stand before picows
            room = reading.get_buffer(-1)
            size = min(len(room), len(left))
            room[:size] = left[:size]
            reading.buffer_updated(size)
            left = left[size:]

    def _settle(self, failed: Exception | None = None) -> None:
        if self._patience is not None:
            self._patience.cancel()
        if self._answered.done():
            return
        if failed is None:
            self._answered.set_result(None)
        else:
            self._answered.set_exception(failed)
            self._answered.exception()  # who waits may have been cancelled
