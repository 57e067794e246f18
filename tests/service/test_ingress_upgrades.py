from __future__ import annotations

import asyncio
import logging
import socket
import struct
import time

import aiohttp
import pytest
from raw_client import ask_for_token, connected, in_session
from shells import SHELLS

from avatarpool.service import ServiceLimits

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.fixture(params=SHELLS)
def shell(request):
    return request.param


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


async def refused(http, service, token, *, app_id=None, avatar_id=None, headers=UPGRADE):
    """The status and body that a plain GET with an upgrade's headers gets."""
    url = f"{service.ingress_url}/websocket".replace("ws:", "http:")
    credentials = {"X-App-ID": app_id or service.app_id, "X-Session-Key": token}
    query = {"id": avatar_id or service.avatar_ids[0]}
    async with http.get(url, params=query, headers=headers | credentials) as answer:
        assert answer.content_type == "application/json"
        return answer.status, await answer.text()


async def test_a_token_that_is_none_is_400(service, http):
    assert await refused(http, service, "nonsense") == (
        400,
        '{"message":"Invalid session token"}\n',
    )
    assert service.counters.upgrades_refused == 1


async def test_no_token_at_all_is_400(service, http):
    assert await refused(http, service, "") == (400, '{"message":"Invalid session token"}\n')


async def test_a_token_opens_again_until_it_expires(shell, http):
    now = [time.time()]
    async with shell(wall_clock=lambda: now[0]) as service:
        token = await ask_for_token(http, service)
        url = f"{service.ingress_url}/websocket?id={service.avatar_ids[0]}"
        credentials = {"X-App-ID": service.app_id, "X-Session-Key": token}
        for _ in range(3):
            async with http.ws_connect(url, headers=credentials):
                pass

        now[0] += 3600
        assert await refused(http, service, token) == (
            401,
            '{"message":"Session token is expired"}\n',
        )


async def test_a_used_token_is_400_where_tokens_are_for_a_single_use(shell, http):
    async with shell(limits=ServiceLimits(single_use_tokens=True)) as service:
        token = await ask_for_token(http, service)
        url = f"{service.ingress_url}/websocket?id={service.avatar_ids[0]}"
        credentials = {"X-App-ID": service.app_id, "X-Session-Key": token}
        async with http.ws_connect(url, headers=credentials):
            pass

        assert await refused(http, service, token) == (
            400,
            '{"message":"Invalid session token"}\n',
        )


async def test_an_expired_token_is_401(shell, http):
    now = [time.time()]
    async with shell(wall_clock=lambda: now[0]) as service:
        token = await ask_for_token(http, service)
        now[0] += 3600

        assert await refused(http, service, token) == (
            401,
            '{"message":"Session token is expired"}\n',
        )


async def test_another_application_s_token_is_400(shell, http):
    async with shell(other_apps={"other-app": "other-key"}) as service:
        token = await ask_for_token(http, service, "other-key")

        assert await refused(http, service, token) == (400, '{"message":"app id mismatch"}\n')


async def test_an_unknown_application_is_404(service, http):
    token = await ask_for_token(http, service)

    assert await refused(http, service, token, app_id="nobody") == (
        404,
        '{"message":"app id unrecognized"}\n',
    )


async def test_an_unknown_avatar_is_404(service, http):
    token = await ask_for_token(http, service)

    assert await refused(http, service, token, avatar_id="nobody") == (
        404,
        '{"message":"Avatar not found: nobody"}\n',
    )


async def test_an_account_without_credits_is_402_until_topped_up(shell, http):
    async with shell(limits=ServiceLimits(credits=0)) as service:
        token = await ask_for_token(http, service)
        assert await refused(http, service, token) == (
            402,
            '{"message":"session denied: no credits are left on this account"}\n',
        )

        service.top_up(1.0)
        token = await ask_for_token(http, service)
        url = f"{service.ingress_url}/websocket?id={service.avatar_ids[0]}"
        credentials = {"X-App-ID": service.app_id, "X-Session-Key": token}
        async with http.ws_connect(url, headers=credentials):
            pass


async def test_used_tokens_beyond_memory_are_503(shell, http):
    async with shell(limits=ServiceLimits(single_use_tokens=True, max_used_tokens=1)) as service:
        for expected in (404, 503):
            token = await ask_for_token(http, service)
            status, _ = await refused(http, service, token, app_id="nobody")
            assert status == expected


async def test_a_plain_get_is_426_and_costs_no_token(service, http):
    token = await ask_for_token(http, service)

    status, body = await refused(http, service, token, headers={})
    assert (status, body) == (426, '{"message":"this is a WebSocket endpoint"}\n')
    status, _ = await refused(http, service, token, avatar_id="nobody")
    assert status == 404


@pytest.mark.parametrize(
    "changed",
    [
        {"Connection": "keep-alive"},
        {"Upgrade": "h2c"},
        {"Sec-WebSocket-Version": "12"},
        {"Sec-WebSocket-Key": "c2hvcnQ="},
    ],
)
async def test_a_handshake_that_is_none_is_426_and_takes_no_place(shell, http, changed):
    limits = ServiceLimits(max_connections=1, max_handshakes=1, single_use_tokens=True)
    async with shell(limits=limits) as service:
        token = await ask_for_token(http, service)
        for _ in range(3):
            status, _ = await refused(http, service, token, headers=UPGRADE | changed)
            assert status == 426
        async with connected(service, token=token), connected(service):
            assert service.counters.connections_total == 2


async def test_browsers_may_keep_the_connection_alive_while_they_upgrade_it(service, http):
    token = await ask_for_token(http, service)
    query = f"id={service.avatar_ids[0]}&appId={service.app_id}&sessionKey={token}"
    headers = UPGRADE | {"Host": "x", "Connection": "keep-alive, Upgrade"}  # as Firefox has it
    host, port = service.ingress_url.split("/")[2].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"GET /v2/driveningress/websocket?{query} HTTP/1.1\r\n{lines}\r\n".encode())
    answer = await reader.readline()
    writer.close()

    assert answer == b"HTTP/1.1 101 Switching Protocols\r\n"


async def test_peers_that_reset_right_after_their_upgrade_are_no_fault(service, http, caplog):
    upgrade = "".join(f"{name}: {value}\r\n" for name, value in UPGRADE.items())
    address = ("127.0.0.1", int(service.ingress_url.split(":")[2].split("/")[0]))
    for _ in range(10):
        token = await ask_for_token(http, service)
        with socket.create_connection(address) as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.sendall(
                f"GET /v2/driveningress/websocket?id={service.avatar_ids[0]} HTTP/1.1\r\n"
                f"Host: x\r\nX-App-ID: {service.app_id}\r\nX-Session-Key: {token}\r\n"
                f"{upgrade}\r\n".encode()
            )
    async with in_session(service) as client:  # they were accepted before this one
        await client.audio("r", b"", end=True)
        await client.frames("r")
    await service.close()

    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_credentials_may_come_in_the_query(service, http):
    token = await ask_for_token(http, service)
    query = {"id": service.avatar_ids[0], "appId": service.app_id, "sessionKey": token}

    async with http.ws_connect(f"{service.ingress_url}/websocket", params=query) as websocket:
        assert not websocket.closed


async def test_compression_is_not_negotiated(service, http):
    token = await ask_for_token(http, service)
    query = {"id": service.avatar_ids[0], "appId": service.app_id, "sessionKey": token}
    url = f"{service.ingress_url}/websocket"

    async with http.ws_connect(url, params=query, compress=15) as websocket:
        assert not websocket.compress
