from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avatarpool.endpoint import refusals
from avatarpool.endpoint.admission import Admission, Credentials
from avatarpool.endpoint.limits import ServiceLimits
from avatarpool.endpoint.refusals import TokenRefusal, UpgradeRefusal

NOW = 1000.0


def an_admission(**limits):
    return Admission.local(
        {"app": "key", "other": "other-key"},
        ["avatar"],
        ServiceLimits(**limits),
        wall_clock=lambda: NOW,
    )


def credentials(admission, **changed):
    """What opens a session, but for what is changed."""
    facts = {"token": admission.tokens.issue("app", 1060), "app_id": "app", "avatar_id": "avatar"}
    return Credentials(**(facts | changed))


# --- where credentials stand ----------------------------------------------------------------

HEADERS = {"X-Session-Key": "token", "X-App-ID": "app"}
QUERY = {"sessionKey": "token", "appId": "app"}


@pytest.mark.parametrize(
    ("headers", "query", "token", "app_id"),
    [
        (HEADERS, {}, "token", "app"),
        ({}, QUERY, "token", "app"),
        (HEADERS, {"sessionKey": "another", "appId": "other"}, "token", "app"),
        ({"X-Session-Key": "", "X-App-ID": ""}, QUERY, "token", "app"),
        ({"X-Session-Key": "token"}, {"appId": "app"}, "token", "app"),
        ({}, {}, "", ""),
    ],
)
def test_credentials_stand_in_headers_or_else_in_the_query(headers, query, token, app_id):
    found = Credentials.of(headers, query | {"id": "avatar"}, can_upgrade=True)

    assert found == Credentials(token, app_id, "avatar", can_upgrade=True)


def test_an_avatar_stands_in_the_query_alone():
    assert Credentials.of({"id": "avatar"}, {}, can_upgrade=False) == Credentials(
        "", "", "", can_upgrade=False
    )


def test_a_token_is_not_shown():
    assert "secret" not in repr(Credentials("secret", "app", "avatar"))


# --- the console ---------------------------------------------------------------------------


def test_a_key_says_whose_token_it_is():
    admission = an_admission()

    assert admission.applicant("other-key") is admission.accounts.by_app_id("other")
    assert admission.applicant("nobody's") is refusals.BAD_API_KEY
    assert admission.applicant("") is refusals.BAD_API_KEY


@pytest.mark.parametrize(
    ("ahead", "is_granted"), [(-1, False), (0, False), (1, True), (59, True), (60, False)]
)
def test_a_token_is_granted_for_as_long_as_allowed(ahead, is_granted):
    admission = an_admission(max_token_lifetime=60.0)
    account = admission.accounts.by_app_id("app")

    granted = admission.grant(account, b'{"expireAt": %d}' % (NOW + ahead))
    assert isinstance(granted, str) is is_granted
    assert admission.tokens.issued == is_granted
    if is_granted:
        token = admission.tokens.redeem(granted)
        assert (token.app_id, token.expires_at) == ("app", NOW + ahead)
    else:
        assert granted == refusals.bad_token_request("expireAt is not within the next 0.0166667 h")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.just("expireAt") | st.text(), inner),
    max_leaves=5,
)


@settings(deadline=None)
@given(JSON.map(lambda value: json.dumps(value).encode()) | st.binary())
def test_no_body_is_too_strange_to_be_refused(body):
    admission = an_admission()
    account = admission.accounts.by_app_id("app")

    granted = admission.grant(account, body)
    if isinstance(granted, str):
        assert NOW < json.loads(body)["expireAt"] < NOW + 24 * 3600
    else:
        assert (granted.status, granted.code) == (400, "invalidRequest")


# --- the ingress ----------------------------------------------------------------------------


def test_who_has_all_that_is_needed_is_admitted():
    admission = an_admission()

    assert admission.admit(credentials(admission)) is admission.accounts.by_app_id("app")
    assert admission.refused == 0


