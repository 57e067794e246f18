from __future__ import annotations

import pytest

from avatarpool.protocol.opus import MAX_PACKET_SAMPLES, packet_samples


@pytest.mark.parametrize(
    ("packet", "milliseconds"),
    [
        (b"\x00", 10),
        (b"\x18", 60),
        (b"\x61", 20),
        (b"\xf8", 20),
        (b"\xe2", 5),
        (b"\xfb\x06", 120),
        (b"\xfb\x86", 120),  # of varying size
    ],
)
def test_a_packet_says_how_long_it_is(packet, milliseconds):
    assert packet_samples(packet) == 48 * milliseconds


@pytest.mark.parametrize("packet", [b"", b"\xfb", b"\xfb\x40"])
def test_what_is_no_packet_has_no_samples(packet):
    assert packet_samples(packet) == 0


def test_a_packet_may_lie_about_its_length():
    assert packet_samples(b"\x1b\x3f") == 63 * 2880 > MAX_PACKET_SAMPLES
