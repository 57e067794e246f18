"""Settings from a file and the environment, and what is said of those that cannot work."""

from __future__ import annotations

import os
import tempfile
from ipaddress import ip_network
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from avatarpool.exceptions import ConfigurationError
from avatarpool.gateway.keys import key_hash
from avatarpool.gateway.reading import read_settings
from avatarpool.gateway.settings import ClientLimits, GatewaySettings
from avatarpool.protocol.settings import AudioFormat

UPSTREAM = """
[upstream]
api_key = "upstream-key"
app_id = "app"
console_endpoint = "https://console.example.com"
ingress_endpoint = "wss://ingress.example.com"
"""
VARIABLES = ("API_KEY", "APP_ID", "CONSOLE_ENDPOINT", "INGRESS_ENDPOINT", "USE_QUERY_AUTH")


@pytest.fixture(autouse=True)
def environ(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(f"AVATAR_{name}", raising=False)
    return monkeypatch.setenv


@pytest.fixture
def read(tmp_path):
    def read(text, **options):
        file = tmp_path / "gateway.toml"
        file.write_text(text, encoding="utf-8")
        return read_settings(file, **options)

    return read


@pytest.fixture
def problems(read, tmp_path):
    """What is said of a file, without its name in front."""

    def problems(text, **options):
        with pytest.raises(ConfigurationError) as caught:
            read(text, **options)
        front = f"{tmp_path / 'gateway.toml'}: "
        return [problem.removeprefix(front) for problem in caught.value.problems]

    return problems


def test_a_whole_file(read):
    settings = read(f"""
        [listen]
        host = "0.0.0.0"
        trusted_proxies = ["10.0.0.0/8"]
        {UPSTREAM}
        use_query_auth = true
        [tokens]
        secrets = ["{"s" * 32}", "{"t" * 32}"]
        [budget]
        sessions = 20
        [[pools.warm]]
        avatar = "a"
        sample_rate = 24000
        audio_format = "ogg_opus"
        sessions = 2
        [pools]
        timeout = 5
        [defaults]
        max_concurrent = 2
        avatars = ["a", "b"]
        [[clients]]
        name = "web"
        key_hash = "{key_hash("web")}"
        app_id = "web-app"
        [[clients]]
        name = "batch"
        key_hash = "{key_hash("batch")}"
        app_id = "batch-app"
        max_concurrent = 8
        avatars = []
        [admin]
        key_hash = "{key_hash("admin")}"
        """)
    assert settings.listen.trusted_proxies == (ip_network("10.0.0.0/8"),)
    assert settings.upstream.api_key.get_secret_value() == "upstream-key"
    assert settings.upstream.use_query_auth
    assert [secret.get_secret_value() for secret in settings.tokens.secrets] == ["s" * 32, "t" * 32]
    assert settings.budget.sessions == 20
    assert (settings.pools.timeout, settings.pools.request_timeout) == (5, 60)
    (warm,) = settings.pools.warm
    assert (warm.avatar, warm.sample_rate, warm.sessions) == ("a", 24000, 2)
    assert warm.audio_format is AudioFormat.OGG_OPUS
    web, batch = settings.clients
    assert web.limits == settings.defaults == ClientLimits(max_concurrent=2, avatars=("a", "b"))
    assert batch.limits == ClientLimits(max_concurrent=8)
    assert settings.admin.key_hash == key_hash("admin")


def test_nothing_at_all_is_the_defaults_with_a_local_upstream():
    assert read_settings(None, local_upstream=True) == GatewaySettings()


def test_without_a_file_the_environment_says_what_the_account_is(environ):
    for name in VARIABLES[:2]:
        environ(f"AVATAR_{name}", f"a-{name}")
    environ("AVATAR_CONSOLE_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(ConfigurationError) as caught:
        read_settings(None)
    assert caught.value.problems == (
        "upstream.ingress_endpoint is missing: set it, or AVATAR_INGRESS_ENDPOINT",
    )
    environ("AVATAR_INGRESS_ENDPOINT", "ws://127.0.0.1:1")
    environ("AVATAR_USE_QUERY_AUTH", "yes")
    upstream = read_settings(None).upstream
    assert upstream.api_key.get_secret_value() == "a-API_KEY"
    assert (upstream.app_id, upstream.use_query_auth) == ("a-APP_ID", True)


def test_the_environment_fills_in_and_changes_nothing_that_the_file_says(read, environ):
    for name in VARIABLES[:2]:
        environ(f"AVATAR_{name}", "of-the-environment")
    upstream = read(UPSTREAM.replace('app_id = "app"', "")).upstream
    assert upstream.api_key.get_secret_value() == "upstream-key"
    assert upstream.app_id == "of-the-environment"


def test_a_variable_that_cannot_work_is_named_as_one(problems, environ):
    environ("AVATAR_CONSOLE_ENDPOINT", "ftp://x")
    environ("AVATAR_USE_QUERY_AUTH", "perhaps")
    environ("AVATAR_API_KEY", "schlüssel")
    told = problems("")
    assert any(problem.startswith("AVATAR_USE_QUERY_AUTH: input should be") for problem in told)
    environ("AVATAR_USE_QUERY_AUTH", "no")
    told = problems("")
    assert told[0] == "AVATAR_API_KEY must be printable ASCII"
    assert told[1].startswith('AVATAR_CONSOLE_ENDPOINT "ftp://x" must be an http:// or https://')


def test_the_command_line_goes_before_the_file_and_is_named(read, problems):
    text = f'{UPSTREAM}\n[listen]\nhost = "0.0.0.0"\nport = 70000'
    assert read(text, listen={"host": "::1", "port": 0}).listen.port == 0
    (problem,) = problems(UPSTREAM, listen={"host": "192.0.2.1"})
    assert problem == (
        '--host "192.0.2.1" is beyond loopback, and there are no clients: add [[clients]], '
        "or listen on 127.0.0.1"
    )
    assert problems(UPSTREAM, listen={"ingress_port": 8780}) == [
        "--ingress-port 8780 is listen.port too: choose another"
    ]


# --- references ---------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_value_may_be_a_variables_or_a_files(read, environ, tmp_path, end):
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "api").write_bytes(f"from a file{end}".encode())
    (tmp_path / "first").write_bytes(f"{'s' * 32}\n{end}".encode())
    environ("THE_PORT", "1234")
    environ("SECOND", "t" * 32)
    (tmp_path / "answer").write_text("yes")
    settings = read(
        UPSTREAM.replace("upstream-key", "file:keys/api")
        + f"""
        [listen]
        port = "env:THE_PORT"
        [tokens]
        secrets = ["file:first", "env:SECOND"]
        single_use = "file:{tmp_path}/answer"
        """
    )
    assert settings.upstream.api_key.get_secret_value() == "from a file"
    assert settings.listen.port == 1234
    first, second = settings.tokens.secrets
    assert first.get_secret_value() == "s" * 32 + ("\n" if end else "")
    assert second.get_secret_value() == "t" * 32
    assert settings.tokens.single_use


def test_what_a_reference_does_not_lead_to_is_told_beside_the_rest(problems, environ, tmp_path):
    environ("EMPTY", "")
    environ("SHORT", "short-secret")
    environ("WORDS", "not-a-port")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"x" * 65537)
    (tmp_path / "bytes").write_bytes(b"\xff")
    assert problems(
        UPSTREAM
        + """
        [tokens]
        secrets = ["env:EMPTY", "file:none", "env:SHORT", "file:pipe", "file:large", "file:bytes"]
        [listen]
        port = "env:WORDS"
        """
    ) == [
        "listen.port env:WORDS must be 0 to 65535; 0 is any free one",
        "tokens.secrets.#1 env:EMPTY names no variable that is set",
        "tokens.secrets.#2 file:none is no file",
        "tokens.secrets.#4 file:pipe is no file",
        "tokens.secrets.#5 file:large has over 65536 bytes",
        "tokens.secrets.#6 file:bytes is no UTF-8 text",
        "tokens.secrets.#3 env:SHORT must be up to 16 texts of 32 to 4096 bytes",
    ]


