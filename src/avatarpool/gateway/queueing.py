"""Requests that wait for their turn: `Turns` decides, and this tells them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from avatarpool.gateway.clients import Client
from avatarpool.gateway.turns import Ticket, Turns
from avatarpool.gateway.watching import TURN_SECONDS

# Seconds between looks at whether there are more sessions than there were, while some wait.
_LOOK_INTERVAL = 0.25


class Queue:
    """Has requests wait for their turns.

    Args:
        capacity: How many may have a session at once.

    Attributes:
        turns: Whose request is next.
    """

    def __init__(self, capacity: Callable[[], int]) -> None:
        self.turns = Turns()
        self._capacity = capacity
        self._loop = asyncio.get_running_loop()
        self._awaiting: dict[Ticket, asyncio.Future[None]] = {}
        self._look: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Queue {len(self)} waiting>"

    def __len__(self) -> int:
        return len(self._awaiting)

    async def wait(self, client: Client) -> Ticket:
        """Wait for a client's turn; cancelling gives it up.

        What was waited is part of the wait for the session that is borrowed in this context next.
        """
        asked_at = self._loop.time()
        ticket = self.turns.ask(client.standing)
        future = self._awaiting[ticket] = self._loop.create_future()
        self.advance()
        try:
            if not future.done():  # it is, where sessions are free: a turn of the loop saved
                await future
        except BaseException:
            self.leave(ticket, 0.0)
            raise
        finally:
            del self._awaiting[ticket]
        TURN_SECONDS.set(self._loop.time() - asked_at)
        return ticket

    def leave(self, ticket: Ticket, audio_seconds: float) -> None:
        """Have the next one go on."""
        self.turns.end(ticket, audio_seconds)
        self.advance()

    def advance(self) -> None:
        """Have those go on whose turn it is."""
        for ticket in self.turns.next(self._capacity(), self._loop.time()):
            future = self._awaiting[ticket]
            if not future.done():
                future.set_result(None)
        if self._awaiting and self._look is None:  # others may give sessions up meanwhile
            self._look = self._loop.call_later(_LOOK_INTERVAL, self._look_again)

    def reconsider(self, clients: Iterable[Client]) -> None:
        """Look at clients anew, whose limits may be others."""
        for client in clients:
            self.turns.reconsider(client.standing)
        self.advance()

    def close(self) -> None:
        """Look no more."""
        if self._look is not None:
            self._look.cancel()

    def _look_again(self) -> None:
        self._look = None
        if self._awaiting:
            self.advance()


class QueuedTurn:
    """One request's turn.

    Args:
        queue: Where it waits.
        client: Whose it is.
    """

    def __init__(self, queue: Queue, client: Client) -> None:
        self._queue = queue
        self._client = client
        self._ticket: Ticket | None = None

    async def come(self) -> None:
        """Wait for it; cancelling gives it up."""
        self._ticket = await self._queue.wait(self._client)

    def charge(self, audio_seconds: float) -> None:
        """Note what the request has come to so far."""
        if self._ticket is not None:
            self._queue.turns.charge(self._ticket, audio_seconds)

    def end(self, audio_seconds: float) -> None:
        """Let the next one have its turn."""
        if self._ticket is not None:
            self._queue.leave(self._ticket, audio_seconds)


class OwnTurn:
    """The turn of whoever has a session for itself: it waits for nobody."""

    async def come(self) -> None:
        """Go on."""

    def charge(self, audio_seconds: float) -> None:
        """Charge nothing."""

    def end(self, audio_seconds: float) -> None:
        """Let nobody go on."""
