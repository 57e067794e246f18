"""The account's sessions over processes and hosts: leased from Redis or Valkey."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import secrets
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from avatarpool.exceptions import ConfigurationError, PoolError
from avatarpool.fleet.budget import check_sessions
from avatarpool.fleet.leases import Call, Leases
from avatarpool.pool.arguments import is_number

if TYPE_CHECKING:
    from avatarpool.fleet.valkey import Store

log = logging.getLogger("avatarpool.fleet")

_LISTEN_AGAIN = 1.0  # seconds after a connection for messages has failed


class RedisBudget:
    """A number of sessions for the groups of any number of processes and hosts.

    Each session is opened under a lease, which is rented before and renewed while it is
    needed; a process that is killed loses its leases after ``lease_ttl``. Borrowing never
    waits for Redis, and while it is away everything goes on but the opening of sessions
    beyond what is leased. ``await group.initialize()`` raises what is wrong with the URL.

    Args:
        url: ``redis://[user:password@]host:port/db``, ``rediss://`` for TLS or
            ``unix://path``. Redis 7 or Valkey.
        name: The account's; all who share its sessions say the same.
        sessions: Sessions that the account allows. A number that is kept in Redis outranks
            it: ``avatarpool fleet --sessions`` changes that.
        lease_ttl: Seconds that a lease lasts; the same for all.

    Raises:
        ConfigurationError: That cannot work, or redis-py is not installed.
    """

    def __init__(self, url: str, *, name: str, sessions: int, lease_ttl: float = 15.0) -> None:
        check_sessions(sessions)
        self.name = name
        self._store = open_store(url, name, lease_ttl)
        self._leases = Leases(_holder(), lease_ttl, sessions)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: Callable[[], object] = lambda: None
        self._changed = asyncio.Event()  # set when the next call may be earlier than it was
        self._is_closing = False
        self._is_away = False
        self._keeping: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        away = ", redis away" if self._is_away else ""
        return f"<RedisBudget {self.name!r} {self.held} of {self.sessions} sessions{away}>"

    @property
    def sessions(self) -> int:
        """Sessions that the account allows, as far as is known here."""
        return self._leases.sessions

    @property
    def holder(self) -> str:
        """The name under which this process is shown: host, process id and a random part."""
        return self._leases.holder

    @property
    def held(self) -> int:
        """Leases that this process has."""
        return self._leases.held

    @property
    def lapsed(self) -> int:
        """Leases lost so far: Redis was not reached in time, and others got them."""
        return self._leases.lapsed

    @property
    def is_away(self) -> bool:
        """Whether Redis did not answer the latest call."""
        return self._is_away

    # --- the group's part -------------------------------------------------------------------

    def resize(self, sessions: int) -> None:
        """Change the number of sessions, for all who share it."""
        check_sessions(sessions)
        self._leases.resize(sessions)
        self._changed.set()
        self._wake()

    def may_open(self, now: float) -> int:
        """Return how many sessions there are unexpired leases for."""
        return self._leases.may_open(now)

    def may_keep(self, now: float) -> int:
        """Return how many leases there are, less those that others need."""
        del now
        return self._leases.may_keep()

    def declare(self, used: int, wanted: int, idle: int) -> None:
        """Rent and give back accordingly, in the background."""
        if self._loop is not None:
            self._leases.declare(used, wanted, idle, self._loop.time())
            self._changed.set()

    def filled(self, used: int, now: float) -> None:
        """Tell all that the service allows no more than there are."""
        self._leases.filled(used, now)
        self._changed.set()

    def opened(self, now: float) -> None:
        """Tell all, if this was to try whether the service allows more again."""
        del now
        self._leases.opened()
        self._changed.set()

    # --- opening and closing ----------------------------------------------------------------

    async def open(self, wake: Callable[[], object]) -> None:
        """Reach Redis, and hold leases from now on.

        Raises:
            ConfigurationError: It has a group already.
            PoolError: Redis cannot be reached or used; says why.
        """
        if self._loop is not None:
            raise ConfigurationError(
                f"budget {self.name!r} cannot be shared",
                ["it has or had a group already: each group has a RedisBudget of its own"],
            )
        loop = asyncio.get_running_loop()
        try:
            await self._say(self._leases.call(loop.time()), loop)
        except BaseException as error:
            await self._store.disconnect()
            if isinstance(error, PoolError):
                raise PoolError(f"budget {self.name!r} cannot be kept: {error}") from error
            raise
        self._loop, self._wake = loop, wake
        log.info(
            "budget %r: %d sessions in all, kept in redis at %s; we are %s",
            self.name,
            self.sessions,
            self._store.where,
            self.holder,
        )
        if self._leases.is_closed:
            log.warning(
                "budget %r: redis knows no leases yet, and gives none until those that there "
                "may be have run out; 'avatarpool fleet --init' skips that",
                self.name,
            )
        self._keeping = loop.create_task(self._keep(loop))
        self._listening = loop.create_task(self._listen())

    async def close(self) -> None:
        """Give everything back, once; takes no longer than two calls may."""
        if self._keeping is None or self._listening is None:
            return
        self._is_closing = True
        self._changed.set()
        self._listening.cancel()
        # What is being said is said to its end, whoever is cancelled: leases hang on it.
        await asyncio.shield(asyncio.wait([self._keeping, self._listening]))

    # --- talking to the store ---------------------------------------------------------------

    async def _keep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say what there is to say, one thing after another."""
        try:
            while not self._is_closing:
                await self._until_due()
                if self._is_closing:
                    break
                now = loop.time()
                if now < self._leases.due():
                    continue
                try:
                    looks = await self._say(self._leases.call(now), loop)
                except PoolError as error:
                    self._leases.failed(loop.time())
                    self._went(error)
                else:
                    if self._came_back() or looks:
                        self._wake()
            with contextlib.suppress(PoolError):
                await self._store.call(
                    self.holder, self._leases.last_call(loop.time()), self.sessions
                )
        finally:
            await self._store.disconnect()

    async def _until_due(self) -> None:
        """Wait until the store is to be called; a change may make it earlier."""
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._leases.due()):
                await self._changed.wait()

    async def _say(self, call: Call, loop: asyncio.AbstractEventLoop) -> bool:
        answer = await self._store.call(self.holder, call, self.sessions)
        return self._leases.answered(call, answer, loop.time())

    async def _listen(self) -> None:
        """Learn from messages when a call is worth while; they may be lost."""
        while True:
            with contextlib.suppress(PoolError):
                async with contextlib.aclosing(self._store.news(self.holder)) as news:
                    async for _ in news:
                        self._leases.heard()
                        self._changed.set()
            await asyncio.sleep(_LISTEN_AGAIN)

    def _went(self, error: PoolError) -> None:
        if not self._is_away:
            self._is_away = True
            log.warning(
                "budget %r: %s; what is open goes on, and nothing is opened that is not leased",
                self.name,
                error,
            )

    def _came_back(self) -> bool:
        was_away, self._is_away = self._is_away, False
        if was_away:
            log.info("budget %r: redis at %s answers again", self.name, self._store.where)
        return was_away


def open_store(url: str, name: str, lease_ttl: float = 15.0) -> Store:
    """Return the store of an account; nothing is connected yet.

    Raises:
        ConfigurationError: That cannot work, or redis-py is not installed.
    """
    problems = []
    if not isinstance(name, str) or not re.fullmatch(r"[^\s{}]{1,200}", name):
        problems.append(f"name {name!r:.80} is not 1 to 200 characters without spaces and braces")
    if not is_number(lease_ttl) or not 1.0 <= lease_ttl <= 3600.0:
        problems.append(f"lease_ttl {lease_ttl!r} is not between 1 and 3600 seconds")
    try:
        from avatarpool.fleet.valkey import Store  # noqa: PLC0415 - an extra's library
    except ImportError:
        problems.append("redis is not installed: install avatarpool's extra 'redis'")
    if problems:
        raise ConfigurationError("budget cannot work", problems)
    return Store(url, name, lease_ttl)


def _holder() -> str:
    host = re.sub(r"[^\w.-]", "-", socket.gethostname(), flags=re.ASCII)[:64] or "host"
    return f"{host}:{os.getpid()}:{secrets.token_hex(4)}"
