from __future__ import annotations

from avatarpool.endpoint.accounts import Account, Accounts


def account(balance: float | None = None) -> Account:
    return Account("app", "secret-key", balance=balance, max_connections=2, max_handshakes=1)


def test_an_application_is_found_by_its_key_and_by_no_other():
    accounts = Accounts(
        Account(app_id, key, balance=None, max_connections=1, max_handshakes=1)
        for app_id, key in {"a": "ka", "b": "kb"}.items()
    )

    assert accounts.by_api_key("kb") is accounts.by_app_id("b")
    assert accounts.by_api_key("k") is None
    assert accounts.by_api_key("") is None
    assert accounts.by_api_key("k\udcff") is None  # bytes that are no UTF-8
    assert accounts.by_app_id("c") is None


def test_no_key_is_shown():
    accounts = Accounts([account()])

    assert repr(accounts) == "<Accounts app>"
    assert repr(accounts.by_app_id("app")) == "<Account 'app' 0 connections>"


def test_slots_are_given_while_there_are_some():
    one = account()

    assert [one.take_slot() for _ in range(3)] == [True, True, False]
    one.free_slot()
    assert one.take_slot()


def test_connections_are_admitted_while_there_is_room_beside_the_sessions():
    one = account()

    assert [one.admit() for _ in range(4)] == [True, True, True, False]
    one.leave()
    assert one.admit()


def test_credits_run_out_and_are_topped_up():
    one = account(balance=1.0)
    one.charge(0.75)
    assert one.has_credits
    one.charge(0.5)
    assert not one.has_credits

    one.top_up(2.0)  # a debt is forgiven
    one.charge(1.5)
    assert one.has_credits


def test_unlimited_credits_stay_unlimited():
    one = account()
    one.charge(1e9)
    one.top_up(1.0)

    assert one.has_credits
