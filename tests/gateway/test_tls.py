"""Both of the gateway's ports behind a certificate of its own."""

from __future__ import annotations

import asyncio

import pytest
from echo import EchoDriver
from gateway_service import GatewayService
from proxying import Authority
from raw_upgrades import dialed

from avatarpool import AvatarConnectionPool, AvatarSession
from avatarpool.exceptions import ConfigurationError, SessionTokenError
from avatarpool.gateway.gateway import Gateway
from avatarpool.gateway.settings import Budget, Listen


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def listening(tmp_path, authority, **options):
    issued = authority.ca.issue_cert("localhost", "127.0.0.1")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificate.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    files = {"tls_certificate": certificate, "tls_key": key}
    return Listen(**{"port": 0, "ingress_port": 0, "shutdown_timeout": 0.0, **files, **options})


async def test_clients_speak_over_tls(tmp_path, authority):
    listen = listening(tmp_path, authority)
    async with GatewayService(driver=EchoDriver, listen=listen) as service:
        assert service.console_url.startswith("https://127.0.0.1:")
        assert service.ingress_url.startswith("wss://127.0.0.1:")
        config = service.config_factory(ssl_context=authority.trusting())
        async with AvatarConnectionPool(2, lambda: config) as pool:
            for _ in range(3):
                async with pool.borrow() as conn:
                    await conn.session.send_audio(bytes(640_000), end=True)  # 20 s in one message
                    assert sum(len(f.keyframes) for f in await conn.collector.wait()) == 500


async def test_who_drops_a_host_connection_writes_no_line_of_the_log(tmp_path, authority, caplog):
    listen = listening(tmp_path, authority)
    async with GatewayService(driver=EchoDriver, listen=listen, api_key="key-of-a-host") as service:
        host, _, port = service.console_url.split("/")[2].partition(":")
        lines = (
            "GET /v1/host HTTP/1.1",
            f"Host: {host}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "X-Api-Key: key-of-a-host",
        )
        for _ in range(5):
            reader, writer = await asyncio.open_connection(host, port, ssl=authority.trusting())
            writer.write("\r\n".join([*lines, "\r\n"]).encode())
            assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
            writer.transport.abort()
            await asyncio.sleep(0.05)
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_key_of_another_certificate_is_told_at_the_start(tmp_path, authority):
    listen = listening(tmp_path, authority)
    authority.ca.issue_cert("localhost").private_key_pem.write_to_path(listen.tls_key)
    async with GatewayService(driver=EchoDriver) as service:
        with pytest.raises(ConfigurationError, match=r"listen\.tls_certificate .* cannot be used"):
            await Gateway(service.settings(listen=listen)).start()


async def test_a_certificate_that_is_renewed_is_read_again(tmp_path, authority):
    listen = listening(tmp_path, authority)
    async with GatewayService(driver=EchoDriver, listen=listen) as service:
        another = Authority(tmp_path)
        config = service.config_factory(ssl_context=another.trusting())
        with pytest.raises(SessionTokenError):
            await AvatarSession(config).init()
        listening(tmp_path, another)  # in its place
        service.gateway.reload(service.settings())
        await AvatarSession(config).init()
        listen.tls_certificate.write_text("no certificate")
        with pytest.raises(ConfigurationError, match="cannot be used"):
            service.gateway.reload(service.settings())
        await AvatarSession(config).init()  # the one before stays


async def test_a_certificate_that_is_renewed_without_its_key_is_not_used(tmp_path, authority):
    listen = listening(tmp_path, authority)
    async with GatewayService(driver=EchoDriver, listen=listen) as service:
        key = listen.tls_key.read_bytes()
        listening(tmp_path, authority)  # in its place
        listen.tls_key.write_bytes(key)
        with pytest.raises(ConfigurationError, match="cannot be used"):
            service.gateway.reload(service.settings())
        config = service.config_factory(ssl_context=authority.trusting())
        await AvatarSession(config).init()


@pytest.mark.parametrize("name", ["tls_certificate", "tls_key"])
async def test_a_file_that_is_gone_keeps_nothing_else_from_a_reload(
    tmp_path, authority, caplog, name
):
    listen = listening(tmp_path, authority)
    async with GatewayService(driver=EchoDriver, listen=listen) as service:
        file = getattr(listen, name)
        file.rename(tmp_path / "elsewhere.pem")
        service.gateway.reload(service.settings(budget=Budget(sessions=7)))
        assert service.gateway.settings.budget.sessions == 7
        said = f"the certificate in use stays: there is no {file} any more"
        assert caplog.messages.count(said) == 1
        config = service.config_factory(ssl_context=authority.trusting())
        await AvatarSession(config).init()


async def test_silent_strangers_keep_nobody_from_a_handshake(tmp_path, authority):
    listen = listening(tmp_path, authority)
    async with GatewayService(driver=EchoDriver, listen=listen) as service:
        ingress = service.gateway.ingress
        ingress._accepting._handshakes._max_connections = 3
        silent = [await dialed(service.ingress_url) for _ in range(5)]
        try:
            for each in silent[:2]:
                await each.until(lambda: False)
                assert each.is_gone
            assert not ingress._crowd
            config = service.config_factory(ssl_context=authority.trusting())
            await AvatarSession(config).init()
        finally:
            for each in silent:
                each.hang_up()


async def test_both_ports_have_files_for_their_clients_and_leave_some(few_files):
    async with GatewayService(driver=EchoDriver) as service:
        gateway = service.gateway
        accepting = gateway.ingress._accepting, gateway._listener._accepting
        crowds = [gateway.ingress._crowd, gateway._listener._crowd]
        crowds += [each._handshakes for each in accepting]
        assert sum(each._max_connections for each in crowds) <= few_files - 64