def test_what_a_variable_holds_is_no_reference_once_more(read, environ):
    environ("A_KEY", "env:ANOTHER")
    upstream = read(UPSTREAM.replace("upstream-key", "env:A_KEY")).upstream
    assert upstream.api_key.get_secret_value() == "env:ANOTHER"


# --- files that settings name -------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path):
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "chain.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(tmp_path / "other.pem")


def test_files_are_from_where_the_settings_are(read, certificate, tmp_path):
    settings = read(
        f'{UPSTREAM}ca_file = "ca.pem"\n'
        '[listen]\ntls_certificate = "chain.pem"\ntls_key = "key.pem"'
    )
    assert settings.listen.tls_certificate == tmp_path / "chain.pem"
    assert settings.listen.tls_key == tmp_path / "key.pem"
    assert settings.upstream.ca_file == tmp_path / "ca.pem"


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("other.pem", "they are no pair"),
        ("ca.pem", "it is no PEM, or its key has a password"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_told_before_it_is(problems, certificate, key, why):
    (problem,) = problems(f'{UPSTREAM}[listen]\ntls_certificate = "chain.pem"\ntls_key = "{key}"')
    assert problem.startswith("listen.tls_certificate ")
    assert "chain.pem" in problem
    assert problem.endswith(f"cannot be used with listen.tls_key: {why}")


@pytest.mark.parametrize("missing", ["tls_certificate", "tls_key"])
@pytest.mark.parametrize(
    ("file", "why"),
    [("none.pem", "no such file or directory"), ("a\\u0000b", "its path has a null character")],
)
def test_a_file_that_cannot_be_read_is_told_from_the_other(
    problems, certificate, missing, file, why
):
    files = {"tls_certificate": "chain.pem", "tls_key": "key.pem", missing: file}
    lines = "\n".join(f'{key} = "{value}"' for key, value in files.items())
    (problem,) = problems(f"{UPSTREAM}[listen]\n{lines}")
    assert problem.startswith(f"listen.{missing} ")
    assert problem.endswith(f"cannot be used: {why}")


def test_a_key_with_a_password_is_not_asked_for_on_the_terminal(problems, certificate, tmp_path):
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - trustme's

    key = serialization.load_pem_private_key((tmp_path / "key.pem").read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )
    (tmp_path / "locked.pem").write_bytes(locked)
    (problem,) = problems(
        f'{UPSTREAM}[listen]\ntls_certificate = "chain.pem"\ntls_key = "locked.pem"'
    )
    assert problem.startswith("listen.tls_certificate ")


def test_authorities_that_are_none(problems):
    (problem,) = problems(f'{UPSTREAM}ca_file = "gateway.toml"')
    assert problem.startswith("upstream.ca_file ")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://:pw@h", "its URL begins with none of redis://, rediss:// and unix://"),
        ("redis://:pw@h:port", "its URL has no host and port"),
        ("redis://:pw@h/one", "the path of its URL is no number of a database"),
        ("redis://:pw@h?max_connections=pw", "the URL of h:6379/0 has an option that cannot work"),
    ],
)
def test_a_redis_that_cannot_work_is_told_without_its_password(problems, url, why):
    (problem,) = problems(f'{UPSTREAM}[budget]\nredis = "{url}"')
    assert problem.startswith(f"budget.redis cannot be used: {why}")
    assert "pw" not in problem


