"""What the live page's server answers, and to whom."""

import asyncio
import itertools
import json
import socket
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiohttp
import pytest
from gateway_service import GatewayService
from watched import AVATARS, KEY, Client, Desk, group_of, speak

from avatarpool import AvatarConnectionPool, LocalAvatarService
from avatarpool.gateway import page as page_module
from avatarpool.gateway.snapshot import Snapshot
from avatarpool.lipsync import EchoDriver


@pytest.fixture
async def group():
    async with (
        LocalAvatarService(avatar_ids=AVATARS) as service,
        group_of(service) as group,
    ):
        yield group


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


def desk_of(group, *clients, **options):
    return Desk(group, asyncio.get_running_loop().time, clients, **options)


@asynccontextmanager
async def events(http, address, **headers):
    """Look at the events; gives what reads the next one."""
    async with http.get(f"{address}v1/events", headers=headers) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"

        async def read():
            name = (await response.content.readuntil(b"\n")).decode()
            data = (await response.content.readuntil(b"\n\n")).decode()
            return name.removeprefix("event: ").strip(), json.loads(data.removeprefix("data: "))

        yield read


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("", "text/html"),
        ("page.js", "text/javascript"),
        ("theme.js", "text/javascript"),
        ("look.css", "text/css"),
        ("icon.svg", "image/svg+xml"),
    ],
)
async def test_the_files_come_under_a_strict_policy(http, group, path, content_type):
    async with desk_of(group).served() as address, http.get(address + path) as response:
        assert (response.status, response.content_type) == (200, content_type)
        text = await response.text()
        policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; ")
        assert "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "innerHTML" not in text
        assert " style=" not in text
        assert "://" not in text.replace("http://www.w3.org/2000/svg", "")


async def test_the_pools_are_told_as_documented(http, group):
    await speak(group)
    async with desk_of(group, Client("demo")).served() as address:
        async with http.get(f"{address}v1/pools") as response:
            told = await response.json()
            assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert set(told) == set(Snapshot.__annotations__)
    assert told["states"]["idle"] == 1
    assert told["clients"][0]["name"] == "demo"


async def test_a_snapshot_comes_at_once_and_then_again(http, group):
    async with desk_of(group).served() as address, events(http, address) as read:
        assert await read() == ("rights", {"may_administer": False, "has_admin_key": True})
        name, first = await read()
        assert (name, first["arrivals"]) == ("snapshot", 0)
        await speak(group)
        async with asyncio.timeout(30):
            while (await read())[1]["arrivals"] == 0:
                pass


async def test_all_who_look_share_one_timer_which_ends_with_them(http, group):
    desk = desk_of(group)
    numbers = itertools.count()
    desk.page._snapshot = lambda: next(numbers)
    async with desk.served() as address:
        async with events(http, address) as one, events(http, address) as other:
            seen = [{(await read())[1] for _ in range(4)} for read in (one, other) if await read()]
            assert seen[0] & seen[1], "what was made once went to both"
        await until(lambda: not desk.page._readers and desk.page._timer is None)


