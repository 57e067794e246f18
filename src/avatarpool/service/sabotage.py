"""Carries a session's faults out."""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections.abc import Callable, Iterator
from socket import SO_LINGER, SOL_SOCKET

from aiohttp import web

from avatarpool.protocol.messages import AnimationFrame
from avatarpool.service import refusals
from avatarpool.service.faults import Faults, SessionFault, Step
from avatarpool.service.refusals import SessionOver

_LOOK = 0.02  # seconds between two looks at whether a peer has gone


class Sabotage:
    """What one connection gets wrong: its own fault, or else the service's.

    Args:
        faults: The service's.
    """

    def __init__(self, faults: Faults) -> None:
        self._own = faults.of_new_session()
        self._faults = faults
        self._frames = 0  # sent under a fault
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
        if fault is not None and fault.is_half_open and self.is_confirmed and self._is_due(fault):
            self._is_gone = True
        return self._is_gone

    async def before(self, step: Step) -> None:
        """Hold a step up; one that never comes is for the caller to cancel."""
        fault = self.fault
        if fault is None:
            return
        is_due = step is not Step.FRAMES or self._is_due(fault)
        if fault.stalls_at is step and is_due:
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(fault.delay)

    async def before_frame(
        self, socket: web.WebSocketResponse, transport: asyncio.Transport, *, end: bool
    ) -> None:
        """Do what goes wrong in place of a frame, or before it.

        Raises:
            SessionOver: The session ends of it.
        """
        await self.before(Step.FRAMES)
        fault = self.fault
        if fault is None:
            return
        if end and fault.stalls_at is Step.LAST_FRAME:
            await asyncio.get_running_loop().create_future()
        if fault.garbage and self._frames == fault.after_frames:
            await socket.send_bytes(fault.garbage)
        if self._is_due(fault) and fault.resets:
            sock = transport.get_extra_info("socket")
            # No time to linger: closing resets.
            sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
            raise SessionOver(None)
        if self._is_due(fault) and fault.close_code is not None:
            raise SessionOver(refusals.fault(fault.close_code))

    def spoil(self, frame: AnimationFrame) -> Iterator[AnimationFrame]:
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
        self._frames += fault is not None

    def _is_due(self, fault: SessionFault) -> bool:
        return self._frames >= fault.after_frames


async def until_closing(transport: asyncio.Transport) -> None:
    """Wait until a peer has hung up."""
    while not transport.is_closing():  # noqa: ASYNC110  # nobody tells
        await asyncio.sleep(_LOOK)


async def until_gone(request: web.Request, seconds: float, is_closing: Callable[[], bool]) -> None:
    """Leave a request alone for so long, or until its client has gone or the service closes."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while (  # noqa: ASYNC110  # a client that goes is not told to its handler
        request.transport is not None and not is_closing() and loop.time() < deadline
    ):
        await asyncio.sleep(min(_LOOK, deadline - loop.time()))