# --- all at once --------------------------------------------------------------------------


def test_all_problems_are_told_at_once(problems):
    told = problems(
        """
        tokens = 5
        clients = "all"
        [listne]
        port = 1
        [listen]
        port = 70000
        ingress_port = true
        idle_timeout = inf
        shutdown_timeout = -1
        tls_key = "key.pem"
        trusted_proxies = ["10.0.0.1/8", 5]
        public_console = "https://user:password@h"
        [upstream]
        api_kye = "a-secret"
        app_id = "app"
        [budget]
        sessions = 2
        name = "a b"
        [pools]
        warm = [{avatar = "a", sessions = 2}, {sample_rate = 8000}, 5]
        request_timeout = 600
        [defaults]
        max_concurent = 4
        priority = 5000
        """
    )
    expected = [
        "listne is no section: did you mean listen?",
        "tokens must be a table, [tokens]",
        "defaults.max_concurent is no setting: did you mean max_concurrent?",
        "defaults.priority 5000 must be -1000 to 1000",
        "listen.port 70000 must be 0 to 65535; 0 is any free one",
        "listen.ingress_port true must be 0 to 65535; 0 is any free one",
        "listen.public_console must be an http:// or https:// URL without credentials and query",
        'listen.trusted_proxies.#1 "10.0.0.1/8" must be addresses and networks such as ',
        "listen.trusted_proxies.#2 5 must be addresses and networks such as `10.0.0.0/8`",
        "listen.shutdown_timeout -1 must be 0 to 3600",
        "listen.idle_timeout inf must be above 0, at most 86400",
        "upstream.api_kye is no setting: did you mean api_key?",
        'budget.name "a b" must be 1 to 200 characters, no spaces and braces',
        "pools.warm.#2.avatar is missing: it is 1 to 256 printable characters",
        "pools.warm.#3 must be a table, [[pools.warm]]",
        "clients must be up to 1000 tables, [[clients]]",
        "upstream.api_key is missing: set it, or AVATAR_API_KEY",
        "upstream.console_endpoint is missing: set it, or AVATAR_CONSOLE_ENDPOINT",
        "upstream.ingress_endpoint is missing: set it, or AVATAR_INGRESS_ENDPOINT",
        "listen.tls_key has no tls_certificate beside it: give both or neither",
        "pools.request_timeout 600 is no less than the 540 s that",
        "pools.warm keeps 2 sessions, which leaves none of budget.sessions (2) for others",
    ]
    assert len(told) == len(expected)
    for problem, beginning in zip(sorted(told), sorted(expected), strict=True):
        assert problem.startswith(beginning)


