"""WebSocket frames passed on by picows, one connection up for each one down, and nothing else.

    picows_relay.py LOOP PORT

It is what a relay costs that knows nothing of requests, sessions, accounts or ids. Prints its
port, and runs until its standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys

import picows
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest
from upstream import allow_many_sockets


class Side(WSListener):
    """One of a pair of connections."""

    def __init__(self) -> None:
        super().__init__()
        self.transport: WSTransport | None = None
        self.other: Side | None = None
        self._early: list[bytes] = []  # before there was an other side
        self._opening: asyncio.Task[None] | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Begin."""
        self.transport = transport

    def open_other(self, port: int, path: str) -> None:
        """Connect the other side."""
        self._opening = asyncio.create_task(self._open(port, path))

    async def _open(self, port: int, path: str) -> None:
        _, other = await picows.ws_connect(Side, f"ws://127.0.0.1:{port}{path}")
        assert isinstance(other, Side)
        assert other.transport is not None
        self.other, other.other = other, self
        for message in self._early:
            other.transport.send(WSMsgType.BINARY, message)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Pass it on."""
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        elif self.other is None or self.other.transport is None:
            self._early.append(frame.get_payload_as_bytes())
        else:
            self.other.transport.send(WSMsgType.BINARY, frame.get_payload_as_memoryview())

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """End the other one, too."""
        del transport
        if self.other is not None and self.other.transport is not None:
            self.other.transport.disconnect()

    def pause_writing(self) -> None:
        """Go on: what a slow client leaves waits in memory."""

    resume_writing = pause_writing


async def main(port: int) -> None:
    """Relay until standard input ends."""
    allow_many_sockets()

    def accept(request: WSUpgradeRequest) -> Side:
        side = Side()
        side.open_other(port, request.path.decode())
        return side

    server = await picows.ws_create_server(accept, "127.0.0.1", 0, backlog=4096)
    print(json.dumps(server.sockets[0].getsockname()[1]), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    if sys.argv[1] == "uvloop":
        import uvloop

        uvloop.run(main(int(sys.argv[2])))
    else:
        asyncio.run(main(int(sys.argv[2])))
