"""A peer that sends faces to rooms: what came to it, and what it plays."""

from __future__ import annotations

import asyncio

from avatarpool.protocol.codec import decode, encode
from avatarpool.protocol.messages import AnimationFrame, ConfirmSession, PlaybackState


class Stage:
    """What `peer` behaves like: confirms each session, and answers nothing by itself."""

    def __init__(self):
        self.configurations, self.messages = [], []
        self.sockets = []
        self._came = asyncio.Event()

    async def behave(self, websocket):
        self.sockets.append(websocket)
        self.configurations.append(decode(await websocket.receive_bytes()))
        await websocket.send_bytes(encode(ConfirmSession(f"upstream-{len(self.sockets)}")))
        async for message in websocket:
            self.messages.append(decode(message.data))
            self._came.set()

    def of(self, kind):
        return [message for message in self.messages if isinstance(message, kind)]

    async def until(self, kind, count=1):
        async with asyncio.timeout(30):
            while len(self.of(kind)) < count:
                self._came.clear()
                await self._came.wait()

    async def until_open(self, count):
        """Wait for so many sessions, ever."""
        async with asyncio.timeout(30):
            while len(self.sockets) < count:
                await asyncio.sleep(0.01)

    async def answer(self, req_id, *, end):
        """Send a frame of a request."""
        frame = AnimationFrame(req_id, end, b"", "upstream", "avatar")
        await self.sockets[-1].send_bytes(encode(frame))

    async def tell(self, req_id, state, number=-1, **facts):
        """Say how the room plays, over the latest session or another one."""
        await self.sockets[number].send_bytes(encode(PlaybackState(req_id, state, **facts)))
