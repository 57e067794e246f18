"""A client's address behind proxies: believed as far as trusted proxies say so."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from avatarpool.gateway.forwarding import Forwarding

TRUSTED = Forwarding([ip_network("10.0.0.0/8"), ip_network("fd00::/8")])


@pytest.mark.parametrize(
    ("peer", "header", "client"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "203.0.113.9", "192.0.2.1"),  # no proxy of ours: it says what it likes
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "1.1.1.1, 203.0.113.9", "203.0.113.9"),  # the first was the client's own word
        ("10.0.0.1", "203.0.113.9, 10.2.2.2", "203.0.113.9"),
        ("fd00::1", " 2001:db8::1 ", "2001:db8::1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9, unknown", "10.0.0.1"),
        ("10.0.0.1", ", ".join(["10.1.1.1"] * 10_000), "10.1.1.1"),
    ],
)
def test_the_address_is_the_last_that_no_trusted_proxy_has(peer, header, client):
    assert TRUSTED.client(peer, header) == client
