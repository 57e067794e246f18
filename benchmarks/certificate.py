"""A certificate made on the spot, for the service of those cases that speak TLS."""

from __future__ import annotations

from pathlib import Path

import trustme


def issue(folder: Path, *hosts: str) -> tuple[Path, Path]:
    """Write an authority's certificate and what a server of these hosts loads; return both.

    Clients of every kind find the authority by ``SSL_CERT_FILE``: OpenSSL reads it.
    """
    authority = trustme.CA()
    trusted, served = folder / "authority.pem", folder / "server.pem"
    authority.cert_pem.write_to_path(trusted)
    authority.issue_cert(*hosts).private_key_and_cert_chain_pem.write_to_path(served)
    return trusted, served
