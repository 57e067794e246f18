"""WebSocket frames, right and wrong (RFC 6455), and a peer that sends and notes them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        opcode: What it is.
        payload: What it carries.
        is_final: Whether its message ends with it.
        reserved: Its three reserved bits, RSV1 the highest.
        is_mismasked: Masked by a server, or not by a client.
        length_bytes: Of its length: 0, 2 or 8 after the first; None: as few as will do.
        announced: A length other than the payload's.
    """

    opcode: int
    payload: bytes = b""
    is_final: bool = True
    reserved: int = 0
    is_mismasked: bool = False
    length_bytes: int | None = None
    announced: int | None = None

    def encode(self, *, by_client: bool) -> bytes:
        """Return it as a client or a server sends it."""
        size = len(self.payload) if self.announced is None else self.announced
        width = self.length_bytes
        if width is None:
            width = 0 if size < 126 else 2 if size < 1 << 16 else 8
        is_masked = by_client is not self.is_mismasked
        first = self.is_final << 7 | self.reserved << 4 | self.opcode
        second = is_masked << 7 | {0: size, 2: 126, 8: 127}[width]
        head = bytes([first, second]) + (size.to_bytes(width) if width else b"")
        if not is_masked:
            return head + self.payload
        mask = random.randbytes(4)
        return head + mask + masked(self.payload, mask)


def close(code: int | None = None, reason: bytes = b"", **options: int) -> Frame:
    """A close frame."""
    return Frame(CLOSE, b"" if code is None else code.to_bytes(2) + reason, **options)  # type: ignore[arg-type]


def masked(payload: bytes, mask: bytes) -> bytes:
    """Mask or unmask."""
    whole = int.from_bytes(mask * (len(payload) // 4 + 1))
    spare = 8 * (len(mask) * (len(payload) // 4 + 1) - len(payload))
    return (int.from_bytes(payload) ^ whole >> spare).to_bytes(len(payload))


def decoded(data: bytes, *, by_client: bool) -> Iterator[Frame]:
    """The whole frames of a correct sender's bytes."""
    while len(data) >= 2:
        first, second = data[0], data[1]
        assert not first & 0x70, "a reserved bit"
        assert bool(second & 0x80) is by_client, "a mask, or none"
        size, at = second & 0x7F, 2
        if size >= 126:
            width = {126: 2, 127: 8}[size]
            if len(data) < at + width:
                return
            size = int.from_bytes(data[at : at + width])
            assert size >= (126 if width == 2 else 1 << 16), "a length in too many bytes"
            at += width
        if by_client:
            mask, at = data[at : at + 4], at + 4
        if len(data) < at + size:
            return
        payload = data[at : at + size]
        yield Frame(first & 0xF, masked(payload, mask) if by_client else payload, first >= 0x80)
        data = data[at + size :]


class RawPeer(asyncio.Protocol):
    """One end of a connection that says what it is told, and notes what it hears."""

    def __init__(self, *, is_client: bool) -> None:
        self.is_client = is_client
        self.transport: asyncio.Transport | None = None
        self.is_gone = False
        self._heard = bytearray()
        self._news = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self._news.set()

    def data_received(self, data: bytes) -> None:
        self._heard += data
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_gone = True
        self._news.set()

    @property
    def head(self) -> bytes:
        """The HTTP head that was heard, once it is whole."""
        head, end, _ = bytes(self._heard).partition(HEAD_END)
        return head + end if end else b""

    @property
    def frames(self) -> list[Frame]:
        """What was heard after it."""
        data = bytes(self._heard).partition(HEAD_END)[2]
        return list(decoded(data, by_client=not self.is_client))

    @property
    def closes(self) -> list[int | None]:
        """The codes of the close frames that were heard."""
        found = [frame.payload for frame in self.frames if frame.opcode == CLOSE]
        return [int.from_bytes(payload[:2]) if payload else None for payload in found]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something holds, or nothing will be heard any more."""
        async with asyncio.timeout(20):
            while not (condition() or self.is_gone):
                self._news.clear()
                await self._news.wait()

    async def say(self, pieces: Iterable[bytes]) -> None:
        """Send pieces one by one: the other end, in the same loop, reads each before the next."""
        for piece in pieces:
            if self.is_gone:
                return
            assert self.transport is not None
            self.transport.write(piece)
            for _ in range(3):
                await asyncio.sleep(0)

    def hang_up(self) -> None:
        if self.transport is not None:
            self.transport.abort()


Cut = Callable[[bytes], Sequence[bytes]]


def at_once(data: bytes) -> Sequence[bytes]:
    """In one packet."""
    return [data]


def byte_by_byte(data: bytes) -> Sequence[bytes]:
    """Each byte on its own; of much, the first and the last few."""
    if len(data) <= 600:
        return [data[i : i + 1] for i in range(len(data))]
    return [*byte_by_byte(data[:300]), data[300:-300], *byte_by_byte(data[-300:])]


def split_at(data: bytes, places: Iterable[int]) -> Sequence[bytes]:
    """In pieces that end at these places, of those that there are."""
    ends = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[i:j] for i, j in pairwise(ends) if i < j]
