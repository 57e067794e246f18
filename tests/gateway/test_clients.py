from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avatarpool.endpoint.admission import Admission, Credentials
from avatarpool.endpoint.refusals import UpgradeRefusal, avatar_unknown
from avatarpool.endpoint.tokens import TokenOffice
from avatarpool.gateway import clients, failures
from avatarpool.gateway.clients import Client, Clients
from avatarpool.gateway.keys import key_hash
from avatarpool.gateway.turns import Turns


@dataclass(frozen=True)
class Limits:
    max_concurrent: int = 2
    max_waiting: int = 3
    queue_timeout: float = 10.0
    requests_per_minute: int = 0
    priority: int = 0
    avatars: tuple[str, ...] = ()
    max_audio_seconds: float = 300.0


@dataclass(frozen=True)
class Settings:
    name: str
    key_hash: str = ""
    app_id: str = ""
    limits: Limits = field(default_factory=Limits)


def settings(name, key="", app_id="", **limits):
    return Settings(name, key_hash(key or f"{name}-key"), app_id or f"{name}-app", Limits(**limits))


def a_client(**limits):
    (client,) = Clients([settings("one", **limits)])
    return client


# --- who it is -------------------------------------------------------------------------------


def test_a_client_is_found_by_its_application_or_its_key_and_by_no_other():
    clients = Clients([settings("one"), settings("other")])

    assert clients.by_api_key("one-key") is clients.by_app_id("one-app")
    assert clients.by_api_key("other-key").name == "other"
    for wrong in ("", "one-ke", key_hash("one-key"), "k\udcff", "k\ud800"):
        assert clients.by_api_key(wrong) is None
    assert clients.by_app_id("one") is None


def test_neither_key_nor_hash_is_shown():
    clients = Clients([settings("one"), settings("other")])

    assert repr(clients) == "<Clients one, other>"
    assert repr(clients.by_app_id("one-app")) == "<Client 'one' 0 running, 0 waiting>"


def test_a_client_is_let_in_for_its_own_avatars():
    clients = Clients([settings("one", avatars=("a", "b"))])
    admission = Admission(
        clients,
        TokenOffice(lambda: 1000.0, secrets=[b"secret"]),
        lambda client, avatar: None if client.allows(avatar) else avatar_unknown(avatar),
        max_token_lifetime=3600.0,
        wall_clock=lambda: 1000.0,
    )
    client = admission.applicant("one-key")
    token = admission.grant(client, b'{"expireAt": 1060}')

    assert admission.admit(Credentials(token, "one-app", "a")) is client
    assert isinstance(admission.admit(Credentials(token, "one-app", "c")), UpgradeRefusal)
    assert a_client().allows("any")


# --- how much it may have --------------------------------------------------------------------


def test_so_many_requests_may_run_and_so_many_wait():
    client = a_client(max_concurrent=2, max_waiting=3)
    assert [client.begin(0.0) for _ in range(5)] == [None] * 5

    refused = client.begin(0.0)
    assert (refused.name, refused.code, refused.status) == ("clientBusy", 4003, 429)
    client.end(1.5)
    assert client.begin(0.0) is None
    client.end(2.0, failures.LOST)
    assert (client.requests, client.under_way, client.audio_seconds) == (6, 4, 3.5)
    assert client.refused == {"clientBusy": 1, "upstreamLost": 1}


def test_what_runs_and_waits_is_what_has_its_turn_and_what_has_not():
    client, turns = a_client(max_concurrent=2), Turns()
    tickets = [turns.ask(client.standing) for _ in range(4)]
    turns.next(9, 0.0)
    assert (client.running, client.waiting) == (2, 2)
    turns.end(tickets[2], 0.0)
    turns.end(tickets[0], 1.0)
    turns.end(tickets[0], 1.0)
    assert (client.running, client.waiting) == (1, 1)


def test_without_a_rate_any_number_may_come_at_once():
    client = a_client(max_concurrent=1000)
    assert [client.begin(0.0) for _ in range(1000)] == [None] * 1000


@pytest.mark.parametrize(("per_minute", "at_once"), [(1, 1), (6, 1), (19, 1), (20, 2), (600, 60)])
def test_a_tenth_of_a_minutes_requests_may_come_at_once(per_minute, at_once):
    client = a_client(max_concurrent=1000, requests_per_minute=per_minute)
    assert [client.begin(5.0) for _ in range(at_once)] == [None] * at_once

    refused = client.begin(5.0)
    assert (refused.name, refused.status) == ("rateLimited", 429)
    assert client.begin(5.0 + 0.9 * refused.retry_after) is not None
    assert client.begin(5.0 + refused.retry_after) is None
    assert client.begin(5.0 + refused.retry_after) is not None


