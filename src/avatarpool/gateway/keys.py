"""Clients' keys: random, kept as their hashes alone, and compared in constant time. Pure."""

from __future__ import annotations

import hmac
import re
import secrets
from hashlib import sha256

_BYTES = 32  # of a key: 256 random bits, which no dictionary has and nobody can try out
_HASH = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


def new_key() -> str:
    """Return a random key of 256 bits, as an HTTP header and a URL take it."""
    return secrets.token_urlsafe(_BYTES)


def key_hash(key: str) -> str:
    """Return what is kept of a key: ``sha256:`` and 64 hexadecimal digits.

    Without salt and in one round, which is safe for keys that are random, as those of
    `new_key` are, and for no password.
    """
    return f"sha256:{sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()}"


def is_key_hash(text: str) -> bool:
    """Whether a text is what `key_hash` returns."""
    return _HASH.fullmatch(text) is not None


def matches(key: str, hashed: str) -> bool:
    """Whether a key has that hash, compared in constant time."""
    return hmac.compare_digest(key_hash(key), hashed)
