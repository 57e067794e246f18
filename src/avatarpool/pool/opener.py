"""Opens a pool's connections: a session, the user's set-up, a life of its own length."""

from __future__ import annotations

import random
from math import inf

from avatarpool.pool import hooks
from avatarpool.pool.borrowing import PooledConnection
from avatarpool.pool.connection import Connection
from avatarpool.pool.events import PoolEventKind as Kind
from avatarpool.pool.factory import SessionMaker
from avatarpool.pool.lending import Lender
from avatarpool.pool.options import SHORTEST_LIFE, PoolOptions
from avatarpool.pool.slots import Slots
from avatarpool.pool.state import PoolState

# Seconds before a session is too old in which its successor is opened; a tenth
# of short lives.
_RENEWAL_LEAD = 30.0


class Opener:
    """Opens connections and has them join the pool.

    Args:
        options: The pool's.
        state: Where they join.
        lender: Whose they are from then on.
        sessions: Makes their sessions.
        slots: Where the pool shares its sessions with others.
    """

    def __init__(
        self,
        options: PoolOptions,
        state: PoolState[Connection, PooledConnection],
        lender: Lender,
        sessions: SessionMaker,
        slots: Slots | None = None,
    ) -> None:
        self._configure = options.configure
        self._longest_life = options.longest_life
        self._request_timeout = options.request_timeout
        self._has_spare = slots is None or slots.has_spare
        self._state = state
        self._lender = lender
        self._sessions = sessions
        self._rng = random.Random()  # noqa: S311  # jitter, no secret
        self.drains = 0  # how often the pool was drained: what is being opened is old as well

    async def open(self) -> Connection:
        """Open one connection, or leave nothing behind.

        Raises:
            AvatarPoolError: The service, the user's configuration or ``configure`` refused.
        """
        while True:
            drains = self.drains
            connection = await self._configured()
            if drains == self.drains:
                return connection
            await connection.session.close()  # it may have been opened with the key of before

    async def _configured(self) -> Connection:
        connection = Connection(self._lender)
        await self._sessions.open(connection)
        connection.opened()
        if self._configure is not None:
            try:
                await hooks.call(self._configure, "configure", self._lender, connection)
            except BaseException:
                await connection.session.close()
                raise
        return connection

    def join(self, connection: Connection, seconds: float) -> None:
        """Take in a connection that took so many seconds to open."""
        now = self._lender.now()
        connection.opened_at = now
        life = self._longest_life * self._rng.uniform(SHORTEST_LIFE, 1.0)
        usable = max(life - self._request_timeout, 0.0)
        connection.retire_at = now + usable
        lead = min(_RENEWAL_LEAD, usable / 10.0)
        connection.renew_at = now + usable - lead if self._has_spare else inf
        self._lender.tell(Kind.OPENED, connection.connection_id, "", seconds)
        self._state.welcome(connection, now)
