"""A gateway that closes: what is under way may end, nothing new begins, nothing is left."""

from __future__ import annotations

import asyncio

import pytest
from raw_client import in_session
from raw_upgrades import UPGRADE, asked, dialed
from served_gateway import until

from avatarpool.soak.marks import MarkedRequest

REQUEST = MarkedRequest(1, 20)


async def begun(client, shell):
    """Have a request under way, of which half was sent."""
    await client.audio("r-1", REQUEST.audio()[:12800])
    await until(lambda: shell.upstream.counters.requests_open)


async def test_requests_under_way_finish_and_nothing_new_begins(shell_of):
    shell = await shell_of(shutdown_timeout=60.0)
    async with in_session(shell) as client, in_session(shell) as other:
        await begun(client, shell)
        request = await asked(shell, UPGRADE)
        closing = asyncio.create_task(shell.gateway.close())
        await until(lambda: shell.gateway.exchange.is_draining)

        await other.audio("o-1", bytes(640), end=True)
        error = await other.error()
        assert (error.code, error.message) == (4503, "the gateway is closing")
        newcomer = await dialed(shell.ingress_url)
        await newcomer.say([request])
        await newcomer.until(lambda: newcomer.head)
        assert newcomer.head.startswith(b"HTTP/1.1 503 ")
        newcomer.hang_up()

        await client.audio("r-1", REQUEST.audio()[12800:], end=True)
        assert REQUEST.judge(await client.frames("r-1"), is_whole=True) is None
        codes = await asyncio.gather(client.close_code(), other.close_code())
        assert codes == [1001, 1001]
        await closing
    assert not shell.upstream.counters.connections_open


async def test_what_takes_longer_than_the_shutdown_may_take_is_told(shell_of):
    shell = await shell_of(shutdown_timeout=0.2)
    async with in_session(shell) as client:
        await begun(client, shell)
        closing = asyncio.create_task(shell.gateway.close())
        error = await client.error()
        assert (error.req_id, error.code) == ("r-1", 4503)
        assert error.message == "the gateway is closing"
        assert await client.close_code() == 1001
        await closing


async def test_closing_that_is_cancelled_cuts_what_is_under_way(shell_of):
    shell = await shell_of(shutdown_timeout=3600.0)
    async with in_session(shell) as client:
        await begun(client, shell)
        closing = asyncio.create_task(shell.gateway.close())
        await until(lambda: shell.gateway.exchange.is_draining)
        closing.cancel()
        error = await client.error()
        assert (error.code, error.message) == (4503, "the gateway is closing")
        assert await client.close_code() == 1001
        with pytest.raises(asyncio.CancelledError):
            await closing


async def test_connections_that_have_asked_for_nothing_are_cut_as_well(shell):
    silent = await dialed(shell.ingress_url)
    amid = await dialed(shell.ingress_url)
    await amid.say([b"GET /v2/driveningress/websocket HTTP/1.1\r\nHost: "])
    await shell.gateway.close()
    for peer in (silent, amid):
        await peer.until(lambda: False)
        assert peer.is_gone


async def test_a_gateway_comes_back_on_its_ports_while_clients_are_connected(shell_of):
    shell = await shell_of()
    async with in_session(shell):
        await shell.restart()
        async with in_session(shell) as again:
            await again.audio("r-1", REQUEST.audio(), end=True)
            assert REQUEST.judge(await again.frames("r-1"), is_whole=True) is None
