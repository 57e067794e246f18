"""Session tokens: signed, bound to one application's key, good until they expire or are used."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from secrets import token_bytes
from typing import Protocol

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
    nonce: bytes  # what tells it from others


class SpentStore(Protocol):
    """Remembers which tokens for a single use were used."""

    def spend(self, token: Token, now: float) -> None:
        """Use a token up, or raise `TokenRefused`."""

    def __len__(self) -> int: ...


class TokenOffice:
    """Issues tokens and redeems them until they expire.

    Tokens carry their own facts under an HMAC, so nothing is kept for one that
    is issued. The HMAC is over the key of its application as well: one that was
    got with another key, or whose application is somebody else's by now, opens
    nothing.

    Args:
        wall_clock: Unix time in seconds.
        spent: Remembers those for a single use; None: they may be used again.
        secrets: Keys of the HMAC: the first signs, all verify.
        fingerprint: Of an application's key, by its name; always of one length.

    Attributes:
        secrets: Those; may be exchanged for others.
        issued: Tokens, ever.
    """

    def __init__(
        self,
        wall_clock: Callable[[], float],
        spent: SpentStore | None = None,
        *,
        secrets: Sequence[bytes],
        fingerprint: Callable[[str], bytes] = lambda _: b"",
    ) -> None:
        self._wall_clock = wall_clock
        self._spent = spent
        self._fingerprint = fingerprint
        self.secrets: Sequence[bytes] = tuple(secrets)
        self.issued = 0

    def __repr__(self) -> str:
        return f"<TokenOffice {len(self._spent or ())} used>"

    def issue(self, app_id: str, expires_at: int) -> str:
        """Return a fresh token for this application."""
        facts = (
            token_bytes(_NONCE_BYTES) + expires_at.to_bytes(_EXPIRY_BYTES, "big") + app_id.encode()
        )
        self.issued += 1
        return (
            base64.urlsafe_b64encode(self._signature(facts, self.secrets[0]) + facts)
            .decode()
            .rstrip("=")
        )

    def redeem(self, text: str) -> Token:
        """Check a token and, if it is for a single use, use it up.

        Raises:
            TokenRefused: It is not ours or was used up (`TokenInvalid`), has
                expired (`TokenExpired`), or cannot be remembered
                (`TokensExhausted`).
        """
        facts, now = self._verified(text), self._wall_clock()
        token = Token(
            app_id=_app_id(facts),
            expires_at=int.from_bytes(facts[_NONCE_BYTES : _NONCE_BYTES + _EXPIRY_BYTES], "big"),
            nonce=facts[:_NONCE_BYTES],
        )
        if token.expires_at <= now:
            raise TokenExpired
        if self._spent is not None:
            self._spent.spend(token, now)
        return token

    def _verified(self, text: str) -> bytes:
        if len(text) > MAX_TOKEN_CHARACTERS:
            raise TokenInvalid
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            mac, facts = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
            signatures = [self._signature(facts, secret) for secret in self.secrets]
        except ValueError:
            raise TokenInvalid from None
        # Base64 spells some bytes in more than one way; the bytes are what is
        # signed and what is remembered, so a second spelling opens nothing.
        if not any([hmac.compare_digest(mac, signature) for signature in signatures]):  # noqa: C419
            raise TokenInvalid
        return facts

    def _signature(self, facts: bytes, secret: bytes) -> bytes:
        return hmac.digest(secret, self._fingerprint(_app_id(facts)) + facts, "sha256")


def _app_id(facts: bytes) -> str:
    return facts[_NONCE_BYTES + _EXPIRY_BYTES :].decode()
