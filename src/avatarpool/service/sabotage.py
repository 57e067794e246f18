"""Carries a session's faults out, around its socket."""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections.abc import Callable, Iterator, Sequence
from socket import SO_LINGER, SOL_SOCKET

from aiohttp import WSMessage, WSMsgType, web

from avatarpool.endpoint import refusals
from avatarpool.endpoint.limits import ServiceLimits
from avatarpool.endpoint.reading import Reading
from avatarpool.endpoint.refusals import Ending
from avatarpool.endpoint.socket import ServerSocket, SessionOver
from avatarpool.protocol.messages import AnimationFrame, ConfirmSession, Message
from avatarpool.service.faults import Faults, SessionFault, Step

_LOOK = 0.02  # seconds between two looks at whether a peer has gone
_SPOKEN = (WSMsgType.BINARY, WSMsgType.TEXT, WSMsgType.PING, WSMsgType.PONG)


class Sabotage:
    """What one connection gets wrong: its own fault, or else the service's.

    Args:
        faults: The service's.
    """

    def __init__(self, faults: Faults) -> None:
        self._own = faults.of_new_session()
        self._faults = faults
        self.frames = 0  # sent under a fault
        self.is_confirmed = False  # whether the session is open
        self._is_gone = False

    @property
    def fault(self) -> SessionFault | None:
        """What is wrong at present."""
        return self._own or self._faults.sessions

    @property
    def is_idle(self) -> bool:
        """Whether nothing is wrong, and never will be of what was."""
        return self.fault is None and not self._is_gone

    @property
    def is_half_open(self) -> bool:
        """Whether nothing is answered any more: for good, whatever the faults become."""
        fault = self.fault
        if fault is not None and fault.is_half_open and self.is_confirmed and self.is_due(fault):
            self._is_gone = True
        return self._is_gone

    def is_due(self, fault: SessionFault) -> bool:
        """Whether as many frames have left as a fault lets by."""
        return self.frames >= fault.after_frames

    async def before(self, step: Step) -> None:
        """Hold a step up; one that never comes is for the caller to cancel."""
        fault = self.fault
        if fault is None:
            return
        if fault.stalls_at is step and (step is not Step.FRAMES or self.is_due(fault)):
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(fault.delay)

    def spoilt(self, frame: AnimationFrame) -> Iterator[AnimationFrame]:
        """Give what is to be sent in place of a frame, and count it once that is done."""
        fault = self.fault
        if fault is not None and fault.has_wrong_request_ids:
            frame = AnimationFrame(
                secrets.token_hex(8),
                frame.end,
                frame.animation,
                frame.connection_id,
                frame.avatar_id,
            )
        yield frame
        if fault is not None and fault.doubles_end and frame.end:
            yield frame
        self.frames += fault is not None


class FaultySocket(ServerSocket):
    """A socket whose session is sabotaged, or may be from some moment on."""

    def __init__(
        self,
        sabotage: Sabotage,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport,
        reading: Reading,
        name: str,
        limits: ServiceLimits,
    ) -> None:
        super().__init__(socket, transport, reading, name, limits)
        self._sabotage = sabotage

    @property
    def is_held_up(self) -> bool:
        return self._sabotage.fault is not None

    async def ready(self) -> None:
        await self._sabotage.before(Step.HANDSHAKE)

    async def read(self) -> WSMessage:
        while True:
            message = await super().read()
            if not (self._sabotage.is_half_open and message.type in _SPOKEN):
                return message

    async def send(self, *messages: Message) -> None:
        if not self._sabotage.is_half_open:
            await super().send(*messages)
        self._sabotage.is_confirmed |= isinstance(messages[0], ConfirmSession)

    async def send_frames(
        self,
        animations: Sequence[tuple[bytes, bool]],
        framed_now: Callable[[bytes, bool], AnimationFrame],
    ) -> None:
        if self._sabotage.is_idle:
            await super().send_frames(animations, framed_now)
            return
        for animation, end in animations:
            await self._before_frame(end=end)
            for frame in self._sabotage.spoilt(framed_now(animation, end)):
                await self.send(frame)

    async def _before_frame(self, *, end: bool) -> None:
        """Do what goes wrong in place of a frame, or before it.

        Raises:
            SessionOver: The session ends of it.
        """
        sabotage = self._sabotage
        await sabotage.before(Step.FRAMES)
        fault = sabotage.fault
        if fault is None:
            return
        if end and fault.stalls_at is Step.LAST_FRAME:
            await asyncio.get_running_loop().create_future()
        if fault.garbage and sabotage.frames == fault.after_frames:
            await self.socket.send_bytes(fault.garbage)
        if sabotage.is_due(fault) and fault.resets:
            sock = self.transport.get_extra_info("socket")
            # No time to linger: closing resets.
            sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
            raise SessionOver(None)
        if sabotage.is_due(fault) and fault.close_code is not None:
            raise SessionOver(refusals.fault(fault.close_code))

    async def _close(self, ending: Ending | None) -> None:
        if not self._sabotage.is_half_open:
            await super()._close(ending)
            return
        while not self.transport.is_closing():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(_LOOK)
