"""What tokens and sessions share of TLS: the context, and words for what goes wrong."""

from __future__ import annotations

import os
import ssl
from functools import lru_cache


def default_context() -> ssl.SSLContext:
    """Return a context that trusts this machine's authorities.

    These are OpenSSL's own, unless ``SSL_CERT_FILE`` or ``SSL_CERT_DIR`` name others; what
    they say when a connection is opened counts.
    """
    return _context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@lru_cache(maxsize=4)
def _context(_file: str | None, _directory: str | None) -> ssl.SSLContext:
    # Made once: loading the certificates costs some 20 ms.
    return ssl.create_default_context()


def reason(error: BaseException) -> str:
    """Say why a connection failed, also where the error has no words for it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {getattr(error, 'verify_message', '') or error}"
    if getattr(error, "reason", "") == "UNEXPECTED_EOF_WHILE_READING":
        return "the peer hung up"
    return str(error) or "the peer hung up"
