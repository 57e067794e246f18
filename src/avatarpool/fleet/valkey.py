"""One account's leases in Redis or Valkey: the connection, and what is said over it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from ssl import SSLError
from typing import Any, cast
from urllib.parse import SplitResult, unquote, urlsplit

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    InvalidResponse,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
)
from redis.exceptions import TimeoutError as RedisTimeout

from avatarpool import tls
from avatarpool.exceptions import ConfigurationError, PoolError
from avatarpool.fleet.leases import Answer, Call
from avatarpool.untrusted import hidden

CALL_TIMEOUT = 1.0
"""Seconds for a call, the connection being there."""

CONNECT_TIMEOUT = 3.0
"""Seconds for a connection with its handshakes."""

_QUIET = 15.0  # seconds without a message after which a connection has to answer a ping

_SCRIPT = (files("avatarpool.fleet") / "leases.lua").read_text("utf-8")
_SCRIPT_SHA = sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()
# What reading a reply raises that is of no known shape.
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
_KEYS = ("leases", "holders", "waiting", "held", "used", "needs", "turns", "budget", "news")


@dataclass(frozen=True, slots=True)
class Holder:
    """One process as the store knows it.

    Attributes:
        name: Its host, process id and a random part.
        leases: What it has leased.
        used: Sessions that it had when it called last.
        needs: Sessions that it could do with, idle ones not counted.
        waits: Whether it asks for more than it has, now.
        expires_in: Seconds after which it is forgotten, unless it calls.
    """

    name: str
    leases: int
    used: int
    needs: int
    waits: bool
    expires_in: float


@dataclass(frozen=True, slots=True)
class Account:
    """What the store knows of one account at one time.

    Attributes:
        sessions: Sessions that the account allows; None where nobody has said so yet.
        leases: What is leased in all.
        ceiling: What the service was found to allow, while that is less.
        closed_for: Seconds for which nobody gets new leases.
        holders: Who has leases, or may have, by name.
    """

    sessions: int | None
    leases: int
    ceiling: int | None
    closed_for: float
    holders: tuple[Holder, ...]


class Store:
    """Where one account's leases are: two connections, each opened when it is needed.

    Args:
        url: ``redis://``, ``rediss://`` (TLS) or ``unix://``, with what authenticates us.
        name: The account's.
        lease_ttl: Seconds that a lease lasts.

    Raises:
        ConfigurationError: The URL or the name cannot work.
    """

    def __init__(self, url: str, name: str, lease_ttl: float) -> None:
        self.where = _where(url)
        self._name = name
        self._lease_ttl = lease_ttl
        self._keys = [f"avatarpool:{{{name}}}:{key}" for key in _KEYS]
        self._pool = _pool(url, self.where)
        password = self._pool.connection_kwargs.get("password")
        self._secrets = [password] if password else []  # a server may say anything
        self._client = Redis(connection_pool=self._pool)
        self._is_connected = False

    def __repr__(self) -> str:
        return f"<Store {self._name!r} at {self.where}>"

    async def call(self, holder: str, call: Call, sessions: int) -> Answer:
        """Say what a holder has to say, once.

        Args:
            holder: Who says it; empty for an administrator.
            call: What.
            sessions: Sessions that the account allows, if the store does not know.

        Raises:
            PoolError: There was no answer; whether it was heard is not known.
        """
        args = [
            holder,
            round(self._lease_ttl * 1000),
            sessions,
            call.resize or 0,
            call.used,
            call.need,
            "" if call.notice is None else call.notice.value,
            *map(len, (call.released, call.renewed, call.rented)),
            *call.released,
            *call.renewed,
            *call.rented,
        ]
        async with self._answering():
            return _answer(await self._run(args))

    async def _run(self, args: list[Any]) -> Any:
        values = [*self._keys, *map(str, args)]
        try:
            return await self._client.evalsha(_SCRIPT_SHA, len(self._keys), *values)
        except NoScriptError:
            return await self._client.eval(_SCRIPT, len(self._keys), *values)

    async def look(self) -> Account:
        """Return how things stand.

        Raises:
            PoolError: There was no answer.
        """
        async with self._answering(), self._client.pipeline(transaction=True) as pipe:
            leases, holders, waiting, held, used, needs, _, budget, _ = self._keys
            pipe.time()
            pipe.hgetall(budget)
            pipe.zrange(leases, 0, -1, withscores=True)
            pipe.zrange(holders, 0, -1, withscores=True)
            pipe.zrange(waiting, 0, -1, withscores=True)
            for key in (held, used, needs):
                pipe.hgetall(key)
            return _account(await pipe.execute())

    @contextlib.asynccontextmanager
    async def _answering(self) -> AsyncIterator[None]:
        """Bound what is inside, and start anew with connections after any failure."""
        try:
            if not self._is_connected:
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    await self._client.ping()
                self._is_connected = True
            async with asyncio.timeout(CALL_TIMEOUT):
                yield
        except Exception as error:  # noqa: BLE001 - the library's, or an odd reply's
            await self.disconnect()
            raise self._failure(error) from _harmless(error)
        except BaseException:
            await self.disconnect()
            raise

    def _failure(self, error: BaseException) -> PoolError:
        reason = _reason(error) or self._strange(hidden(str(error), self._secrets), error)
        return PoolError(f"redis at {self.where}: {reason}")

    def _strange(self, text: str, error: BaseException) -> str:
        """Say what was answered that is no refusal which is known."""
        why = re.search(r"WRONGTYPE|user_script", text)
        if why or isinstance(error, _UNREADABLE):
            return (
                f"it has something else than ours as avatarpool:{{{self._name}}}:* "
                f"({why[0] if why else type(error).__name__}): delete that there, or take "
                "another name"
            )
        # An unknown command is quoted with its arguments; a script's errors name its line.
        return text.partition(", with args")[0].partition(" script: ")[0] or type(error).__name__

    async def news(self, holder: str) -> AsyncGenerator[None]:
        """Yield whenever this holder should call, or may have missed that it should.

        Raises:
            PoolError: The connection has failed.
        """
        news = self._keys[-1]
        try:
            async with self._client.pubsub() as subscription:
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    await subscription.subscribe(news, f"{news}:{holder}")
                yield
                while True:
                    message = await _message(subscription)
                    if message.get("type") == "message":
                        yield
        except Exception as error:  # noqa: BLE001 - the library's, or an odd reply's
            raise self._failure(error) from _harmless(error)

    async def disconnect(self) -> None:
        """Close both connections; they are opened anew when they are needed."""
        self._is_connected = False
        await _quietly(self._pool.disconnect(inuse_connections=True))


async def _message(subscription: PubSub) -> dict[str, Any]:
    """Wait for a message; a peer that says nothing has to answer a ping."""
    message = await subscription.get_message(timeout=_QUIET)
    if message is None:
        async with asyncio.timeout(CALL_TIMEOUT):
            await subscription.ping()
        message = await subscription.get_message(timeout=_QUIET)
        if message is None:
            raise RedisTimeout
    return cast("dict[str, Any]", message)


async def _quietly(closing: Any) -> None:
    with contextlib.suppress(RedisError, OSError):
        async with asyncio.timeout(CALL_TIMEOUT):
            await closing


# --- what it says -------------------------------------------------------------------------


def _answer(reply: Any) -> Answer:
    """Read what the script returns; whatever is no such thing raises."""
    sessions, may_keep, closed_for_ms, is_trying, lapsed, refused = reply
    return Answer(
        sessions=max(1, int(sessions)),
        may_keep=None if int(may_keep) < 0 else int(may_keep),
        closed_for=int(closed_for_ms) / 1000.0,
        is_trying=bool(is_trying),
        lapsed=frozenset(id_.decode() for id_ in lapsed),
        refused=frozenset(id_.decode() for id_ in refused),
    )


def _account(replies: list[Any]) -> Account:
    (seconds, micros), budget, leases, holders, waiting, *numbers = replies
    now = seconds * 1000 + micros // 1000
    waits = {name for name, until in waiting if until > now}
    held, used, needs = numbers
    ceiling, sessions = budget.get(b"ceiling"), budget.get(b"sessions")
    return Account(
        sessions=None if sessions is None else int(sessions),
        leases=sum(until > now for _, until in leases),
        ceiling=None if ceiling is None else int(ceiling),
        closed_for=max(0.0, (float(budget.get(b"admits_from", 0)) - now) / 1000.0),
        holders=tuple(
            Holder(
                name=hidden(name.decode(errors="replace")),
                leases=int(held.get(name, 0)),
                used=int(used.get(name, 0)),
                needs=int(needs.get(name, 0)),
                waits=name in waits,
                expires_in=(until - now) / 1000.0,
            )
            for name, until in sorted(holders)
            if until > now
        ),
    )


# --- where it is --------------------------------------------------------------------------


def _where(url: str) -> str:
    """Name the server of a URL, without what authenticates us."""
    unusable = "redis cannot be used"
    try:
        parts = urlsplit(url)
        port = parts.port
    except (ValueError, AttributeError, TypeError):
        raise ConfigurationError(unusable, ["its URL has no host and port"]) from None
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ConfigurationError(
            unusable, ["its URL begins with none of redis://, rediss:// and unix://"]
        )
    if parts.scheme == "unix":
        return unquote(parts.path)
    return f"{parts.hostname or 'localhost'}:{port or 6379}/{_database(parts)}"


def _database(parts: SplitResult) -> int:
    number = parts.path.strip("/") or "0"
    if not re.fullmatch(r"\d{1,5}", number):
        raise ConfigurationError(
            "redis cannot be used", ["the path of its URL is no number of a database"]
        )
    return int(number)


def _pool(url: str, where: str) -> ConnectionPool:
    try:
        pool: ConnectionPool = ConnectionPool.from_url(url, protocol=2)
        pool.connection_kwargs.update(
            retry=Retry(NoBackoff(), 0),  # what is sent again is decided here
            socket_timeout=CALL_TIMEOUT,
            socket_connect_timeout=CONNECT_TIMEOUT,
            decode_responses=False,
        )
        pool.connection_class(**pool.connection_kwargs)  # whether it takes all that the URL says
    except (TypeError, ValueError, RedisError, OSError) as error:
        # Its words may quote the URL.
        raise ConfigurationError(
            "redis cannot be used",
            [f"the URL of {where} has an option that cannot work ({type(error).__name__})"],
        ) from None
    return pool


def _reason(error: BaseException) -> str | None:
    """Say what failed, if it is known what that means."""
    if isinstance(error, AuthenticationError) or "NOAUTH" in str(error):
        return "it refuses the user name or the password in the URL"
    if isinstance(error, ReadOnlyError):
        return "it is read-only: give the URL of the primary"
    if isinstance(error, NoPermissionError):
        return "its user must be allowed the keys and channels avatarpool:*, and scripts"
    if isinstance(error, InvalidResponse):
        return "what answers there is no Redis"
    return _why_unreachable(error)


def _why_unreachable(error: BaseException) -> str | None:
    """Say what the network did, if that is why; the library has errors of its own for it."""
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) and len(causes) < 8:
        causes.append(cause)
    for each in causes:
        if isinstance(each, SSLError):
            return tls.reason(each)
    if isinstance(error, TimeoutError | RedisTimeout):
        return f"no answer within {CALL_TIMEOUT:g} s"
    if told := re.match(r"Error (\d+) connecting", str(error)):
        causes.append(OSError(int(told[1]), ""))
    for each in causes:
        if isinstance(each, OSError) and each.errno:
            why = os.strerror(each.errno).lower() if each.errno > 0 else "its name is not known"
            return f"it cannot be reached: {why}"
    return None


def _harmless(error: BaseException) -> BaseException | None:
    """Return an error to be the cause of ours, unless it may quote what is secret."""
    return None if isinstance(error, RedisError) else error
