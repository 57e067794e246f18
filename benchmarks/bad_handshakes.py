"""Handshakes that must be refused, so many a second: for `cases.gateway_hostile`.

    bad_handshakes.py PORT SECONDS

Of all kinds in turn: without a token, with a wrong one, to another path, of another host,
twice the same header, too long, no HTTP at all, a TLS client's. Each has a connection of its own,
which stays until it is answered. Prints how many it made and how many of them were answered
otherwise than by a refusal.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys

RATE = 200
_PATIENCE = 5.0


def _upgrade(
    port: int, *, path: str = "websocket?id=burst-1", host: str = "", more: str = ""
) -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET /v2/driveningress/{path} HTTP/1.1\r\nHost: {host or f'127.0.0.1:{port}'}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {key}\r\nX-App-ID: app\r\n{more}\r\n"
    ).encode()


def handshakes(port: int) -> list[bytes]:
    """Return one of each kind."""
    return [
        _upgrade(port),
        _upgrade(port, more=f"X-Session-Key: {'x' * 120}\r\n"),
        _upgrade(port, path="elsewhere"),
        _upgrade(port, host="rebound.example"),
        _upgrade(port, more="X-App-ID: another\r\n"),
        _upgrade(port, more=f"X-Filler: {'x' * 20_000}\r\n"),
        os.urandom(64) + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(200) + b"\r\n\r\n",
    ]


async def _try(port: int, handshake: bytes) -> bool:
    """Make one; return whether it was refused."""
    try:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(handshake)
                answer = await reader.read(64)
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return True
    return not answer.startswith(b"HTTP/1.1 101")


async def main(port: int, seconds: float) -> None:
    """Make them."""
    loop = asyncio.get_running_loop()
    end, due = loop.time() + seconds, loop.time()
    tried: list[asyncio.Task[bool]] = []
    while due < end:
        kinds = handshakes(port)
        tried.append(loop.create_task(_try(port, kinds[len(tried) % len(kinds)])))
        due += 1 / RATE
        await asyncio.sleep(due - loop.time())
    refused = sum(await asyncio.gather(*tried))
    print(json.dumps({"made": len(tried), "taken": len(tried) - refused}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