@pytest.mark.parametrize(
    ("changed", "refusal"),
    [
        ({"can_upgrade": False}, refusals.NO_UPGRADE),
        ({"token": ""}, UpgradeRefusal(400, "Invalid session token")),
        ({"token": "nonsense"}, UpgradeRefusal(400, "Invalid session token")),
        ({"app_id": "nobody"}, refusals.APP_UNKNOWN),
        ({"app_id": ""}, refusals.APP_UNKNOWN),
        ({"app_id": "other"}, refusals.APP_MISMATCH),
        ({"avatar_id": "nobody"}, refusals.avatar_unknown("nobody")),
        ({"avatar_id": ""}, refusals.avatar_unknown("")),
    ],
)
def test_what_is_missing_is_the_refusal_and_costs_no_place(changed, refusal):
    admission = an_admission(max_connections=1, max_handshakes=1)
    for refused in (1, 2, 3):
        assert admission.admit(credentials(admission, **changed)) == refusal
        assert admission.refused == refused

    for _ in range(2):
        assert not isinstance(admission.admit(credentials(admission)), UpgradeRefusal)


def test_what_is_no_upgrade_does_not_use_a_token_up():
    admission = an_admission(single_use_tokens=True)
    once = credentials(admission)
    no_upgrade = credentials(admission, token=once.token, can_upgrade=False)

    assert admission.admit(no_upgrade) is refusals.NO_UPGRADE
    assert not isinstance(admission.admit(once), UpgradeRefusal)
    assert admission.admit(once) == UpgradeRefusal(400, "Invalid session token")


def test_an_expired_token_is_refused_as_such():
    admission = an_admission()
    late = credentials(admission, token=admission.tokens.issue("app", int(NOW)))

    assert admission.admit(late) == UpgradeRefusal(401, "Session token is expired")


def test_tokens_that_cannot_be_remembered_are_refused_for_now():
    admission = an_admission(single_use_tokens=True, max_used_tokens=1)
    admission.admit(credentials(admission))

    refused = admission.admit(credentials(admission))
    assert refused == UpgradeRefusal(503, "1 used tokens have not expired yet, try later")


def test_a_place_is_free_again_once_somebody_left():
    admission = an_admission(max_connections=1, max_handshakes=1)
    account = admission.admit(credentials(admission))
    admission.admit(credentials(admission))

    assert admission.admit(credentials(admission)) is refusals.TOO_MANY_HANDSHAKES
    account.leave()
    assert admission.admit(credentials(admission)) is account


def test_an_account_without_credits_is_refused_and_no_other():
    admission = an_admission(credits=1.0)
    admission.accounts.by_app_id("app").charge(1.0)
    other = credentials(admission, token=admission.tokens.issue("other", 1060), app_id="other")

    assert admission.admit(credentials(admission)) is refusals.BILLING
    assert admission.admit(other) is admission.accounts.by_app_id("other")


@pytest.mark.parametrize("can_upgrade", [True, False])
def test_nobody_is_admitted_while_it_closes(can_upgrade):
    admission = an_admission()
    admission.is_closing = True

    assert admission.admit(credentials(admission, can_upgrade=can_upgrade)) is refusals.CLOSING
    assert admission.refused == 1


# --- how it is said -------------------------------------------------------------------------


def test_an_avatar_s_name_is_quoted_within_bounds():
    assert refusals.avatar_unknown("x" * 1000).message == "Avatar not found: " + "x" * 100


def test_a_refusal_says_how_to_upgrade_where_that_is_what_is_missing():
    json_alone = {"Content-Type": "application/json; charset=utf-8"}

    assert refusals.CLOSING.headers == refusals.APP_UNKNOWN.headers == json_alone
    assert refusals.NO_UPGRADE.headers == json_alone | {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
    }
    assert refusals.CLOSING.body == b'{"message":"the service is closing"}\n'
    assert isinstance(refusals.BAD_API_KEY, TokenRefusal)
