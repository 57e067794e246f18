"""Audio going out: one request's after the other's, in pieces, no faster than the peer takes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from avatarpool.audio import RequestEncoder, check_audio
from avatarpool.client import outgoing
from avatarpool.client.callbacks import call
from avatarpool.client.routing import Router
from avatarpool.config import SessionConfig
from avatarpool.exceptions import (
    AudioError,
    AvatarSDKError,
    AvatarSDKErrorCode,
    SessionStateError,
)
from avatarpool.protocol.codec import audio_parts, encode
from avatarpool.protocol.messages import Interrupt
from avatarpool.transport.websocket import WebSocket


class Sending:
    """Sends a session's requests.

    Args:
        config: The session's.
        router: Records what is sent.
        websocket: Returns what to send over, or raises why nothing can be sent.
        stuck: Told of a peer that takes nothing; the WebSocket is cut then.
    """

    __slots__ = (
        "_config",
        "_encoder",
        "_lock",
        "_log",
        "_piece_bytes",
        "_router",
        "_stuck",
        "_websocket",
    )

    def __init__(
        self,
        config: SessionConfig,
        router: Router,
        websocket: Callable[[], WebSocket],
        stuck: Callable[[AvatarSDKError], None],
    ) -> None:
        self._config = config
        self._router = router
        self._log = router.log
        self._websocket = websocket
        self._stuck = stuck
        self._encoder = RequestEncoder(config)
        self._piece_bytes = outgoing.PIECE_BYTES  # smaller to a peer that is slow
        self._lock = asyncio.Lock()  # one send after the other, each whole

    async def audio(self, audio: bytes | bytearray | memoryview, *, end: bool) -> str:
        """Send audio of the current request, or begin one: see `AvatarSession.send_audio`."""
        waits_amid = self._lock.locked() and self._log.is_half_sent
        begun = self._log.current if waits_amid else None
        async with self._lock:
            self._log.check_same(begun)
            return await self._send(audio, end=end)

    async def _send(self, audio: bytes | bytearray | memoryview, *, end: bool) -> str:
        self._websocket()  # raises if there is none
        requests, encoder = self._log, self._encoder
        is_first = not requests.is_half_sent
        if is_first:
            requests.check_free()
            if not audio:
                raise AudioError("a request needs audio: its first piece is empty")
        check_audio(audio, encoder.takes, is_first=is_first)
        req_id, rest, is_fast = "", memoryview(audio).cast("B"), True
        while True:
            if req_id and requests.current != req_id:
                raise SessionStateError(
                    f"request {req_id} was interrupted while its audio was being sent"
                )
            size = encoder.portion_bytes or self._piece_bytes
            portion, rest = rest[:size], rest[size:]
            is_last = end and not rest
            piece = encoder.encode(portion, end=is_last, is_first=is_first and not req_id)
            if piece or is_last:
                req_id = self._put_audio(piece, end=is_last)
                is_fast = await self._left_at_once(req_id) and is_fast
            if not rest:
                break
        if is_fast:
            self._piece_bytes = outgoing.PIECE_BYTES
        req_id = req_id or requests.last or ""
        if end and req_id == requests.last:  # the encoder is not the next one's already
            encoded = encoder.finish()
            if encoded is not None:
                call(self._config.on_encoded_audio, req_id, encoded)
        return req_id

    def interrupt(self) -> str:
        """Stop the most recent request: see `AvatarSession.interrupt`."""
        websocket = self._websocket()
        # A service may take an interrupt of an open request for a pause in the audio.
        self.end()
        is_news = not self._log.is_interrupted
        req_id = self._log.interrupt()
        self._encoder.forget()
        if is_news:
            websocket.write(encode(Interrupt(req_id)))
        return req_id

    def end(self) -> None:
        """End a request's audio that is half-sent."""
        if self._log.is_half_sent:
            self._put_audio(b"", end=True)

    def forget(self) -> None:
        """Encode no more of the current request: it is over."""
        self._encoder.forget()

    def _put_audio(self, audio: bytes | memoryview, *, end: bool) -> str:
        """Queue one piece of the current request's audio; return its id."""
        websocket = self._websocket()
        # A user's callable: asked first, so that its failure begins no request.
        trace = {} if self._log.is_half_sent else outgoing.trace_context(self._config)
        req_id = self._router.audio(end=end)
        websocket.write(*audio_parts(req_id, audio, end=end, **trace))
        if end:
            self._router.settle()
        return req_id

    async def _left_at_once(self, req_id: str) -> bool:
        """Wait until the kernel has what was queued; return whether it took no waiting."""
        websocket = self._websocket()
        if not websocket.is_held_back:
            if self._encoder.portion_bytes:
                await asyncio.sleep(0)  # encoding takes time: others have their turn
            return True
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            await websocket.drain(self._config.send_timeout)
        except TimeoutError as error:
            failure = AvatarSDKError(
                AvatarSDKErrorCode.connectionFailed,
                f"the peer took no data for {self._config.send_timeout:.2f} s",
                phase="websocket_send",
                connection_id=self._router.connection_id,
                req_id=req_id,
            )
            self._stuck(failure)
            raise failure from error
        if loop.time() - began > outgoing.SLOW_SECONDS:
            self._piece_bytes = outgoing.SLOW_PIECE_BYTES
        return False
