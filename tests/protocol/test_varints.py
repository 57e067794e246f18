from __future__ import annotations

import pytest

from avatarpool.protocol.varints import prefixed, varint


@pytest.mark.parametrize(
    ("value", "written"),
    [(0, "00"), (1, "01"), (127, "7f"), (128, "80 01"), (150, "96 01"), (16384, "80 80 01")],
)
def test_numbers_are_written_seven_bits_at_a_time_low_bits_first(value: int, written: str):
    assert varint(value) == bytes.fromhex(written)


def test_a_prefix_counts_the_bytes_behind_it():
    assert prefixed(b"") == b"\0"
    assert prefixed(b"testing") == b"\x07testing"
    assert prefixed(bytes(300)) == b"\xac\x02" + bytes(300)