def test_a_clients_problems_have_its_name_and_defaults_are_told_once(problems):
    good = f'app_id = "a"\nkey_hash = "{key_hash("a")}"'
    told = problems(
        f"""{UPSTREAM}
        [listen]
        host = "0.0.0.0"
        [defaults]
        queue_timeout = 0
        [[clients]]
        name = "a"
        {good}
        [[clients]]
        name = "b"
        {good}
        max_waiting = -1
        limits = {{}}
        [[clients]]
        name = "c\\nd"
        key = "a-secret"
        [[clients]]
        name = "e"
        {good}
        """
    )
    expected = [
        "defaults.queue_timeout 0 must be above 0, at most 3600",
        "clients.b.max_waiting -1 must be 0 to 10000",
        "clients.b.limits is no setting: there are name, key_hash, app_id, max_concurrent, ",
        "clients.#3.key is no setting: did you mean key_hash?",
        'clients.#3.name "c d" must be 1 to 64 letters, digits and `._-`, a letter or digit first',
        "clients.#3.key_hash is missing: it is `sha256:` and 64 lower-case hexadecimal digits, ",
        "clients.#3.app_id is missing: it is 1 to 128 printable ASCII characters without spaces",
        "clients.b.app_id is that of clients.a too: each client needs its own",
        "clients.e.app_id is that of clients.a too: each client needs its own",
        "clients.b.key_hash is that of clients.a too: each client needs its own",
        "clients.e.key_hash is that of clients.a too: each client needs its own",
    ]
    assert len(told) == len(expected)
    for problem, beginning in zip(sorted(told), sorted(expected), strict=True):
        assert problem.startswith(beginning)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"a = ", "is no TOML: Invalid value (at end of document)"),
        (b"\xff", "is no UTF-8 text"),
        (b"a = " + b"[" * 100_000, "has lists too deep in each other"),
        (b"a = " + b"9" * 5000, "is no TOML: "),
        (b"#" * 1_048_577, "has over 1048576 bytes"),
    ],
)
def test_a_file_that_is_no_toml(tmp_path, content, why):
    file = tmp_path / "gateway.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        read_settings(file)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{file} {why}")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigurationError, match=r"none\.toml is no file"):
        read_settings(tmp_path / "none.toml")


