"""Who may use the gateway, and how much of it. Pure: the time is handed in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from math import inf
from typing import Protocol

from avatarpool.endpoint.accounts import Account, Accounts
from avatarpool.gateway import failures
from avatarpool.gateway.failures import Failure
from avatarpool.gateway.keys import key_hash
from avatarpool.gateway.turns import Standing

PLACES = 4096
"""Connections that a port may have, where nothing says otherwise."""

# Of a port's places, one client's connections: some are left to the others, whatever it does.
_CONNECTED = 0.75
_ON_TOP = 0.125  # before or after their sessions


class ClientLimits(Protocol):
    """What a client may do; see `settings.ClientLimits`."""

    @property
    def max_concurrent(self) -> int:
        """Requests at once."""

    @property
    def max_waiting(self) -> int:
        """Requests that wait beside those."""

    @property
    def queue_timeout(self) -> float:
        """Seconds that a request waits for its turn."""

    @property
    def requests_per_minute(self) -> int:
        """Requests in a minute; 0: any number."""

    @property
    def priority(self) -> float:
        """Head start in the queue."""

    @property
    def avatars(self) -> Collection[str]:
        """Avatars that it may use; empty: all."""

    @property
    def max_audio_seconds(self) -> float:
        """Seconds of audio in one request."""


class ClientSettings(Protocol):
    """Who a client is; see `settings.ClientSettings`."""

    @property
    def name(self) -> str:
        """Its name in metrics, logs and on the page."""

    @property
    def key_hash(self) -> str:
        """Hash of its key."""

    @property
    def app_id(self) -> str:
        """What its SDK has for an application."""

    @property
    def limits(self) -> ClientLimits:
        """What it may do."""


class Rate:
    """Lets so many requests a minute through, of which a tenth may come at once.

    The generic cell rate algorithm (ITU-T I.371): one number says by when all that was
    let through would have come, had it come evenly.
    """

    def __init__(self) -> None:
        self._even = -inf

    def wait(self, per_minute: float, now: float) -> float:
        """Let a request through and return 0, or say after how many seconds it would be."""
        if not per_minute:
            return 0.0
        interval = 60.0 / per_minute
        burst = interval * max(1.0, per_minute / 10.0)
        # No later than a whole burst from now: the rate may have been lower, or the clock ahead.
        self._even = min(max(self._even, now), now + burst)
        wait = self._even + interval - burst - now
        if wait > 1e-9 * burst:  # else it is what rounding leaves
            return wait
        self._even += interval
        return 0.0


class Client(Account):
    """One client's standing: its connections, its requests, its turns.

    Each request that `begin` has let through is to be ended once by `end`.

    Args:
        name: Its name in metrics, logs and on the page.
        app_id: What its SDK has for an application.
        key_hash: Hash of its key, which itself is known to nobody here.
        limits: What it may do.
        places: Connections that all clients together may have.

    Attributes:
        limits: What it may do.
        standing: Its turns.
        requests: Requests that were let through, ever.
        refused: Those that were not, and those that failed, by `Failure.name`.
        audio_seconds: Seconds of audio that its requests came to.
        under_way: Requests that were let through and have not ended.
        is_known: Whether it is still in the settings.
    """

    def __init__(
        self, name: str, app_id: str, key_hash: str, limits: ClientLimits, places: int = PLACES
    ) -> None:
        super().__init__(
            app_id,
            key_hash,
            balance=None,
            max_connections=max(1, int(places * _CONNECTED)),
            max_handshakes=max(1, int(places * _ON_TOP)),
        )
        self.name = name
        self.limits = limits
        self.standing = Standing(name, limits.max_concurrent, limits.priority)
        self.requests = 0
        self.refused: Counter[str] = Counter()
        self.audio_seconds = 0.0
        self.under_way = 0
        self.is_known = True
        self._rate = Rate()

    def __repr__(self) -> str:
        return f"<Client {self.name!r} {self.running} running, {self.waiting} waiting>"

    @property
    def running(self) -> int:
        """Requests whose turn it is."""
        return len(self.standing.running)

    @property
    def waiting(self) -> int:
        """Requests whose turn has not come."""
        return len(self.standing.waiting)

    def allows(self, avatar_id: str) -> bool:
        """Whether the client may have the avatar."""
        return not self.limits.avatars or avatar_id in self.limits.avatars

    def begin(self, now: float) -> Failure | None:
        """Let one more request through, or say why not.

        Args:
            now: Seconds, by any clock that goes forward.
        """
        failure = self._refusal(now)
        if failure is not None:
            return self.refuse(failure)
        self.requests += 1
        self.under_way += 1
        return None

    def refuse(self, failure: Failure) -> Failure:
        """Count a refusal, and return it."""
        self.refused[failure.name] += 1
        return failure

    def end(self, audio_seconds: float, failure: Failure | None = None) -> None:
        """Note that a request has ended, what it came to and what it failed of."""
        self.under_way -= 1
        self.audio_seconds += audio_seconds
        if failure is not None:
            self.refuse(failure)

    def change(self, settings: ClientSettings) -> None:
        """Take over new settings; what runs and waits, and what it sent of late, stays."""
        self.app_id = settings.app_id
        self.change_key(settings.key_hash)
        self.limits = settings.limits
        self.standing.max_concurrent = settings.limits.max_concurrent
        self.standing.priority = settings.limits.priority

    def forget(self) -> None:
        """Let nothing new through, nor start what waits."""
        self.is_known = False
        self.standing.max_concurrent = 0

    def _refusal(self, now: float) -> Failure | None:
        limits = self.limits
        if not self.is_known:
            return failures.CLIENT_UNKNOWN
        if self.under_way >= limits.max_concurrent + limits.max_waiting:
            return failures.client_busy(limits.max_waiting)
        wait = self._rate.wait(limits.requests_per_minute, now)
        return failures.rate_limited(limits.requests_per_minute, wait) if wait else None


class Clients(Accounts[Client]):
    """All clients, found by application or by key.

    Args:
        settings: Who they are; their names and applications are their own.
        places: Connections that all of them together may have.
    """

    def __init__(self, settings: Iterable[ClientSettings] = (), places: int = PLACES) -> None:
        super().__init__(())
        self._places = places
        self.replace(settings)

    def __repr__(self) -> str:
        return f"<Clients {', '.join(client.name for client in self)}>"

    def by_api_key(self, api_key: str) -> Client | None:
        """Return the client whose key this is: every client's hash is compared with its own.

        It is made once, as anybody may send keys of many kilobytes, and there may be many clients.
        """
        return super().by_api_key(key_hash(api_key))

    def replace(self, settings: Iterable[ClientSettings]) -> list[Client]:
        """Take over new settings, and return the clients that are gone.

        Those whose names stay keep what runs and waits, their turns and their rates. Those
        that are gone keep what runs and get nothing new: what waits of them is not started.
        """
        known = {client.name: client for client in self}
        stay = []
        for one in settings:
            client = known.pop(one.name, None)
            if client is None:
                client = Client(one.name, one.app_id, one.key_hash, one.limits, self._places)
            else:
                client.change(one)
            stay.append(client)
        self._accounts = {client.app_id: client for client in stay}
        for client in known.values():
            client.forget()
        return list(known.values())
