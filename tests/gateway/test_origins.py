"""Whose pages may talk to the gateway."""

from __future__ import annotations

import pytest

from avatarpool.gateway.origins import Origins

LOCAL = Origins("127.0.0.1", [], ["https://app.example"])
PUBLIC = Origins("::", ["https://gateway.example:444", "wss://other.example"], [])


@pytest.mark.parametrize(
    ("origins", "host", "origin"),
    [
        (LOCAL, "127.0.0.1:8780", None),
        (LOCAL, "localhost:8780", None),
        (LOCAL, "[::1]:8780", None),
        (LOCAL, "127.0.0.1:8780", "http://127.0.0.1:8780"),
        (LOCAL, "127.0.0.1:8780", "http://localhost:3000"),
        (LOCAL, "127.0.0.1:8780", "https://app.example"),
        (LOCAL, "127.0.0.1:8780", "https://APP.example"),
        (PUBLIC, "gateway.example:444", None),
        (PUBLIC, "Other.Example", "https://other.example"),
        (PUBLIC, "10.1.2.3:8780", None),
        (PUBLIC, "localhost:8780", None),
        (PUBLIC, "10.1.2.3:8780", "http://10.1.2.3:8780"),
    ],
)
def test_own_hosts_and_their_pages_are_allowed(origins, host, origin):
    assert origins.allows(host, origin)


@pytest.mark.parametrize(
    ("origins", "host", "origin"),
    [
        (LOCAL, None, None),
        (LOCAL, "", None),
        (LOCAL, "evil.example", None),  # a name that somebody has pointed here
        (LOCAL, "evil.example:8780", "http://evil.example:8780"),
        (LOCAL, "10.1.2.3:8780", None),
        (LOCAL, "localhost.evil.example", None),
        (LOCAL, "[::1", None),
        (LOCAL, "127.0.0.1:8780", "https://evil.example"),
        (LOCAL, "127.0.0.1:8780", "null"),
        (LOCAL, "127.0.0.1:8780", "https://app.example.evil"),
        (LOCAL, "127.0.0.1:8780", "http://app.example"),
        (PUBLIC, "evil.example", None),
        (PUBLIC, "gateway.example:444", "https://evil.example"),
        (PUBLIC, "gateway.example:444", "https://gateway.example"),  # another port: another site
        (PUBLIC, "10.1.2.3:8780", "http://localhost:3000"),
        (PUBLIC, "localhost:8780", "http://localhost:3000"),
    ],
)
def test_others_are_not(origins, host, origin):
    assert not origins.allows(host, origin)
