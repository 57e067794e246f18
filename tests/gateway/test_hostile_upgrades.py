"""Strangers at the ingress: each is refused by the letter, counted, and costs nobody else."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import aiohttp
import pytest
from raw_client import ask_for_token, connected, in_session
from raw_frames import byte_by_byte
from raw_upgrades import CONFIGURATION, UPGRADE, asked, dialed, upgrading
from served_gateway import until

from avatarpool.gateway import heads
from avatarpool.gateway.settings import Tokens
from avatarpool.protocol.codec import decode
from avatarpool.protocol.messages import ConfirmSession
from avatarpool.soak.soak import resident_bytes

GET = b"GET /v2/driveningress/websocket?id=local-avatar HTTP/1.1\r\n"
HOST = b"Host: 127.0.0.1\r\n"


async def refused(shell, request):
    """The status that a request is refused with; nothing may follow it."""
    peer = await dialed(shell.ingress_url)
    try:
        await peer.say([request])
        await peer.until(lambda: peer.head)
        status = int(peer.head.split()[1])
        assert b"\r\nConnection: close" in peer.head or status == 426
        return status
    finally:
        peer.hang_up()


SMUGGLED = {
    "a body": GET + HOST + b"Content-Length: 5\r\n\r\nhello",
    "a body in chunks": GET + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a length twice": GET + HOST + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "two hosts": GET + HOST + HOST + b"\r\n",
    "no host": GET + b"\r\n",
    "two applications": GET + HOST + b"X-App-ID: a\r\nX-App-ID: b\r\n\r\n",
    "two tokens": GET + HOST + b"X-Session-Key: a\r\nX-Session-Key: b\r\n\r\n",
    "two keys": GET + HOST + b"Sec-WebSocket-Key: a\r\nSec-WebSocket-Key: b\r\n\r\n",
    "a folded line": GET + HOST + b"X-App-ID: a\r\n b\r\n\r\n",
    "a space before the colon": GET + HOST + b"X-App-ID : a\r\n\r\n",
    "a bare line feed": GET + HOST + b"X-App-ID: a\nX-Session-Key: b\r\n\r\n",
    "a zero byte": GET + HOST + b"X-App-ID: a\0b\r\n\r\n",
    "no HTTP/1.1": GET.replace(b"1.1", b"1.0") + HOST + b"\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\n",
    "a whole URL": GET.replace(b"/v2", b"http://127.0.0.1/v2") + HOST + b"\r\n",
    "too many headers": GET + HOST + b"X: y\r\n" * 200 + b"\r\n",
    "too many fields": GET.replace(b"?id", b"?" + b"a=b&" * 99 + b"id") + HOST + b"\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}


@pytest.mark.parametrize("name", SMUGGLED)
async def test_what_could_be_read_in_two_ways_is_refused(shell, name):
    assert await refused(shell, SMUGGLED[name]) == 400
    assert shell.gateway.ingress.refused == {400: 1}


async def test_an_endless_head_is_refused_as_soon_as_it_is_too_long(shell):
    endless = GET + HOST + b"X: " + b"y" * heads.MAX_HEAD_BYTES
    assert await refused(shell, endless) == 431
    assert shell.gateway.ingress.refused == {431: 1}


async def test_a_head_that_comes_too_slowly_is_refused(shell):
    ingress = shell.gateway.ingress
    ingress.limits = replace(ingress.limits, http_idle_timeout=0.2)
    assert await refused(shell, GET) == 408
    assert await refused(shell, b"") == 408
    assert ingress.refused == {408: 2}


async def test_an_upgrade_may_come_byte_by_byte(shell):
    async with upgrading(shell, UPGRADE, cut=byte_by_byte) as peer:
        assert peer.head.startswith(b"HTTP/1.1 101 ")
        await peer.say([CONFIGURATION.encode(by_client=True)])
        await peer.until(lambda: peer.frames)
        assert isinstance(decode(peer.frames[0].payload), ConfirmSession)


async def test_the_configuration_may_come_with_the_upgrade(shell):
    request = await asked(shell, UPGRADE)
    peer = await dialed(shell.ingress_url)
    try:
        await peer.say([request + CONFIGURATION.encode(by_client=True)])
        await peer.until(lambda: peer.frames)
        assert isinstance(decode(peer.frames[0].payload), ConfirmSession)
    finally:
        peer.hang_up()


async def test_firefox_is_let_in(shell):
    lines = [line for line in UPGRADE if not line.startswith("Connection")]
    async with upgrading(shell, [*lines, "Connection: keep-alive, Upgrade"]) as peer:
        assert peer.head.startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    "lines",
    [
        ["Host: evil.example:8781", *UPGRADE[1:]],
        [*UPGRADE, "Origin: https://evil.example"],
        [*UPGRADE, "Origin: null"],
    ],
)
async def test_pages_of_others_are_refused_even_with_a_good_token(shell, lines):
    async with upgrading(shell, lines) as peer:
        assert peer.head.startswith(b"HTTP/1.1 403 ")
    assert shell.gateway.ingress.refused == {403: 1}


async def test_a_token_that_was_used_opens_nothing_where_it_is_for_a_single_use(shell_of):
    shell = await shell_of(tokens=Tokens(single_use=True))
    async with aiohttp.ClientSession() as http:
        token = await ask_for_token(http, shell)
    async with connected(shell, token=token) as client:
        await client.configure()
        assert await refused(shell, await asked(shell, UPGRADE, token=token)) == 400
    assert shell.gateway.ingress.refused == {400: 1}


async def test_a_token_is_its_own_clients_alone(shell_of):
    shell = await shell_of(other_apps={"other": "another key"})
    async with aiohttp.ClientSession() as http:
        token = await ask_for_token(http, shell.of_client("other"))
    assert await refused(shell, await asked(shell, UPGRADE, token=token)) == 400
    async with connected(shell.of_client("other"), token=token) as client:
        await client.configure()


async def test_ten_thousand_malformed_handshakes_are_counted_and_leave_nothing(shell):
    rng = random.Random(8)
    requests = [*SMUGGLED.values(), GET + HOST + b"X: " + b"y" * heads.MAX_HEAD_BYTES]
    ingress = shell.gateway.ingress

    async def strangers(number):
        for _ in range(number):
            assert await refused(shell, rng.choice(requests)) in (400, 431)

    async def storm(number):
        await asyncio.gather(*(strangers(number // 50) for _ in range(50)))

    async with in_session(shell) as client:
        await storm(1000)
        before = resident_bytes()
        await storm(9000)
        await until(lambda: len(ingress._crowd) == 1)
        assert sum(ingress.refused.values()) == 10_000
        assert before is None or resident_bytes() - before < 16 * 1024 * 1024
        await client.audio("r-1", bytes(1280), end=True)
        assert (await client.frames("r-1"))[-1].end
    await until(lambda: not ingress._crowd)
