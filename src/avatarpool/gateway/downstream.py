"""One official client's connection: its conversation here, its requests relayed."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Protocol, cast

from picows import WSFrame, WSListener, WSMsgType, WSTransport

from avatarpool.endpoint import refusals
from avatarpool.endpoint.conversation import (
    Audio,
    Configured,
    Conversation,
    Event,
    Over,
    Say,
    Stopped,
)
from avatarpool.endpoint.framing import frame_header
from avatarpool.endpoint.limits import ServiceLimits
from avatarpool.endpoint.reading import BROKEN
from avatarpool.endpoint.refusals import Ending
from avatarpool.exceptions import SessionStateError
from avatarpool.fleet import PoolKey
from avatarpool.gateway import failures
from avatarpool.gateway.clients import Client
from avatarpool.gateway.exchange import Exchange
from avatarpool.gateway.failures import Failure
from avatarpool.gateway.opening import Opening
from avatarpool.gateway.relay import Relay
from avatarpool.gateway.rooms import Room
from avatarpool.gateway.writing import Onward, Writing
from avatarpool.protocol.codec import encode
from avatarpool.protocol.messages import (
    AnimationFrame,
    ConfigureSession,
    PlaybackState,
    ServerError,
)
from avatarpool.protocol.readdressing import Readdressing
from avatarpool.protocol.texts import close_reason, may_carry
from avatarpool.transport.picows_protocol import server_protocol

log = logging.getLogger("avatarpool.gateway")

# Requests of which a room may still tell what it plays.
_MAX_SHOWN = 64


class Host(Protocol):
    """What a connection asks of the ingress."""

    limits: ServiceLimits

    def joined(self, downstream: Downstream) -> None:
        """A session may begin."""

    def left(self, downstream: Downstream) -> None:
        """Its connection is gone."""

    def bound_memory(self) -> None:
        """Much has come of some client."""


class Downstream(WSListener):
    """Serves one upgraded WebSocket until either side has had enough.

    Args:
        host: The ingress.
        exchange: Serves its requests.
        conversation: Decides what everything means.
        client: Whose it is.
    """

    # Among thousands of connections every place that a frame looks at is a miss of the caches.
    __slots__ = (
        "_alarm",
        "_exchange",
        "_host",
        "_is_over",
        "_key",
        "_limits",
        "_loop",
        "_opening",
        "_patience",
        "_pieces",
        "_relayed",
        "_room",
        "_shown",
        "client",
        "conversation",
        "picows",
        "writing",
    )

    def __init__(
        self, host: Host, exchange: Exchange, conversation: Conversation, client: Client
    ) -> None:
        super().__init__()
        self.conversation = conversation
        self.client = client
        self.picows: Any = server_protocol(
            self,
            max_frame_bytes=host.limits.max_message_bytes,
            frame_broken=self.frame_broken,
        )
        self._host = host
        self._limits = host.limits
        self._exchange = exchange
        self._loop = asyncio.get_running_loop()
        self._opening: Opening
        self.writing: Writing
        self._key: PoolKey  # once it is configured
        self._room: Room | None = None  # its frames go to one
        self._relayed: dict[str, _Relayed] = {}  # the requests that are open
        # The latest that a room was given to play: their ids by those that the service has.
        self._shown: OrderedDict[str, str] = OrderedDict()
        self._pieces = bytearray()  # of a message under way
        self._alarm: asyncio.TimerHandle | None = (
            None  # what the conversation, and closing, may take
        )
        self._patience: asyncio.TimerHandle | None = None  # while the client does not read
        self._is_over = False

    def __repr__(self) -> str:
        return f"<Downstream of {self.client.name!r} {self.conversation!r}>"

    @property
    def held_bytes(self) -> int:
        """What has come and was not dealt with."""
        reading = self._opening.reading
        unread = 0 if reading is None else reading.unread_bytes
        return unread + sum(each.relay.waiting_bytes for each in self._relayed.values())

    # --- called by the connection ---------------------------------------------------------

    def connected(self, opening: Opening) -> None:
        self._opening = opening
        self.writing = Writing(opening.fill)
        self._host.joined(self)

    def bound_memory(self) -> None:
        self._host.bound_memory()

    def pause_writing(self) -> None:
        """Its client does not read: its frames wait in the network; cut it if it never does."""
        if self._patience is None:
            self._patience = self._cut_in(self._limits.send_timeout)
            self.writing.is_held_back = True
            for each in self._relayed.values():
                each.relay.pause()

    def resume_writing(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
            self.writing.is_held_back = False
            for each in self._relayed.values():
                each.relay.resume()
            self.room()

    def hung_up(self) -> None:
        """Its client says no more, and may never read what is written."""
        self._stop()
        self._cut_soon()

    def cut_off(self) -> None:
        self.writing.transport = None

    # --- called by picows -----------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.writing.transport = transport
        transport.request.headers.clear()
        self._await_deadline()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        del transport
        self._stop()
        for handle in (self._alarm, self._patience):
            if handle is not None:
                handle.cancel()
        self._host.left(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind == WSMsgType.CLOSE:
            self._closed(transport, frame)
        elif self._is_over:
            pass
        elif kind == WSMsgType.PING:
            pong = frame_header(frame.payload_size, 0x8A) + frame.get_payload_as_bytes()
            self.writing.write(pong)
        elif kind == WSMsgType.PONG:
            self._look_for_violation(frame.get_payload_as_bytes())
        elif kind == WSMsgType.TEXT:
            self.end(refusals.TEXT_MESSAGE)
        else:
            self._take(frame)

    def frame_broken(self, code: int, why: str) -> None:
        """Take what picows found wrong with a frame, before it tells the client."""
        self.end(Ending(code, None, why))

    def _take(self, frame: WSFrame) -> None:
        if frame.fin and not self._pieces:
            message = frame.get_payload_as_bytes()
        else:
            self._pieces += frame.get_payload_as_memoryview()
            if not frame.fin:
                return
            message = bytes(self._pieces)
            self._pieces = bytearray()
        reading = self._opening.reading
        if reading is not None:
            reading.take(len(message))
        self._do(self.conversation.receive(message, self._loop.time()))

    def _look_for_violation(self, payload: bytes) -> None:
        reading = self._opening.reading
        violation = None if reading is None else reading.scanner.violation
        if payload != BROKEN or violation is None:
            return
        ending = violation.ending
        if ending.close_code == refusals.MESSAGE_TOO_BIG and not self.conversation.is_open:
            ending = refusals.configuration_too_large(self._limits.max_configuration_bytes)
        self.end(ending)

    def _closed(self, transport: WSTransport, frame: WSFrame) -> None:
        code = int(cast("int", frame.get_close_code()))
        self._stop()
        self.writing.flush()
        if not transport.is_close_frame_sent:
            is_bare = not frame.payload_size  # its code is 0 then; whoever writes a 0 is wrong
            known = code if may_carry(code) else refusals.PROTOCOL_ERROR
            echo = refusals.NORMAL if is_bare else known
            transport.send_close(echo)  # type: ignore[arg-type]  # an enum that lacks 4xxx
        self._cut_soon()
        transport.disconnect()

    # --- what the conversation says -------------------------------------------------------

    def _do(self, events: Iterable[Event]) -> None:
        for event in events:
            match event:
                case Audio():
                    self._spoken(event)
                case Say(message):
                    self.writing.send(encode(message))
                case Stopped(req_id):
                    self._drop(req_id)
                case Configured(configuration):
                    self._configured(configuration)
                case Over(ending):
                    self.end(ending)

    def _configured(self, configuration: ConfigureSession) -> None:
        self._key = PoolKey(
            self.conversation.avatar_id,
            configuration.sample_rate,
            configuration.audio_format,
            livekit_egress=configuration.livekit_egress,
            agora_egress=configuration.agora_egress,
        )
        if configuration.livekit_egress or configuration.agora_egress:
            room = self._exchange.room(self.client, self._key, self)
            if isinstance(room, Failure):
                self.ended(room)
            else:
                self._room = room
        else:
            self.opened()

    def opened(self) -> None:
        """Confirm the session: what it needs is there, or will be at its first audio."""
        self._do(self.conversation.confirm(self._loop.time()))
        if not self.conversation.is_open:
            return
        reading = self._opening.reading
        if reading is not None:
            reading.scanner.max_message_bytes = self._limits.max_message_bytes
        self._await_deadline()
        log.info(
            "client %s opened session %s for avatar %s",
            self.client.name,
            self.conversation.connection_id,
            self.conversation.avatar_id,
        )

    def ended(self, failure: Failure) -> None:
        """End the session, which was a room's."""
        if failure is failures.NO_CREDITS and self.conversation.is_open:
            self.end(refusals.CREDITS_EXHAUSTED)  # as the service has it
            return
        self.end(Ending(refusals.POLICY_VIOLATION, failure.code, failure.message))

    def _spoken(self, event: Audio) -> None:
        if event.is_first:
            relayed = _Relayed(self, event.req_id)
            begun = self._exchange.begin(self.client, self._key, relayed, room=self._room)
            if isinstance(begun, Failure):
                self.failed(event.req_id, begun)
                return
            relayed.relay = begun
            self._relayed[event.req_id] = relayed
            if self._patience is not None:
                begun.pause()
        held = self._relayed.get(event.req_id)
        if held is not None:
            held.relay.push(event.audio, end=event.end)
            if held.relay.is_full:
                self._opening.fill()

    def _drop(self, req_id: str) -> None:
        relayed = self._take_out(req_id)
        if relayed is not None:
            relayed.relay.interrupt()
            self.room()
        elif self._room is not None:  # it was all sent, and is heard
            self._exchange.interrupt_room(self._room)

    # --- what comes of requests -----------------------------------------------------------

    def room(self) -> None:
        """Read on, if no request holds too much, and answers do not pile up."""
        is_full = any(each.relay.is_full for each in self._relayed.values())
        if self._opening.is_full and not (is_full or self.writing.is_swamped):
            self._opening.empty()

    def failed(self, req_id: str, failure: Failure) -> None:
        """Give a request up."""
        self._take_out(req_id)
        if failure is failures.NO_CREDITS:  # as the service has it: the session ends
            self.end(refusals.CREDITS_EXHAUSTED)
            return
        self._do(self.conversation.fail(req_id, failure.code, failure.message))
        self.room()

    def answered(self, req_id: str) -> None:
        """A request is over."""
        self._take_out(req_id)
        if self._room is not None and req_id in self.conversation.requests:
            self.conversation.shown(req_id)
        self.room()

    def played(self, state: PlaybackState) -> None:
        """Pass on what its room plays."""
        if self._is_over:
            return
        ids = {held.relay.upstream_id: req_id for req_id, held in self._relayed.items()}
        req_id = ids.get(state.req_id) or self._shown.get(state.req_id) or state.req_id
        name = self.conversation.connection_id
        self.writing.send(encode(replace(state, req_id=req_id, connection_id=name)))

    def _take_out(self, req_id: str) -> _Relayed | None:
        relayed = self._relayed.pop(req_id, None)
        if relayed is not None and self._room is not None:
            self._shown[relayed.relay.upstream_id] = req_id
            if len(self._shown) > _MAX_SHOWN:
                self._shown.popitem(last=False)
        return relayed

    # --- when it is over ------------------------------------------------------------------

    def _await_deadline(self) -> None:
        if self._is_over:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        deadline = self.conversation.deadline
        self._alarm = self._loop.call_at(deadline, self._expire, deadline)

    def _expire(self, deadline: float) -> None:
        now = max(self._loop.time(), deadline)  # a loop may be early
        over = self.conversation.expire(now, is_busy=bool(self._relayed))
        if over is not None:
            self.end(over.ending)
        self._await_deadline()

    def end(self, ending: Ending) -> None:
        """Say why and close, in bounded time."""
        if self._is_over:
            return
        log.info("session %s ends: %s", self.conversation.connection_id, ending.message)
        if ending.code is not None:
            name = self.conversation.connection_id
            self.writing.send(encode(ServerError(ending.code, ending.message, name)))
        self._stop()
        self.writing.flush()
        transport = self.writing.transport
        if transport is None:
            self._opening.cut()
            return
        if not transport.is_close_frame_sent:
            transport.send_close(ending.close_code, close_reason(ending.message))  # type: ignore[arg-type]
        self._opening.empty()  # for its answer
        self._cut_soon()

    def end_greedy(self) -> None:
        """End a session that holds too much, and take nothing more of it."""
        if self._opening.reading is not None:
            self._opening.reading.stop()
        self.end(refusals.SHORT_OF_MEMORY)

    @property
    def is_ending(self) -> bool:
        """Whether it is over, but for the closing."""
        return self._is_over

    def _cut_in(self, seconds: float) -> asyncio.TimerHandle:
        return self._loop.call_later(seconds, self._opening.cut)

    def _cut_soon(self) -> None:
        """Cut it if it does not end by itself: its client may read nothing."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._cut_in(self._limits.close_timeout)

    def _stop(self) -> None:
        """Let go of all requests: nothing of them comes any more."""
        if self._is_over:
            return
        self._is_over = True
        self.conversation.end()
        relayed, self._relayed = self._relayed, {}
        for each in relayed.values():
            each.relay.interrupt()
        if self._room is not None:
            self._exchange.leave_room(self._room)
        if self._alarm is not None:
            self._alarm.cancel()


class _Relayed:
    """One request of a connection: the `Answer` of its relay."""

    __slots__ = ("_downstream", "_readdressing", "_req_id", "onward", "relay")

    def __init__(self, downstream: Downstream, req_id: str) -> None:
        self._downstream = downstream
        self._req_id = req_id
        self._readdressing = Readdressing(downstream.conversation.connection_id, req_id)
        self.onward = Onward(downstream.writing, downstream.conversation.counts)
        self.relay: Relay

    def frame(self, frame: AnimationFrame) -> None:
        downstream = self._downstream
        try:
            downstream.conversation.passed(self._req_id, end=frame.end)
        except SessionStateError:  # it is answered before its audio has ended
            self.relay.give_up(failures.UNORDERLY)
            return
        # What is like this one begins as it does: then its ids stand where they are exchanged.
        head, tail = self._readdressing.parts(frame)
        self.onward.exchange(head, len(frame) - len(tail))
        downstream.writing.send(head, tail)

    def room(self) -> None:
        self._downstream.room()

    def over(self, failure: Failure | None) -> None:
        if failure is None:
            self._downstream.answered(self._req_id)
        else:
            self._downstream.failed(self._req_id, failure)
