"""Keys and their hashes."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avatarpool.gateway.keys import is_key_hash, key_hash, matches, new_key


def test_keys_are_different_and_hold_256_bits():
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert {len(key) for key in keys} == {43}  # 32 bytes, in base64 without padding


def test_the_hash_is_plain_sha_256_that_any_tool_makes():
    assert key_hash("abc") == f"sha256:{sha256(b'abc').hexdigest()}"


@given(st.text(), st.text())
def test_a_key_matches_its_own_hash_and_no_other(key, other):
    # Text of any kind: a header's bytes that are no UTF-8 come as lone surrogates.
    assert matches(key, key_hash(key))
    assert matches(other, key_hash(key)) is (other == key)
    assert is_key_hash(key_hash(key))


def test_bytes_that_are_no_text_match_nothing_and_raise_nothing():
    assert not matches("\udcff\ud800", key_hash("a key"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        "0" * 64,
        f"sha256:{'0' * 63}",
        f"sha256:{'0' * 65}",
        f"sha256:{'A' * 64}",
        f"sha256:{'0' * 64}\n",
        f"sha1:{'0' * 64}",
        f"sha256:{'٣' * 64}",
    ],
)
def test_what_is_no_hash(text):
    assert not is_key_hash(text)
