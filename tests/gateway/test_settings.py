"""Settings as values: their bounds, what contradicts itself, what changes while it runs."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from avatarpool.fleet.keys import PoolKey
from avatarpool.gateway.changes import changed, taken_over
from avatarpool.gateway.contradictions import contradictions, warnings
from avatarpool.gateway.keys import key_hash
from avatarpool.gateway.settings import (
    SECRET,
    SECTIONS,
    ClientLimits,
    ClientSettings,
    GatewaySettings,
    Listen,
    Pools,
    Tokens,
    Upstream,
    Warm,
)
from avatarpool.gateway.showing import in_force

REFERENCE = Path(__file__).parents[2] / "docs" / "reference.md"

UPSTREAM = {
    "api_key": "upstream-key-that-stays-hidden",
    "app_id": "app",
    "console_endpoint": "https://console.example.com",
    "ingress_endpoint": "wss://ingress.example.com",
}


def client(name="web", **limits):
    return ClientSettings(
        name=name, app_id=f"{name}-app", key_hash=key_hash(name), limits=ClientLimits(**limits)
    )


def settings(**sections):
    return GatewaySettings.model_validate({"upstream": UPSTREAM, **sections})


def told(given, **options):
    return [f"{each.name} {each.text}" for each in contradictions(given, **options)]


# --- values -------------------------------------------------------------------------------


def test_the_defaults_go_together_and_are_what_the_reference_says():
    assert told(settings()) == []
    assert told(GatewaySettings(), local_upstream=True) == []
    text = REFERENCE.read_text(encoding="utf-8")
    for section, fields in SECTIONS.items():
        for name, field in fields.items():
            if section == "clients" and name in SECTIONS["defaults"]:
                continue  # said once
            assert f"| `{name}` | {field.description} |" in text, f"{section}.{name}"


@pytest.mark.parametrize(
    ("section", "key", "right", "wrong"),
    [
        (
            "listen",
            "host",
            ["::1", "192.0.2.1", "a.example"],
            ["", "a b", "h:80", "[::1]", "a" * 70],
        ),
        ("listen", "port", [0, 65535], [-1, 65536, 1.5, True, "x", None]),
        ("listen", "shutdown_timeout", [0, 3600], [-1, 3601, float("nan"), float("inf"), False]),
        ("listen", "idle_timeout", [0.1, 86400], [0, 86401, float("nan")]),
        ("listen", "public_console", ["https://a/b"], ["wss://a", "https://u:p@a", "https://a?b"]),
        ("listen", "public_ingress", ["wss://a", "https://a"], ["a", "ftp://a", "wss://a#b", ""]),
        (
            "listen",
            "trusted_proxies",
            [["10.0.0.0/8", "::1"]],
            [["10.0.0.1/8"], ["host"], [1], "10.0.0.1", ["::1"] * 1001],
        ),
        (
            "listen",
            "allowed_origins",
            [["https://a.example", "http://localhost:3000"]],
            [["*"], ["https://a/"], ["https://A"], ["null"], "https://a"],
        ),
        ("upstream", "api_key", ["a key"], ["schlüssel", " a", "a\n", 5, "a" * 4097]),
        ("upstream", "proxy", [True, False, "socks5://u:p@h:1"], ["ftp://h", "", ["http://h"]]),
        ("tokens", "secrets", [["x" * 32]], [["x" * 31], ["x" * 4097], ["x" * 32] * 17, "x" * 32]),
        ("tokens", "lifetime", [86400], [86400.1, 0]),
        ("budget", "sessions", [1, 1_000_000], [0, 1_000_001, True]),
        ("budget", "name", ["a"], ["", "a b", "{a}", "a" * 201, "a\n"]),
        ("budget", "lease_ttl", [1, 3600], [0.9, 3601]),
        ("pools", "session_ttl_minutes", [1440], [0, 1441]),
        ("defaults", "avatars", [["a"]], [[""], ["a" * 257], ["a\nb"], "a", ["a"] * 1001]),
        ("defaults", "requests_per_minute", [0], [-1, 0.5]),
        ("defaults", "max_concurrent", [1], [0, 10_001]),
        ("admin", "key_hash", [key_hash("a")], ["a", "sha256:" + "A" * 64]),
    ],
)
def test_the_bounds_of_a_value(section, key, right, wrong):
    for value in right:
        settings(**{section: {**(UPSTREAM if section == "upstream" else {}), key: value}})
    for value in wrong:
        with pytest.raises(ValidationError):
            settings(**{section: {key: value}})


@pytest.mark.parametrize("name", ["", "a b", "-a", "a/b", "ä", "a" * 65, "a\n"])
def test_a_clients_name_is_one_for_metrics(name):
    with pytest.raises(ValidationError):
        ClientSettings(name=name, app_id="a", key_hash=key_hash("a"))


def test_values_are_frozen_and_their_reprs_have_no_secrets():
    given = settings(
        tokens={"secrets": ["token-secret-that-stays-hidden-000"]},
        budget={"redis": "redis://:redis-password@h"},
        admin={"key_hash": key_hash("admin")},
        upstream={**UPSTREAM, "proxy": "http://u:proxy-password@h"},
        clients=[client()],
    )
    with pytest.raises(ValidationError):
        given.listen.port = 1
    for text in (repr(given), str(given), in_force(given)):
        for secret in ("hidden", "password", key_hash("admin"), key_hash("web")):
            assert secret not in text


def test_every_secret_is_marked_as_one():
    for fields in SECTIONS.values():
        for name, field in fields.items():
            is_secret = "SecretStr" in repr(field.annotation) or field.repr is False
            assert (name in SECRET) is is_secret, name


def test_a_warm_key_is_a_pools_key():
    assert Warm(avatar="a", sample_rate=24000).key == PoolKey("a", 24000)


# --- contradictions -----------------------------------------------------------------------


def test_an_upstream_is_needed_unless_a_local_one_is_started():
    assert told(GatewaySettings()) == [
        "upstream.api_key is missing: set it, or AVATAR_API_KEY",
        "upstream.app_id is missing: set it, or AVATAR_APP_ID",
        "upstream.console_endpoint is missing: set it, or AVATAR_CONSOLE_ENDPOINT",
        "upstream.ingress_endpoint is missing: set it, or AVATAR_INGRESS_ENDPOINT",
    ]


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"listen": {"tls_certificate": "a"}}, "listen.tls_certificate has no tls_key beside it"),
        ({"listen": {"tls_key": "a"}}, "listen.tls_key has no tls_certificate beside it"),
        ({"listen": {"public_console": "https://a"}}, "listen.public_console has no public_ing"),
        ({"listen": {"port": 9, "ingress_port": 9}}, "listen.ingress_port 9 is listen.port too"),
        ({"listen": {"host": "192.0.2.1"}}, 'listen.host "192.0.2.1" is beyond loopback, and th'),
        ({"listen": {"host": "example.com"}}, 'listen.host "example.com" is beyond loopback'),
        (
            {"pools": {"session_ttl_minutes": 1}},
            "pools.request_timeout 60 is no less than the 54 s that a session may have",
        ),
        (
            {"pools": {"warm": [{"avatar": "a", "sessions": 10}]}},
            "pools.warm keeps 10 sessions, which leaves none of budget.sessions (10)",
        ),
        (
            {"pools": {"warm": [{"avatar": "a", "sample_rate": 11025}]}},
            "pools.warm.a has a key that cannot be: sample_rate 11025 is none of 8000, ",
        ),
        (
            {"pools": {"warm": [{"avatar": "a"}, {"avatar": "a"}]}},
            "pools.warm.a stands there twice as a/16000",
        ),
        (
            {"clients": [client("a"), client("b").model_copy(update={"app_id": "a-app"})]},
            "clients.b.app_id is that of clients.a too",
        ),
        (
            {"clients": [client("a"), client("b").model_copy(update={"key_hash": key_hash("a")})]},
            "clients.b.key_hash is that of clients.a too",
        ),
    ],
)
def test_what_cannot_all_be(sections, expected):
    (sentence,) = told(settings(**sections))
    assert sentence.startswith(expected)


def test_two_clients_of_one_name_share_all_three():
    sentences = told(settings(clients=[client(), client()]))
    assert [sentence.split()[0] for sentence in sentences] == [
        "clients.web.name",
        "clients.web.app_id",
        "clients.web.key_hash",
    ]


def test_nothing_is_told_of_what_is_known_to_be_wrong_nor_of_what_goes_with_it():
    given = settings(
        listen={"host": "192.0.2.1", "tls_key": "a"},
        pools={"warm": [{"avatar": "a", "sessions": 10}]},
    )
    assert len(told(given)) == 3
    assert told(given, wrong={"clients.#", "listen.tls_certificate", "budget.sessions"}) == []
    assert told(given, wrong={"clients", "listen.tls_key", "budget"}) == []


def test_no_tls_beyond_loopback_is_a_warning_unless_a_proxy_may_have_it():
    def said(**listen):
        return warnings(settings(clients=[client()], listen=listen))

    (warning,) = said(host="0.0.0.0")  # noqa: S104
    assert warning.startswith("0.0.0.0 is beyond loopback and there is no TLS")
    assert said(host="0.0.0.0", trusted_proxies=["10.0.0.1"]) == []  # noqa: S104
    assert said(host="0.0.0.0", tls_certificate="a", tls_key="b") == []  # noqa: S104
    assert said() == []
    assert [said(host=host) for host in ("::1", "localhost", "127.1.2.3")] == [[], [], []]


def test_gateways_that_share_an_account_and_no_tokens_are_a_warning():
    (warning,) = warnings(settings(budget={"redis": "redis://h"}))
    assert "tokens.secrets is empty" in warning


# --- changes ------------------------------------------------------------------------------


def test_each_setting_is_either_taken_over_or_needs_a_restart():
    old = settings(clients=[client("stays"), client("changes"), client("goes")])
    new = GatewaySettings(
        listen=Listen(
            host="::1",
            port=1,
            ingress_port=2,
            tls_certificate=Path("a"),
            tls_key=Path("b"),
            public_console="https://a",
            public_ingress="wss://a",
            trusted_proxies=(ip_network("10.0.0.0/8"),),
            allowed_origins=("https://a",),
            shutdown_timeout=1,
            idle_timeout=1,
            max_duration=1,
        ),
        upstream=Upstream(
            api_key=SecretStr("b"),
            app_id="b",
            console_endpoint="https://b",
            ingress_endpoint="wss://b",
            use_query_auth=True,
            proxy=False,
            ca_file=Path("c"),
            basis=Path("d"),
        ),
        tokens=Tokens(secrets=(SecretStr("x" * 32),), lifetime=1, single_use=True),
        budget={"sessions": 9, "redis": "redis://h", "name": "b", "lease_ttl": 1},
        pools=Pools(
            timeout=1,
            request_timeout=1,
            first_frame_timeout=1,
            max_idle=1,
            session_ttl_minutes=1,
            resend_lost_requests=True,
            warm=(Warm(avatar="a"),),
        ),
        defaults=ClientLimits(
            max_concurrent=1,
            max_waiting=1,
            queue_timeout=1,
            requests_per_minute=1,
            priority=1,
            avatars=("a",),
            max_audio_seconds=1,
        ),
        clients=(client("stays"), client("changes", priority=1), client("comes")),
        admin={"key_hash": key_hash("admin")},
    )
    changes = changed(old, new)
    assert set(changes.reloadable) == {
        *(f"defaults.{key}" for key in ClientLimits.model_fields),
        "clients.changes",
        "clients.goes",
        "clients.comes",
        "tokens.secrets",
        "tokens.lifetime",
        "budget.sessions",
        "admin.key_hash",
        "listen.allowed_origins",
        "listen.trusted_proxies",
        "pools.resend_lost_requests",
    }
    others = {
        f"{section}.{key}"
        for section in GatewaySettings.model_fields
        if section != "clients"
        for key in SECTIONS[section]
    }
    assert set(changes.needs_restart) == others - set(changes.reloadable)

    merged = taken_over(old, new)
    assert changed(old, merged) == (changes.reloadable, ())
    assert changed(merged, new) == ((), changes.needs_restart)


def test_the_same_settings_have_no_changes():
    assert changed(settings(clients=[client()]), settings(clients=[client()])) == ((), ())


# --- what --check prints ------------------------------------------------------------------


def test_what_is_in_force_has_each_setting_once_and_says_which_secrets_are_set():
    given = settings(
        tokens={"secrets": ["x" * 32, "y" * 32]},
        budget={"redis": "redis://user:pw@h:1/2?password=pw"},
        clients=[client("a", avatars=("x",)), client("b")],
        pools={"warm": [{"avatar": "w", "audio_format": "ogg_opus"}]},
    )
    lines = in_force(given).splitlines()
    assert "# redis: redis://h:1/2" in lines
    assert "# secrets: 2 set" in lines
    assert "# api_key: set" in lines
    assert 'avatars = ["x"]' in lines
    assert 'audio_format = "ogg_opus"' in lines
    assert lines.count("[[clients]]") == 2
    names = [re.match(r"(?:# )?(\w+)(?: =|:)", line) for line in lines]
    counted = [name[1] for name in names if name]
    expected = [key for section in SECTIONS for key in SECTIONS[section] if key != "warm"]
    assert sorted(counted) == sorted([*expected, *SECTIONS["clients"]])
