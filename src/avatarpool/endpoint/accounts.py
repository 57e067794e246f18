"""Applications of the service: their keys, their slots and their credits."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Generic, TypeVar


class Account:
    """One application's standing.

    Args:
        app_id: Its name.
        api_key: The key it gets session tokens with.
        balance: Seconds of audio it may have animated; None is unlimited.
        max_connections: Sessions it may have at once.
        max_handshakes: Connections it may have on top of those.
    """

    def __init__(
        self,
        app_id: str,
        api_key: str,
        *,
        balance: float | None,
        max_connections: int,
        max_handshakes: int,
    ) -> None:
        self.app_id = app_id
        self.connections = 0  # that are sessions
        self.max_connections = max_connections
        self.charged = 0.0  # seconds of audio, ever
        self._admitted = 0  # those, and the ones that are not, or no more
        self._api_key = api_key.encode()
        self._balance = balance
        self._max_admitted = max_connections + max_handshakes

    def __repr__(self) -> str:
        return f"<Account {self.app_id!r} {self.connections} connections>"

    def change_key(self, api_key: str) -> None:
        """Go by another key from now on."""
        self._api_key = api_key.encode()

    def has_key(self, api_key: str) -> bool:
        """Whether this is the application's key, compared in constant time."""
        return hmac.compare_digest(api_key.encode("utf-8", "surrogateescape"), self._api_key)

    @property
    def fingerprint(self) -> bytes:
        """What tells its key from any other: 32 bytes."""
        return sha256(self._api_key).digest()

    @property
    def has_credits(self) -> bool:
        """Whether any audio may be animated now."""
        return self._balance is None or self._balance > 0

    def charge(self, seconds: float) -> None:
        """Take the audio that was animated off the balance."""
        self.charged += seconds
        if self._balance is not None:
            self._balance -= seconds

    def top_up(self, seconds: float) -> None:
        """Add to the balance."""
        if self._balance is not None:
            self._balance = max(self._balance, 0.0) + seconds

    def admit(self) -> bool:
        """Count one more connection, session or not, unless there is no room for it."""
        if self._admitted >= self._max_admitted:
            return False
        self._admitted += 1
        return True

    def leave(self) -> None:
        """Count one connection less."""
        self._admitted -= 1

    def take_slot(self) -> bool:
        """Count one more session, unless there is no room for it."""
        if self.connections >= self.max_connections:
            return False
        self.connections += 1
        return True

    def free_slot(self) -> None:
        """Count one session less."""
        self.connections -= 1


A_co = TypeVar("A_co", bound=Account, covariant=True)


class Accounts(Generic[A_co]):
    """All applications, found by name or by key."""

    def __init__(self, accounts: Iterable[A_co]) -> None:
        self._accounts = {account.app_id: account for account in accounts}

    def __iter__(self) -> Iterator[A_co]:
        return iter(self._accounts.values())

    def __repr__(self) -> str:
        return f"<Accounts {', '.join(self._accounts)}>"

    @property
    def charged(self) -> float:
        """Seconds of audio that were animated for all of them."""
        return sum(account.charged for account in self._accounts.values())

    def by_app_id(self, app_id: str) -> A_co | None:
        """Return the application of that name."""
        return self._accounts.get(app_id)

    def fingerprint(self, app_id: str) -> bytes:
        """Return that of the application's key; of an unknown one, what is that of no key."""
        account = self.by_app_id(app_id)
        return bytes(32) if account is None else account.fingerprint

    def by_api_key(self, api_key: str) -> A_co | None:
        """Return the application whose key this is.

        Every key is compared, so that the time taken tells nothing about which
        one came close.
        """
        found = [account for account in self._accounts.values() if account.has_key(api_key)]
        return found[0] if found else None
