"""Tokens and sessions through real proxies, and who is to blame when there is no way."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from proxying import (
    CONSOLE,
    INGRESS,
    PASSWORD,
    Authority,
    free_port,
    named,
    port_of,
    real_proxy,
    tls_in_front_of,
    with_password,
)

from avatarpool import (
    AvatarConnectionPool,
    AvatarSDKError,
    AvatarSDKErrorCode,
    AvatarSession,
    ConfigurationError,
    SessionConfig,
)
from avatarpool.client.console import ConsoleClient
from avatarpool.service import LocalAvatarService

VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")

KINDS = ("http", "http with a password", "socks5", "socks5 with a password")


@pytest.fixture
def nowhere() -> Iterator[int]:
    """A port on which nobody listens."""
    with free_port() as port:
        yield port


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def config(service: LocalAvatarService, authority: Authority) -> AsyncIterator[SessionConfig]:
    """A service behind TLS, under names that only the proxies know."""
    port, tls = port_of(service.console_url), authority.serving(CONSOLE, INGRESS)
    async with tls_in_front_of(port, tls) as tls_port:
        yield replace(service.config_factory(), **named(service, tls_port))  # type: ignore[arg-type]


@pytest.fixture(params=KINDS)
def proxy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with real_proxy(request.param, tmp_path) as url:
        yield with_password(url) if request.param.endswith("password") else url


class WithToken(ConsoleClient):
    """Gives a token without asking anybody, for tests of the ingress alone."""

    async def request_token(self, config: SessionConfig) -> str:
        return "token"


async def refusals(config: SessionConfig) -> list[AvatarSDKError]:
    """Try both ways; return how each failed, and show no password."""
    async with ConsoleClient() as client:
        with pytest.raises(AvatarSDKError) as token:
            await client.request_token(config)
    session = AvatarSession(config, console=WithToken())
    await session.init()
    with pytest.raises(AvatarSDKError) as connection:
        await session.start()
    errors = [token.value, connection.value]
    assert [error.phase for error in errors] == ["session_token", "websocket_connect"]
    for error in errors:
        assert error.code is AvatarSDKErrorCode.connectionFailed
        assert "hush" not in f"{error} {error!r} {vars(error)} {config!r}"
    return errors


# --- through -------------------------------------------------------------------------


async def test_the_proxy_of_the_configuration_leads_to_both(
    config: SessionConfig, authority: Authority, proxy: str, syllable: bytes
):
    config = replace(config, proxy=proxy, ssl_context=authority.trusting())
    async with AvatarConnectionPool(2, lambda: config) as pool, pool.borrow() as conn:
        await conn.session.send_audio(syllable, end=True)
        assert await conn.collector.wait(10)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "ALL_PROXY", "https_proxy"])
async def test_the_proxy_of_the_environment_leads_to_both(
    config: SessionConfig,
    authority: Authority,
    proxy: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv(name, proxy)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    async with AvatarSession(config) as session:
        assert session.is_open


async def test_a_service_without_tls_is_reached_through_a_proxy_too(
    service: LocalAvatarService, proxy: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HTTP_PROXY", proxy)
    plain = named(service, port_of(service.console_url), tls=False)
    async with AvatarSession(replace(service.config_factory(), **plain)) as session:  # type: ignore[arg-type]
        assert session.is_open


async def test_a_proxy_that_speaks_tls_leads_to_both(
    config: SessionConfig, authority: Authority, tmp_path: Path
):
    async with AsyncExitStack() as stack:
        url = stack.enter_context(real_proxy("http with a password", tmp_path))
        tls = authority.serving("localhost")
        port = await stack.enter_async_context(tls_in_front_of(port_of(url), tls))
        through = with_password(f"https://localhost:{port}")
        config = replace(config, proxy=through, ssl_context=authority.trusting())
        async with AvatarSession(config) as session:
            assert session.is_open
        for error in await refusals(replace(config, proxy=through.replace(PASSWORD, "hush"))):
            assert error.proxy == f"https://localhost:{port}"
            assert "401" in str(error)
            assert error.http_status == 401
            assert not error.retryable


async def test_a_console_client_keeps_a_connection_per_proxy(
    config: SessionConfig, authority: Authority, tmp_path: Path
):
    config = replace(config, ssl_context=authority.trusting())
    with real_proxy("http", tmp_path) as http, real_proxy("socks5", tmp_path) as socks:
        async with ConsoleClient() as client:
            for _ in range(3):
                for proxy in (http, socks):
                    assert await client.request_token(replace(config, proxy=proxy))
            open_connections = [
                len(connections)
                for each in client._clients.values()
                for connections in each.connector._conns.values()  # type: ignore[union-attr]
            ]
    assert open_connections == [1, 1]


# --- not through ------------------------------------------------------------------------


async def test_this_machine_is_reached_directly_whatever_is_set(
    service: LocalAvatarService, nowhere: int, monkeypatch: pytest.MonkeyPatch
):
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{nowhere}")
    async with AvatarSession(service.config_factory()) as session:
        assert session.is_open


@pytest.mark.parametrize("is_exempt", [True, False], ids=["NO_PROXY", "proxy=False"])
async def test_without_the_proxy_nobody_knows_the_names(
    config: SessionConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_exempt: bool
):
    with real_proxy("http", tmp_path) as url:
        monkeypatch.setenv("HTTPS_PROXY", url)
        if is_exempt:
            monkeypatch.setenv("NO_PROXY", "avatar.test")
        for error in await refusals(config if is_exempt else replace(config, proxy=False)):
            assert "could not be reached" in str(error)
            assert error.proxy is None


# --- refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("password", [None, "hush-wrong"])
@pytest.mark.parametrize("kind", ["http with a password", "socks5 with a password"])
async def test_a_proxy_that_wants_another_password_is_to_blame(
    config: SessionConfig, tmp_path: Path, kind: str, password: str | None
):
    with real_proxy(kind, tmp_path) as url:
        through = with_password(url, password) if password else url
        for error in await refusals(replace(config, proxy=through)):
            assert error.proxy == url
            assert f"the proxy {url} " in str(error)
            if kind.startswith("http"):
                status = 401 if password else 407
                assert error.message.endswith(f"with HTTP {status}")
                assert error.http_status == status
                assert not error.retryable


@pytest.mark.parametrize(("password", "status"), [(None, 407), ("hush-wrong", 401)])
async def test_a_request_without_a_tunnel_is_refused_by_the_proxy_too(
    service: LocalAvatarService, tmp_path: Path, password: str | None, status: int
):
    plain = named(service, port_of(service.console_url), tls=False)
    with real_proxy("http with a password", tmp_path) as url:
        through = with_password(url, password) if password else url
        config = replace(service.config_factory(), **plain, proxy=through)  # type: ignore[arg-type]
        for error in await refusals(config):
            assert (error.proxy, error.http_status) == (url, status)
        good = replace(config, proxy=with_password(url), api_key="hush-unknown")
        async with ConsoleClient() as client:
            with pytest.raises(AvatarSDKError, match="the console") as caught:
                await client.request_token(good)
        assert (caught.value.proxy, caught.value.http_status) == (None, 401)


async def test_a_proxy_that_forbids_the_port_is_to_blame(config: SessionConfig, tmp_path: Path):
    with real_proxy("http for 443", tmp_path) as url:
        for error in await refusals(replace(config, proxy=url)):
            assert error.message.endswith("with HTTP 403")
            assert (error.proxy, error.http_status) == (url, 403)


@pytest.mark.parametrize("kind", ["http", "socks5"])
async def test_a_proxy_that_finds_no_service_is_told_apart(
    config: SessionConfig, nowhere: int, tmp_path: Path, kind: str
):
    elsewhere = replace(
        config,
        console_endpoint_url=f"https://{CONSOLE}:{nowhere}",
        ingress_endpoint_url=f"wss://{INGRESS}:{nowhere}",
    )
    with real_proxy(kind, tmp_path) as url:
        token, connection = await refusals(replace(elsewhere, proxy=url))
    for error, host in ((token, CONSOLE), (connection, INGRESS)):
        assert error.proxy == url
        assert f"the way to {host}:{nowhere}" in str(error) or "no way to" in str(error)
        assert error.retryable


@pytest.mark.parametrize("scheme", ["http", "socks5", "https"])
async def test_a_proxy_that_is_not_there_is_to_blame(
    config: SessionConfig, nowhere: int, scheme: str
):
    url = f"{scheme}://127.0.0.1:{nowhere}"
    for error in await refusals(replace(config, proxy=with_password(url))):
        assert error.message.startswith(f"the proxy {url} could not be reached: ")
        assert error.proxy == url


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_a_proxy_that_does_not_answer_is_to_blame(config: SessionConfig, scheme: str):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"
        hasty = replace(config, proxy=url, token_request_timeout=0.2, connect_timeout=0.2)
        for error in await refusals(hasty):
            assert f"the proxy {url}" in str(error)
            assert "within 0.20 s" in str(error)
            assert error.proxy == url


async def test_a_certificate_beyond_a_proxy_is_not_the_proxys_fault(
    config: SessionConfig, proxy: str
):
    for error in await refusals(replace(config, proxy=proxy)):
        assert "through the proxy" in str(error)
        assert "certificate" in str(error)
        assert error.proxy is None


async def test_a_proxy_in_the_environment_that_cannot_work_is_told_before_it_is_used(
    config: SessionConfig, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HTTPS_PROXY", "http://hush-me:hush#@127.0.0.1:1")
    session = AvatarSession(config)
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY has no valid host") as caught:
        await session.init()
    assert "hush" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY"):
        await AvatarConnectionPool(1, lambda: config).initialize(timeout=5)


# --- what is loaded --------------------------------------------------------------------------


def test_aiohttp_socks_is_loaded_for_socks_alone():
    code = "import sys, avatarpool; sys.exit('aiohttp_socks' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603