@given(
    st.integers(1, 1000),
    st.lists(st.floats(0.0, 5.0), min_size=1, max_size=200),
    st.floats(-1e6, 1e6),
)
def test_no_more_come_through_than_the_rate_and_what_may_come_at_once(per_minute, pauses, now):
    client = a_client(max_concurrent=1000, requests_per_minute=per_minute)
    through, began = 0, now
    for pause in pauses:
        now += pause
        refused = client.begin(now)
        if refused is None:
            through += 1
        else:
            assert 0 < refused.retry_after <= 60 / per_minute + 1e-3
        burst = max(1.0, per_minute / 10)
        assert through <= burst + (now - began) * per_minute / 60 + 1e-3
    now += 60.0 / per_minute + 1e-3
    assert client.begin(now) is None, "whoever waits gets through"


def test_a_refused_request_counts_for_nothing():
    client = a_client(max_concurrent=1, max_waiting=0, requests_per_minute=20)
    assert client.begin(0.0) is None
    for _ in range(100):
        assert client.begin(0.0).name == "clientBusy"
    client.end(1.0)
    assert client.begin(0.0) is None
    assert client.requests == 2


# --- other settings --------------------------------------------------------------------------


def test_whoever_stays_keeps_what_it_has():
    clients, turns = Clients([settings("one", requests_per_minute=10)]), Turns()
    client = clients.by_app_id("one-app")
    assert client.begin(0.0) is None
    tickets = [turns.ask(client.standing) for _ in range(4)]
    turns.next(9, 0.0)
    other = settings("one", "new-key", "new-app", max_concurrent=3, requests_per_minute=10)

    assert clients.replace([other, settings("more")]) == []
    assert clients.by_app_id("new-app") is client
    assert clients.by_app_id("one-app") is None
    assert clients.by_api_key("new-key") is client
    assert clients.by_api_key("one-key") is None
    assert [c.name for c in clients] == ["one", "more"]
    assert (client.running, client.waiting, client.under_way) == (2, 2, 1)
    assert client.begin(0.0).name == "rateLimited"
    turns.reconsider(client.standing)
    assert turns.next(9, 0.0) == [tickets[2]]


def test_a_changed_priority_counts_from_the_next_turn_on():
    clients, turns = Clients([settings("one"), settings("other")]), Turns()
    one, other = clients
    clients.replace([settings("one"), settings("other", priority=2)])
    turns.ask(one.standing)
    turns.ask(other.standing)
    assert turns.next(1, 0.0)[0].standing is other.standing


def test_whoever_is_gone_keeps_what_runs_and_gets_nothing_new():
    clients, turns = Clients([settings("one"), settings("other")]), Turns()
    one, _ = clients
    for _ in range(4):
        assert one.begin(0.0) is None
    tickets = [turns.ask(one.standing) for _ in range(4)]
    turns.next(1, 0.0)

    assert clients.replace([settings("other")]) == [one]
    assert clients.by_api_key("one-key") is None
    refused = one.begin(0.0)
    assert (refused.name, refused.code, refused.status) == ("clientUnknown", 4010, 401)
    assert turns.next(9, 0.0) == []
    assert (one.running, one.waiting) == (1, 3)
    turns.end(tickets[0], 1.0)
    one.end(1.0)
    assert turns.next(9, 0.0) == []
    assert (one.running, one.audio_seconds) == (0, 1.0)


def test_a_higher_rate_counts_at_once():
    clients = Clients([settings("one", requests_per_minute=1)])
    (client,) = clients
    assert client.begin(0.0) is None
    assert client.begin(1.0).retry_after == 59.0
    clients.replace([settings("one", requests_per_minute=600)])
    assert client.begin(1.0).retry_after <= 0.1 + 1e-9
    assert client.begin(1.2) is None


def test_a_clock_that_was_put_back_refuses_nobody_for_long():
    client = a_client(max_concurrent=9, requests_per_minute=60)
    assert client.begin(1e6) is None
    assert client.begin(0.0).retry_after == 1.0
    assert client.begin(1.0) is None


def test_settings_of_any_kind_will_do():
    one = settings("one")
    client = Client(one.name, one.app_id, one.key_hash, replace(one.limits, priority=3))
    assert client.standing.priority == 3


def test_one_client_leaves_connections_to_the_others():
    for places in (4096, 40):
        one, _ = Clients([settings("one"), settings("other")], places)
        admitted = 0
        while one.admit():
            admitted += 1
        assert places * 3 // 4 < admitted < places


def test_a_key_is_hashed_once_however_many_clients_there_are(monkeypatch):
    hashed = []

    def counted(key):
        hashed.append(key)
        return key_hash(key)

    many = Clients(settings(f"client-{number}") for number in range(100))
    monkeypatch.setattr(clients, "key_hash", counted)
    assert many.by_api_key("client-99-key") is many.by_app_id("client-99-app")
    assert many.by_api_key("x" * 8000) is None
    assert hashed == ["client-99-key", "x" * 8000]
