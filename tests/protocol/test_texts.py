from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avatarpool.protocol.texts import close_reason, may_carry


@pytest.mark.parametrize("code", [1000, 1003, 1007, 1014, 3000, 4999])
def test_codes_that_a_close_frame_may_carry(code: int):
    assert may_carry(code)


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535])
def test_codes_that_it_may_not(code: int):
    assert not may_carry(code)


@given(st.text())
def test_a_reason_is_the_longest_beginning_that_fits(text: str):
    sayable = text.encode(errors="replace").decode()
    kept = close_reason(text).decode()
    assert sayable.startswith(kept)
    rest = sayable[len(kept) :]
    assert len(kept.encode()) <= 123
    assert not rest or len((kept + rest[0]).encode()) > 123


def test_what_cannot_be_said_in_utf_8_does_not_keep_a_frame_from_leaving():
    assert close_reason("\ud800 is half a letter") == b"? is half a letter"
