"""Clients' requests on one side, the account's sessions on the other."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from functools import partial
from typing import Any

from avatarpool.endpoint import refusals
from avatarpool.endpoint.refusals import UpgradeRefusal
from avatarpool.fleet import AvatarPoolGroup, PoolKey
from avatarpool.gateway import failures
from avatarpool.gateway.clients import Client, Clients
from avatarpool.gateway.failures import Failure
from avatarpool.gateway.memory import RefusalMemory
from avatarpool.gateway.queueing import OwnTurn, Queue, QueuedTurn
from avatarpool.gateway.relay import Answer, Relay
from avatarpool.gateway.rooms import Room, Tenant
from avatarpool.gateway.watching import Watching
from avatarpool.pool import PooledConnection
from avatarpool.protocol.settings import AudioFormat

# Official clients give a handshake up after 10 s: a room's session must be open before.
_ROOM_TIMEOUT = 9.0


@dataclass(frozen=True, slots=True)
class Patience:
    """What one request may take; see `relay.Limits`."""

    queue_timeout: float
    first_frame_timeout: float
    request_timeout: float
    max_audio_seconds: float


class Exchange:
    """Has clients' requests served, each in its turn.

    Args:
        group: The account's sessions.
        clients: Who may ask.
        watching: Told of whom the pools do not hear.
        session_timeout: Seconds that a request waits for a session once it is its turn.
        first_frame_timeout: Seconds from a request's last audio to its first frame.
        request_timeout: Seconds from there to its last one.
        resends: Whether requests are sent again whose session was lost.

    Attributes:
        group: The account's sessions.
        clients: Who may ask.
        queue: Requests that wait for a session.
        memory: What the service refused, and would refuse again.
        resends: Whether requests are sent again whose session was lost.
        resent: Those that were.
        is_draining: Whether nothing new begins, and nothing will.
        is_paused: Whether nothing new begins for now.
    """

    def __init__(
        self,
        group: AvatarPoolGroup,
        clients: Clients,
        watching: Watching,
        *,
        session_timeout: float,
        first_frame_timeout: float,
        request_timeout: float,
        resends: bool,
    ) -> None:
        self.group = group
        self.clients = clients
        self._watching = watching
        self.queue = Queue(lambda: self.group.attainable)
        self.memory = RefusalMemory()
        self.resends = resends
        self.resent = 0
        self.is_draining = False
        self.is_paused = False
        self._session_timeout = session_timeout
        self._first_frame_timeout = first_frame_timeout
        self._request_timeout = request_timeout
        self._relays: set[Relay] = set()
        self._rooms: set[Room] = set()
        self._tasks: set[asyncio.Task[None]] = set()  # theirs
        self._loop = asyncio.get_running_loop()
        self._idle = asyncio.Event()  # while no request is under way
        self._idle.set()

    def __repr__(self) -> str:
        return f"<Exchange {len(self._relays)} requests, {len(self._rooms)} rooms>"

    # --- requests -------------------------------------------------------------------------

    def begin(
        self, client: Client, key: PoolKey, answer: Answer, *, room: Room | None = None
    ) -> Relay | Failure:
        """Have a request served: its audio is pushed to what is returned.

        Args:
            client: Whose it is.
            key: What session it needs.
            answer: Who gets what comes of it; told of nothing where it is refused.
            room: The session that the client has for itself, if its frames go to a room.
        """
        refusal = self._admit(client, key.avatar_id)
        if refusal is not None:
            return refusal
        is_pcm = key.audio_format is AudioFormat.PCM_S16LE
        limits = client.limits
        relay = Relay(
            partial(self._lend, key) if room is None else room.lend,
            QueuedTurn(self.queue, client) if room is None else OwnTurn(),
            answer,
            Patience(
                limits.queue_timeout,
                self._first_frame_timeout,
                self._request_timeout,
                limits.max_audio_seconds,
            ),
            bytes_per_second=2 * key.sample_rate if is_pcm else 0,
            is_resent=self.resends and room is None,
            ended=partial(self._ended, client, key),
        )
        self._relays.add(relay)
        self._idle.clear()
        relay.task.add_done_callback(partial(self._gone, relay))
        self._own(relay.task)
        return relay

    def refusal(self, client: Client, avatar_id: str) -> Failure | None:
        """Return what a request for an avatar would be refused with now, if it can be known."""
        if self.is_draining:
            return failures.CLOSING
        if self.is_paused:
            return failures.PAUSED
        if not client.allows(avatar_id):
            return failures.avatar_not_allowed(avatar_id)
        return self.memory.failure(avatar_id, self._loop.time())

    def _admit(self, client: Client, avatar_id: str) -> Failure | None:
        """Count a request as the client's until `Client.end`, or return why it may have none."""
        refusal = self.refusal(client, avatar_id)
        if refusal is not None:
            return client.refuse(refusal)
        return client.begin(self._loop.time())

    def _lend(self, key: PoolKey, timeout: float) -> PooledConnection:
        return self.group.borrow(key, timeout=min(timeout, self._session_timeout))

    def _ended(self, client: Client, key: PoolKey, relay: Relay, failure: Failure | None) -> None:
        client.end(relay.seconds, failure)
        self.resent += relay.was_resent
        if failure is not None:
            self.memory.note(key.avatar_id, failure, self._loop.time())
            if failure.name == "queueTimeout" and not relay.had_turn:
                waited = client.limits.queue_timeout
                self._watching.turned_away(client.name, failure.message, waited)

    def _gone(self, relay: Relay, _: asyncio.Task[None]) -> None:
        self._relays.discard(relay)
        if not self._relays:
            self._idle.set()

    def refuse_avatar(self, client: Client, avatar_id: str) -> UpgradeRefusal | None:
        """Return why a client may have no session of an avatar now."""
        if not client.allows(avatar_id):
            return refusals.avatar_unknown(avatar_id)
        return self.memory.upgrade(avatar_id, self._loop.time())

    # --- rooms ----------------------------------------------------------------------------

    def room(self, client: Client, key: PoolKey, tenant: Tenant) -> Room | Failure:
        """Open the session that an egress client has for itself.

        While it is not open it counts as a request of the client's.

        Args:
            client: Whose it is.
            key: What session; its room with it.
            tenant: Told of what becomes of it; of nothing where it is refused.
        """
        refusal = self._admit(client, key.avatar_id)
        if refusal is not None:
            return refusal
        timeout = min(client.limits.queue_timeout, _ROOM_TIMEOUT)
        turn = QueuedTurn(self.queue, client)
        settled = partial(client.end, 0.0)
        room = Room(self.group, key, turn, tenant, timeout, settled=settled)
        self._rooms.add(room)
        self._own(room.task)
        return room

    def interrupt_room(self, room: Room) -> None:
        """Have a room fall silent whose requests were all sent."""
        self._own(self._loop.create_task(room.interrupt()))

    def leave_room(self, room: Room) -> None:
        """Give an egress client's session back."""
        self._rooms.discard(room)
        room.close()

    # --- its end --------------------------------------------------------------------------

    async def drain(self, timeout: float) -> None:
        """Begin nothing new, and wait for what is under way, or for so many seconds."""
        self.is_draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._idle.wait()

    async def close(self) -> None:
        """End what is under way."""
        self.is_draining = True
        self.queue.close()
        for relay in list(self._relays):
            relay.give_up(failures.CLOSING)
        for room in list(self._rooms):
            room.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _own(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