# --- secrets ------------------------------------------------------------------------------

SECRET = "tell-nobody-of-this-one"
PLACES = {
    "upstream.api_key": "[upstream]\napi_key = {}",
    "upstream.proxy": "[upstream]\nproxy = {}",
    "upstream, misspelt": "[upstream]\napi_kye = {}",
    "tokens.secrets": "[tokens]\nsecrets = {}",
    "one of tokens.secrets": "[tokens]\nsecrets = [{}]",
    "budget.redis": "[budget]\nredis = {}",
    "admin.key_hash": "[admin]\nkey_hash = {}",
    "clients.key_hash": '[[clients]]\nname = "web"\nkey_hash = {}',
    "clients, misspelt": '[[clients]]\nname = "web"\nkey = {}',
    "the tokens": "tokens = {}",
    "the clients": "clients = {}",
    "one of the clients": "clients = [{}]",
}
FORMS = {
    "itself": '"{}"',
    "not ASCII": '"{}ü"',
    "with a line break": '"{}\\n"',
    "in a URL": '"http://user:{}@example.com"',
    "in front of a host": '"user:{}@example.com"',
    "in a query": '"redis://example.com/?password={}"',
    "in a Redis URL": '"redis://:{}@host:port"',
    "in a list": '["{}"]',
    "in a table": '{{a = "{}"}}',
    "in a variable": '"env:GATEWAY_TEST_SECRET"',
    "a hash": '"sha256:{}"',
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", PLACES)
def test_no_secret_reaches_the_error_of_a_bad_file(read, environ, place, form):
    environ("GATEWAY_TEST_SECRET", SECRET)
    text = PLACES[place].format(FORMS[form].format(SECRET))
    with pytest.raises(ConfigurationError) as caught:
        read(f"{text}\n[listen]\nport = 70000\nhost = 5")
    seen = [str(caught.value), repr(caught.value), *caught.value.problems]
    cause = caught.value.__cause__ or (
        not caught.value.__suppress_context__ and caught.value.__context__
    )
    assert SECRET not in " ".join([*seen, repr(cause)])


@given(st.text(st.characters(codec="utf-8"), min_size=8, max_size=60))
def test_no_secret_of_any_letters_does(secret):
    unlike_us = f"\u2020{secret}"  # else a word of ours might be one
    settings = {
        "api_key": unlike_us,
        "secrets": [unlike_us],
        "redis": unlike_us,
        "proxy": unlike_us,
        "key_hash": unlike_us,
    }
    sections = {"api_key": "upstream", "proxy": "upstream", "secrets": "tokens"}
    with tempfile.TemporaryDirectory() as folder:  # a fixture's would be one for all examples
        file = Path(folder) / "gateway.toml"
        lines = []
        for key, value in settings.items():
            section = sections.get(key, "budget" if key == "redis" else "admin")
            lines.append(f"{section}.{key} = {_toml(value)}")
        file.write_text("\n".join(lines), encoding="utf-8")
        with pytest.raises(ConfigurationError) as caught:
            read_settings(file)
    assert "\u2020" not in str(caught.value)


def _toml(value):
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return '"' + "".join(f"\\U{ord(letter):08X}" for letter in value) + '"'
