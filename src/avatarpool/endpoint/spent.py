"""Used tokens, where a token is for a single use: remembered until they expire."""

from __future__ import annotations

import heapq
from collections import defaultdict

from avatarpool.endpoint.tokens import Token, TokenExpired, TokenInvalid, TokensExhausted


class SpentTokens:
    """Remembers tokens for a single use, from that on until they expire.

    Args:
        max_remembered: Of each application's: one cannot use up what others need.
    """

    def __init__(self, max_remembered: int) -> None:
        self._max_remembered = max_remembered
        self._spent: defaultdict[str, _Spent] = defaultdict(_Spent)

    def __len__(self) -> int:
        return sum(len(spent.nonces) for spent in self._spent.values())

    def spend(self, token: Token, now: float) -> None:
        """Use a token up.

        Raises:
            TokenInvalid: It was.
            TokenExpired: One as old as this was forgotten: the clock has been set back.
            TokensExhausted: It cannot be remembered.
        """
        spent = self._spent[token.app_id]
        spent.forget(now)
        if token.nonce in spent.nonces:
            raise TokenInvalid
        if token.expires_at <= spent.forgotten:
            raise TokenExpired
        if len(spent.nonces) >= self._max_remembered:
            raise TokensExhausted(len(spent.nonces))
        spent.nonces.add(token.nonce)
        heapq.heappush(spent.expiries, (token.expires_at, token.nonce))


class _Spent:
    """One application's."""

    def __init__(self) -> None:
        self.nonces: set[bytes] = set()
        self.expiries: list[tuple[int, bytes]] = []  # a heap over them
        self.forgotten = 0  # the latest expiry of one that is not remembered any more

    def forget(self, now: float) -> None:
        """Forget those that have expired."""
        while self.expiries and self.expiries[0][0] <= now:
            self.forgotten, nonce = heapq.heappop(self.expiries)
            self.nonces.discard(nonce)
