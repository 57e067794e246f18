"""Clients that mean no good: ``attacks.py KIND PORT SECONDS``, tokens on standard input.

Each holds some connections to a local service, sends the same on all of them as fast as
it is taken, and connects again where it was cut.
"""

from __future__ import annotations

import base64
import os
import selectors
import socket
import struct
import sys
import time
import zlib
from dataclasses import dataclass

from avatarpool.protocol.codec import audio_parts, encode
from avatarpool.protocol.messages import ConfigureSession
from avatarpool.protocol.settings import AudioFormat
from avatarpool.protocol.varints import prefixed

_ASK = b"POST /session-tokens HTTP/1.1\r\nHost: h\r\nX-Api-Key: none\r\nContent-Length: 2\r\n\r\n{}"


def frame(message: bytes, opcode: int = 2, *, is_final: bool = True) -> bytes:
    """Frame a message as a client does, its mask all zeros."""
    head, size = bytes([opcode | 0x80 * is_final]), len(message)
    if size < 126:
        return head + bytes([0x80 | size]) + bytes(4) + message
    if size < 1 << 16:
        return head + b"\xfe" + struct.pack(">H", size) + bytes(4) + message
    return head + b"\xff" + struct.pack(">Q", size) + bytes(4) + message


PCM = frame(encode(ConfigureSession(16000, AudioFormat.PCM_S16LE)))
OPUS = frame(encode(ConfigureSession(48000, AudioFormat.OGG_OPUS)))


@dataclass(frozen=True, slots=True)
class Attack:
    """What is sent on each connection.

    Attributes:
        connections: How many.
        repeated: What is sent again and again.
        first: What is sent before that, once the connection is a WebSocket.
        is_upgraded: Whether it is to be one.
        reads: Whether what is answered is read.
    """

    connections: int
    repeated: bytes = b""
    first: bytes = b""
    is_upgraded: bool = True
    reads: bool = True


def _map(entries: int) -> bytes:
    """A configuration with so many parameters."""
    body = b"\x08\x80\x7d" + b"".join(b"\x42\x08\x0a\x06%06d" % number for number in range(entries))
    return b"\x08\x01\x12" + prefixed(body)


def _audio(req_id: str, audio: bytes) -> bytes:
    return frame(b"".join(audio_parts(req_id, audio, end=True)))


_MIRROR = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _page(packets: list[bytes], flags: int, number: int) -> bytes:
    """An Ogg page (RFC 3533, 6) whose granule position is 0."""
    head = struct.pack("<4sBBqII", b"OggS", 0, flags, 0, 7, number)
    tail = bytes([len(packets), *map(len, packets)]) + b"".join(packets)
    crc = zlib.crc32((head + bytes(4) + tail).translate(_MIRROR), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return head + crc.to_bytes(4, "little").translate(_MIRROR)[::-1] + tail


def _opus() -> bytes:
    """Ogg Opus of 255 packets of 120 ms, of which nothing is to be kept (RFC 7845, 4)."""
    head = struct.pack("<8sBBHIhB", b"OpusHead", 1, 1, 0, 48000, 0, 0)
    silence = [bytes([16 << 3 | 3, 48])] * 255
    tags = b"OpusTags" + bytes(8)
    return _page([head], 2, 0) + _page([tags], 0, 1) + _page(silence, 4, 2)


ATTACKS = {
    "fragments": Attack(
        1, frame(b"", 0, is_final=False) * 10_000, PCM + frame(b"x", 2, is_final=False)
    ),
    "messages": Attack(1, frame(b"\x08\x63") * 10_000, PCM),
    "16 sessions": Attack(16, frame(b"\x08\x63") * 1_000, PCM),
    "pings": Attack(4, frame(b"", 9) * 1_000, PCM),
    "refusals": Attack(1, _audio("i" * 200, b"") * 100, PCM),
    "maps": Attack(2, frame(_map(290_000)), PCM),
    "opus": Attack(8, b"".join(_audio(f"r{n}", _opus()) for n in range(100)), OPUS),
    "first messages": Attack(128, first=b"\x82\xff" + struct.pack(">Q", 4_000_000) + bytes(60_000)),
    "silence": Attack(700, is_upgraded=False),
    "guesses": Attack(8, _ASK, is_upgraded=False),
    "unread": Attack(100, _ASK * 500, is_upgraded=False, reads=False),
}


class Attacker:
    """One connection's share of an attack."""

    def __init__(self, attack: Attack, port: int, tokens: list[str]) -> None:
        self._attack = attack
        self._port = port
        self._tokens = tokens
        self.link = self._connected()

    def _connected(self) -> socket.socket:
        link = socket.socket()
        link.setblocking(False)
        link.connect_ex(("127.0.0.1", self._port))
        self._left = memoryview(self._upgrade() + self._attack.first)
        return link

    def _upgrade(self) -> bytes:
        if not self._attack.is_upgraded:
            return b""
        key = base64.b64encode(os.urandom(16)).decode()
        return (
            "GET /v2/driveningress/websocket?id=local-avatar HTTP/1.1\r\nHost: h\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\nX-App-ID: local-app\r\n"
            f"X-Session-Key: {self._tokens[0]}\r\n\r\n"
        ).encode()

    def go_on(self, *, is_readable: bool) -> bool:
        """Send what is taken, read what is there; return whether it is a new connection."""
        try:
            if is_readable and not self.link.recv(1 << 16):
                raise ConnectionResetError
            if self._left:
                self._left = self._left[self.link.send(self._left) :]
        except BlockingIOError:
            return False
        except OSError:
            self.link.close()
            time.sleep(0.001)  # a processor that only connects is no attack of the service
            self.link = self._connected()
            return True
        self._left = self._left or memoryview(self._attack.repeated)
        return False

    @property
    def events(self) -> int:
        """What its connection waits for."""
        reading = selectors.EVENT_READ if self._attack.reads else 0
        return reading | (selectors.EVENT_WRITE if self._left else 0) or selectors.EVENT_READ


def main() -> None:
    """Attack for so many seconds."""
    kind, port, seconds = sys.argv[1:]
    tokens = sys.stdin.read().split()
    attack, end = ATTACKS[kind], time.monotonic() + float(seconds)
    with selectors.DefaultSelector() as selector:
        for _ in range(attack.connections):
            attacker = Attacker(attack, int(port), tokens)
            selector.register(attacker.link, attacker.events, attacker)
        while time.monotonic() < end:
            for key, events in selector.select(0.1):
                attacker = key.data
                selector.unregister(attacker.link)
                attacker.go_on(is_readable=bool(events & selectors.EVENT_READ) and attack.reads)
                selector.register(attacker.link, attacker.events, attacker)


if __name__ == "__main__":
    main()
