"""A service that goes on listening while it speaks, and stops in a manner of its own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import Enum

from aiohttp import WSMsgType, web
from echo import EchoDriver
from faults.peers import ScriptedPeer

from avatarpool.protocol.codec import decode, encode
from avatarpool.protocol.keyframes import encode_keyframes
from avatarpool.protocol.messages import (
    AnimationFrame,
    AudioInput,
    ConfirmSession,
    Interrupt,
    ServerError,
)

FIRST_FRAME = 0.03
"""Seconds from a request's first audio to its first frame."""

STEP = 0.02
"""Seconds from frame to frame."""


class Manner(Enum):
    """How a service answers the interrupt of what it is saying."""

    ENDS = "an `end`"
    STOPS = "silence"
    FLOWS = "frames that go on to their `end`"
    FAILS = "error 3 that names no request"
    FAILS_BY_NAME = "error 3 that names it"


class Speech:
    """One request: its audio as it comes, its frames as they are due."""

    def __init__(self, req_id: str) -> None:
        self.req_id = req_id
        self.is_heard = False  # whether its audio has ended
        self.is_over = False
        self.frames_left: int | None = None  # it stops after so many more
        self._driver = EchoDriver(16000, 0)
        self._keyframes: list[bytes] = []
        self._more = asyncio.Event()

    def hear(self, audio: bytes, *, end: bool) -> None:
        """Take audio."""
        keyframes = self._driver.feed(audio) + (self._driver.finish() if end else [])
        self._keyframes += [encode_keyframes([each]) for each in keyframes]
        self.is_heard = end
        self._more.set()

    def stop(self) -> bool:
        """Say no more; return whether there was more to say."""
        was_over, self.is_over = self.is_over, True
        self._more.set()
        return not was_over

    async def next_frame(self) -> AnimationFrame | None:
        """Wait for the next frame; None: it was stopped."""
        while not self._keyframes and not self.is_heard:
            self._more.clear()
            await self._more.wait()
            if self.is_over:
                return None
        keyframe = self._keyframes.pop(0) if self._keyframes else b""
        end = self.is_heard and not self._keyframes
        return AnimationFrame(self.req_id, end, keyframe)


@dataclass
class Speaker(ScriptedPeer):
    """Answers requests one after another, at a service's pace, and interrupts meanwhile.

    Attributes:
        manner: How it answers an interrupt.
        first_frame: Seconds to the first frame of the requests that it takes up from now on.
        lag: Frames that one that stops in silence speaks on.
        spoke_at: When each session sent its latest frame, by the event loop's clock.
        interrupts: The requests that were interrupted, each time.
        cut_short: Those of them whose audio had not ended: an offence.
    """

    manner: Manner = Manner.ENDS
    first_frame: float = FIRST_FRAME
    lag: int = 0
    spoke_at: dict[str, float] = field(default_factory=dict)
    interrupts: list[str] = field(default_factory=list)
    cut_short: list[str] = field(default_factory=list)

    async def _converse(self, websocket: web.WebSocketResponse, number: int) -> None:
        name = f"speaker-{number}"
        speeches: dict[str, Speech] = {}
        queue: asyncio.Queue[Speech] = asyncio.Queue()
        speaking = asyncio.ensure_future(self._speak(websocket, name, queue))
        try:
            async for data in websocket:
                if data.type is not WSMsgType.BINARY:
                    return
                match decode(data.data):
                    case AudioInput(req_id, audio, end):
                        if req_id not in speeches:
                            speeches[req_id] = Speech(req_id)
                            queue.put_nowait(speeches[req_id])
                        speeches[req_id].hear(audio, end=end)
                    case Interrupt(req_id):
                        await self._interrupted(websocket, speeches[req_id])
                    case _:
                        await websocket.send_bytes(encode(ConfirmSession(name)))
        finally:
            speaking.cancel()
            await asyncio.wait([speaking])

    async def _speak(
        self, websocket: web.WebSocketResponse, name: str, queue: asyncio.Queue[Speech]
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            speech = await queue.get()
            await asyncio.sleep(self.first_frame)
            while not speech.is_over:
                frame = await speech.next_frame()
                if frame is None:
                    break
                speech.is_over = frame.end
                self.spoke_at[name] = loop.time()
                await websocket.send_bytes(encode(frame))
                if speech.frames_left is not None:
                    speech.frames_left -= 1
                    speech.is_over |= not speech.frames_left
                await asyncio.sleep(STEP)

    async def _interrupted(self, websocket: web.WebSocketResponse, speech: Speech) -> None:
        manner, req_id = self.manner, speech.req_id
        self.interrupts.append(req_id)
        if not speech.is_heard:
            self.cut_short.append(req_id)
        if manner is Manner.FLOWS:
            return
        if self.lag:
            speech.frames_left = self.lag
            return
        had_more = speech.stop()
        if manner is Manner.ENDS and had_more:
            await websocket.send_bytes(encode(AnimationFrame(req_id, end=True)))
        elif manner is Manner.FAILS:
            await websocket.send_bytes(encode(ServerError(3, "nothing to interrupt", "", "")))
        elif manner is Manner.FAILS_BY_NAME:
            await websocket.send_bytes(encode(ServerError(3, "nothing to interrupt", "", req_id)))
