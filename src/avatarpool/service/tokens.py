"""Session tokens: signed, bound to one application, good until they expire or are used."""

from __future__ import annotations

import base64
import heapq
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass

MAX_TOKEN_CHARACTERS = 512
_NONCE_BYTES = 12
_EXPIRY_BYTES = 8
_MAC_BYTES = 32


class TokenRefused(Exception):
    """A token that opens nothing; the message is the service's own sentence."""


class TokenInvalid(TokenRefused):
    """Not one of ours, or used before and for a single use."""

    def __init__(self) -> None:
        super().__init__("Invalid session token")


class TokenExpired(TokenRefused):
    """One of ours, presented too late."""

    def __init__(self) -> None:
        super().__init__("Session token is expired")


class TokensExhausted(TokenRefused):
    """No room to remember another used token until one of them expires."""

    def __init__(self, used: int) -> None:
        super().__init__(f"{used} used tokens have not expired yet, try later")


@dataclass(frozen=True, slots=True)
class Token:
    """What a redeemed token says."""

    app_id: str
    expires_at: int


class TokenOffice:
    """Issues tokens and redeems them until they expire.

    Tokens carry their own facts under an HMAC, so nothing is kept for one that
    is issued. One that is for a single use is remembered, from that on until it expires.

    Args:
        wall_clock: Unix time in seconds.
        max_used: Used, unexpired tokens to remember at most; None: they may be
            used again, and none is remembered.
    """

    def __init__(self, wall_clock: Callable[[], float], max_used: int | None = None) -> None:
        self._wall_clock = wall_clock
        self._max_used = max_used
        self._secret = secrets.token_bytes(32)
        self._used: set[bytes] = set()
        self._expiries: list[tuple[int, bytes]] = []  # a heap over _used

    def __repr__(self) -> str:
        return f"<TokenOffice {len(self._used)} used>"

    def issue(self, app_id: str, expires_at: int) -> str:
        """Return a fresh token for this application."""
        facts = (
            secrets.token_bytes(_NONCE_BYTES)
            + expires_at.to_bytes(_EXPIRY_BYTES, "big")
            + app_id.encode()
        )
        return base64.urlsafe_b64encode(self._sign(facts) + facts).decode().rstrip("=")

    def redeem(self, text: str) -> Token:
        """Check a token and, if it is for a single use, use it up.

        Raises:
            TokenRefused: It is not ours or was used up (`TokenInvalid`), has
                expired (`TokenExpired`), or cannot be remembered
                (`TokensExhausted`).
        """
        facts = self._verified(text)
        nonce = facts[:_NONCE_BYTES]
        expires_at = int.from_bytes(facts[_NONCE_BYTES : _NONCE_BYTES + _EXPIRY_BYTES], "big")
        self._forget_expired()
        if nonce in self._used:
            raise TokenInvalid
        if expires_at <= self._wall_clock():
            raise TokenExpired
        if self._max_used is not None:
            self._use_up(nonce, expires_at, self._max_used)
        return Token(facts[_NONCE_BYTES + _EXPIRY_BYTES :].decode(), expires_at)

    def _use_up(self, nonce: bytes, expires_at: int, max_used: int) -> None:
        if len(self._used) >= max_used:
            raise TokensExhausted(len(self._used))
        self._used.add(nonce)
        heapq.heappush(self._expiries, (expires_at, nonce))

    def _verified(self, text: str) -> bytes:
        if len(text) > MAX_TOKEN_CHARACTERS:
            raise TokenInvalid
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except ValueError:
            raise TokenInvalid from None
        mac, facts = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        # Base64 spells some bytes in more than one way; the bytes are what is
        # signed and what is remembered, so a second spelling opens nothing.
        if not hmac.compare_digest(mac, self._sign(facts)):
            raise TokenInvalid
        return facts

    def _sign(self, facts: bytes) -> bytes:
        return hmac.digest(self._secret, facts, "sha256")

    def _forget_expired(self) -> None:
        now = self._wall_clock()
        while self._expiries and self._expiries[0][0] <= now:
            self._used.discard(heapq.heappop(self._expiries)[1])