async def test_who_does_not_read_holds_up_nobody_and_piles_up_nothing(http, group, monkeypatch):
    monkeypatch.setattr(page_module, "INTERVAL", 0.005)
    desk = desk_of(group, *[Client(f"client-{n}-{'x' * 80}") for n in range(200)])
    async with desk.served(send_timeout=60.0) as address:
        where = urlsplit(address)
        with socket.create_connection((where.hostname, where.port)) as deaf:
            deaf.sendall(f"GET /v1/events HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode())
            await until(lambda: desk.page._readers == 1)
            async with events(http, address) as read:
                size = 0
                for _ in range(150):  # of 40 kB each
                    size += len(json.dumps(await read()))
                assert size > 4 * 1024 * 1024
                waiting = [
                    connection._socket.get_write_buffer_size()
                    for connection in desk.listener._runner.server.connections
                ]
                assert len(waiting) == 2
                assert max(waiting) < 300 * 1024, "one event and aiohttp's own mark"
                assert desk.page._readers == 2
        await until(lambda: not desk.page._readers)


async def test_who_takes_nothing_for_long_is_cut(group, monkeypatch):
    monkeypatch.setattr(page_module, "INTERVAL", 0.005)
    desk = desk_of(group, *[Client(f"client-{n}-{'x' * 80}") for n in range(200)])
    async with desk.served(send_timeout=0.2) as address:
        where = urlsplit(address)
        with socket.create_connection((where.hostname, where.port)) as deaf:
            deaf.sendall(f"GET /v1/events HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode())
            await until(lambda: desk.page._readers == 1)
            await until(lambda: desk.page._readers == 0)


async def test_only_so_many_look_at_once(http, group, monkeypatch):
    monkeypatch.setattr(page_module, "MOST_READERS", 2)
    desk = desk_of(group)
    async with desk.served() as address:
        async with events(http, address) as read:
            await read()
            async with events(http, address) as other:
                await other()
                async with http.get(f"{address}v1/events") as response:
                    assert response.status == 503
                    assert response.headers["Retry-After"] == "5"
                    assert "look already" in (await response.json(content_type=None))["detail"]
            await until(lambda: desk.page._readers == 1)
            async with events(http, address) as other:
                await other()


async def test_events_end_as_the_server_closes(http, group):
    desk = desk_of(group)
    async with desk.served() as address:
        response = await http.get(f"{address}v1/events")
        await response.content.readuntil(b"\n\n")
    async with asyncio.timeout(30):
        rest = await response.content.read()
    assert rest.endswith(b"\n\n") or not rest
    assert desk.page._readers == 0
    assert desk.page._timer is None


async def test_without_the_key_nothing_is_seen_but_the_page_that_asks_for_it(http, group):
    desk = desk_of(group, is_open=False)
    async with desk.served() as address:
        async with http.get(address) as response:
            assert response.status == 200
        for path in ("v1/events", "v1/pools"):
            for headers in ({}, {"X-Api-Key": "another"}):
                async with http.get(address + path, headers=headers) as response:
                    assert response.status == 401
                    assert response.content_type == "application/problem+json"
                    assert "X-Api-Key" in (await response.json(content_type=None))["detail"]
            async with http.get(address + path, headers={"X-Api-Key": KEY}) as response:
                assert response.status == 200
        async with events(http, address, **{"X-Api-Key": KEY}) as read:
            assert await read() == ("rights", {"may_administer": True, "has_admin_key": True})


async def test_where_there_is_no_key_others_get_no_page_at_all(http, group):
    async with desk_of(group, is_open=False, has_admin_key=False).served() as address:
        for path in ("", "page.js", "v1/events", "v1/pools"):
            async with http.get(address + path) as response:
                assert response.status == 404
                assert "admin key" in (await response.json(content_type=None))["detail"]


async def test_what_a_gateways_clients_do_is_told(http):
    async with (
        GatewayService(driver=EchoDriver, sessions=1) as service,
        AvatarConnectionPool(4, service.config_factory) as pool,
    ):
        gateway = service.gateway
        desk = desk_of(gateway.group, *gateway.clients)
        began, slots = asyncio.Event(), asyncio.Event()

        async def ask(*, holds):
            async with pool.borrow() as conn:
                await conn.session.send_audio(bytes(3200))
                if holds:  # the only session, until others wait for their turn
                    began.set()
                    await slots.wait()
                await conn.session.send_audio(bytes(3200), end=True)
                return await conn.collector.wait(30)

        async with desk.served() as address:

            async def told():
                async with http.get(f"{address}v1/pools") as response:
                    return await response.json()

            first = asyncio.create_task(ask(holds=True))
            await began.wait()
            async with asyncio.timeout(30):
                while not (await told())["running"]:
                    pass
            others = [asyncio.create_task(ask(holds=False)) for _ in range(3)]
            async with asyncio.timeout(30):
                while (await told())["queue"]["turns"] < 3:
                    pass
            await asyncio.sleep(0.25)
            slots.set()
            assert all(await asyncio.gather(first, *others))
            async with asyncio.timeout(30):
                while (now := await told())["running"]:
                    pass
        assert now["queue"] == {"turns": 0, "sessions": 0}
        assert now["arrivals"] == now["wait_ms"]["count"] == 4
        assert now["wait_ms"]["p95"] > 200.0, "their turn came when the first had ended"
        (client,) = now["clients"]
        assert (client["name"], client["requests"], client["refused"]) == (service.app_id, 4, {})
        assert client["audio_seconds"] == 0.8
