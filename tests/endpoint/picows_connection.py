"""One connection of the second shell: picows' frames in, the conversation's events carried out.

No task and no thread: what comes is answered in the callback that brings it, and audio is
animated a step at a time in callbacks of their own, so that an interrupt can overtake it.
"""

from __future__ import annotations

import asyncio

from picows import WSListener, WSMsgType

from avatarpool.endpoint import refusals
from avatarpool.endpoint.conversation import Audio, Configured, Over, Say, Stopped
from avatarpool.lipsync import EchoDriver
from avatarpool.protocol.codec import encode
from avatarpool.protocol.messages import ServerError
from avatarpool.protocol.settings import AudioFormat
from avatarpool.protocol.texts import close_reason
from avatarpool.service.decoding import AudioRefused, PcmDecoder
from avatarpool.service.generation import STEP_MS, Pipeline
from avatarpool.service.opus import OpusDecoder


class Echo:
    """One request's audio, and what makes keyframes of it."""

    def __init__(self, configuration, limits):
        is_opus = configuration.audio_format is AudioFormat.OGG_OPUS
        decoder = OpusDecoder() if is_opus else PcmDecoder(configuration.sample_rate)
        rate = decoder.sample_rate
        self._pipeline = Pipeline(decoder, lambda: EchoDriver(rate, 0), limits.max_request_seconds)
        self._piece_bytes = 1024 if is_opus else 2 * (rate * STEP_MS // 1000)
        self._is_hungry = True
        self._charged = 0.0  # seconds of it, so far
        self.audio = bytearray()
        self.has_ended = False

    @property
    def has_audio(self):
        return bool(self.audio) or not self._is_hungry

    def charged(self):
        before, self._charged = self._charged, self._pipeline.seconds
        return self._charged - before

    def step(self):
        size = self._piece_bytes if self._is_hungry else 0
        piece = bytes(self.audio[:size])
        del self.audio[:size]
        step = self._pipeline.step(piece, end=self.has_ended and not self.audio)
        self._is_hungry = step.is_hungry
        return step


class Connection(WSListener):
    """One WebSocket, whose conversation decides everything."""

    def __init__(self, service, conversation, account):
        super().__init__()
        self._service, self._limits = service, service.limits
        self._conversation = conversation
        self._account = account
        self._loop = asyncio.get_running_loop()
        self._pieces = bytearray()  # of a message under way
        self._echoes = {}  # of the requests that are open
        self._turn = None  # a callback that animates, while there is something to
        self._alarm = None  # for what the conversation, and closing it, may take
        self._patience = None  # while the peer leaves unread what is sent
        self._is_over = False

    # --- called by picows ----------------------------------------------------------------

    def on_ws_connected(self, transport):
        self.transport = transport
        self._service.connections.add(self)
        self._service.roster.join(self._conversation)
        self._await_deadline()

    def on_ws_disconnected(self, transport):
        self._stop()
        for handle in (self._turn, self._alarm, self._patience):
            if handle is not None:
                handle.cancel()
        self._service.roster.leave(self._conversation)
        self._service.connections.remove(self)
        self._account.leave()

    def on_ws_frame(self, transport, frame):
        if frame.msg_type == WSMsgType.CLOSE:
            self._stop()
            transport.send_close(frame.get_close_code() or refusals.NORMAL)  # unless it was
            transport.disconnect()
        elif self._is_over or frame.msg_type == WSMsgType.PONG:
            pass
        elif frame.msg_type == WSMsgType.TEXT:
            self.end(refusals.TEXT_MESSAGE)
        elif len(self._pieces) + frame.payload_size > self._limits.max_message_bytes:
            self.end(refusals.message_too_large(self._limits.max_message_bytes))
        else:
            self._pieces += frame.get_payload_as_memoryview()
            if frame.fin:
                message = bytes(self._pieces)
                self._pieces.clear()
                self._do(self._conversation.receive(message, self._loop.time()))

    def pause_writing(self):
        """Read and animate nothing while the peer does not read; cut it if it never does."""
        self._patience = self._cut_in(self._limits.send_timeout)
        self.transport.underlying_transport.pause_reading()

    def resume_writing(self):
        self._patience.cancel()
        self._patience = None
        self.transport.underlying_transport.resume_reading()
        self._await_turn()

    # --- what the conversation says --------------------------------------------------------

    def _do(self, events):
        for event in events:
            match event:
                case Configured(configuration):
                    self._configuration = configuration
                    self._do(self._conversation.confirm(self._loop.time()))
                    self._await_deadline()
                case Audio(req_id):
                    if event.is_first:
                        self._echoes[req_id] = Echo(self._configuration, self._limits)
                    self._echoes[req_id].audio += event.audio
                    self._echoes[req_id].has_ended |= event.end
                    self._await_turn()
                case Stopped(req_id):
                    self._echoes.pop(req_id, None)
                case Say(message):
                    self.transport.send(WSMsgType.BINARY, encode(message))
                case Over(ending):
                    self.end(ending)

    def _await_turn(self):
        is_due = any(echo.has_audio or echo.has_ended for echo in self._echoes.values())
        if is_due and self._turn is None and self._patience is None:
            self._turn = self._loop.call_soon(self._take_turn)

    def _take_turn(self):
        self._turn = None
        for req_id, echo in tuple(self._echoes.items()):
            if not self._is_over and (echo.has_audio or echo.has_ended):
                self._animate(req_id, echo)
        self._await_turn()

    def _animate(self, req_id, echo):
        conversation = self._conversation
        if echo.has_audio and not self._account.has_credits:
            self.end(refusals.CREDITS_EXHAUSTED)
            return
        try:
            step = echo.step()
        except AudioRefused as refusal:
            self._do(conversation.fail(req_id, refusals.INVALID_ARGUMENT, str(refusal)))
            return
        self._account.charge(echo.charged())
        animations = step.animations or [b""] * step.is_done
        for left, animation in enumerate(animations, 1 - len(animations)):
            is_last = step.is_done and left == 0
            self._do([Say(conversation.frame(req_id, animation, end=is_last))])
        if step.is_done:
            del self._echoes[req_id]

    # --- when it is over -----------------------------------------------------------------

    def _await_deadline(self):
        if self._is_over:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        deadline = self._conversation.deadline
        self._alarm = self._loop.call_at(deadline, self._expire, deadline)

    def _expire(self, deadline):
        now = max(self._loop.time(), deadline)  # a loop may be early
        is_busy = any(echo.audio for echo in self._echoes.values())
        over = self._conversation.expire(now, is_busy=is_busy)
        self._do([over] if over else [])
        self._await_deadline()

    def end(self, ending):
        """Say why and close, in bounded time."""
        if self._is_over:
            return
        if ending.code is not None:
            name = self._conversation.connection_id
            self._do([Say(ServerError(ending.code, ending.message, name))])
        self._stop()
        self.transport.send_close(ending.close_code, close_reason(ending.message))
        self.transport.underlying_transport.resume_reading()  # for its answer
        self._alarm = self._cut_in(self._limits.close_timeout)

    def _cut_in(self, seconds):
        return self._loop.call_later(seconds, self.transport.disconnect, False)

    def _stop(self):
        self._is_over = True
        self._conversation.end()
        self._echoes.clear()
        self._alarm.cancel()
