from __future__ import annotations

from collections.abc import Callable
from secrets import token_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avatarpool.endpoint.spent import SpentTokens
from avatarpool.endpoint.tokens import (
    TokenExpired,
    TokenInvalid,
    TokenOffice,
    TokensExhausted,
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def new_office(clock: Callable[[], float], max_used: int | None = None) -> TokenOffice:
    spent = None if max_used is None else SpentTokens(max_used)
    return TokenOffice(clock, spent, secrets=[token_bytes(32)])


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def office(clock: Clock) -> TokenOffice:
    return new_office(clock, max_used=3)


def test_a_token_says_whose_it_is(office):
    token = office.redeem(office.issue("app", 1060))

    assert (token.app_id, token.expires_at) == ("app", 1060)


def test_two_tokens_for_the_same_differ(office):
    assert office.issue("app", 1060) != office.issue("app", 1060)


def test_a_token_for_a_single_use_opens_once(office):
    token = office.issue("app", 1060)
    office.redeem(token)

    with pytest.raises(TokenInvalid, match=r"^Invalid session token$"):
        office.redeem(token)


def test_another_token_opens_until_it_expires_and_nothing_is_remembered(clock):
    office = new_office(clock)
    token = office.issue("app", 1060)
    for now in (1000.0, 1001.0, 1059.9):
        clock.now = now
        assert office.redeem(token).app_id == "app"

    assert repr(office) == "<TokenOffice 0 used>"
    clock.now = 1060.0
    with pytest.raises(TokenExpired):
        office.redeem(token)


def test_another_spelling_of_a_used_token_opens_nothing(office):
    # 20 bytes of facts, 32 of signature and 5 of name: base64 leaves spare bits.
    token = office.issue("app12", 1060)
    office.redeem(token)
    spellings = [token + "=", *(token[:-1] + last for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZ")]

    for spelling in spellings:
        with pytest.raises(TokenInvalid):
            office.redeem(spelling)


def test_a_token_expires(office, clock):
    token = office.issue("app", 1060)
    clock.now = 1060.0

    with pytest.raises(TokenExpired, match="token is expired"):
        office.redeem(token)


def test_another_office_s_token_opens_nothing(office, clock):
    with pytest.raises(TokenInvalid):
        office.redeem(new_office(clock, max_used=3).issue("app", 1060))


@pytest.mark.parametrize("place", [0, 10, 40, 50, -1])
def test_a_token_with_one_character_changed_opens_nothing(office, place):
    token = office.issue("app", 1060)
    # 23 + 32 bytes: the last character's spare bits are no part of the token.
    changed = "A" if token[place] not in "ABCD" else "Q"
    at = place % len(token)

    with pytest.raises(TokenInvalid):
        office.redeem(token[:at] + changed + token[at + 1 :])


@settings(deadline=None)
@given(text=st.text(max_size=600))
def test_no_text_but_a_token_opens_anything(text):
    with pytest.raises(TokenInvalid):
        new_office(lambda: 0.0, max_used=1).redeem(text)


def test_used_tokens_are_forgotten_once_they_have_expired(office, clock):
    for _ in range(3):
        office.redeem(office.issue("app", 1060))
    with pytest.raises(TokensExhausted):
        office.redeem(office.issue("app", 1070))

    clock.now = 1060.0
    office.redeem(office.issue("app", 1070))

    assert repr(office) == "<TokenOffice 1 used>"


def test_a_former_secret_verifies_and_no_longer_signs(clock):
    former, present = token_bytes(32), token_bytes(32)
    token = TokenOffice(clock, secrets=[former]).issue("app", 1060)
    changing, changed = (
        TokenOffice(clock, secrets=secrets) for secrets in ([present, former], [present])
    )

    assert changing.redeem(token).app_id == "app"
    assert changed.redeem(changing.issue("app", 1060)).app_id == "app"
    with pytest.raises(TokenInvalid):
        changed.redeem(token)


def test_a_token_ends_with_the_key_that_it_was_got_with(clock):
    keys = {"app": bytes(32), "other": b"o" * 32}
    office = TokenOffice(clock, secrets=[token_bytes(32)], fingerprint=keys.__getitem__)
    token = office.issue("app", 1060)
    assert office.redeem(token).app_id == "app"

    keys["app"] = keys["other"]
    with pytest.raises(TokenInvalid):
        office.redeem(token)
    keys["app"] = bytes(32)
    assert office.redeem(token).app_id == "app"


def test_one_applications_used_tokens_are_no_other_ones_business(office):
    for _ in range(3):
        office.redeem(office.issue("greedy", 1060))
    with pytest.raises(TokensExhausted):
        office.redeem(office.issue("greedy", 1060))

    assert office.redeem(office.issue("app", 1060)).app_id == "app"


def test_a_clock_that_is_set_back_opens_no_used_token_again(office, clock):
    used, unused = office.issue("app", 1060), office.issue("app", 1090)
    office.redeem(used)
    clock.now = 1061.0
    office.redeem(office.issue("app", 1200))  # the used one is forgotten

    clock.now = 1055.0
    with pytest.raises(TokenExpired):
        office.redeem(used)
    assert office.redeem(unused).expires_at == 1090


def test_a_token_of_any_length_is_refused_without_being_read(office):
    with pytest.raises(TokenInvalid):
        office.redeem("A" * 513)
