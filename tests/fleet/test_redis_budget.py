"""Groups of several processes' kind in one process, with a real Redis between them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trustme
from echo import marked_audio, marks
from faults.proxy import Proxy
from redis_server import RedisServer, free_port, redis_server

from avatarpool import (
    AvatarPoolGroup,
    ConfigurationError,
    LocalAvatarService,
    PoolError,
    PoolKey,
    RedisBudget,
    SessionConfig,
)
from avatarpool.fleet.leases import Call, Notice
from avatarpool.fleet.valkey import Account, Store
from avatarpool.lipsync import EchoDriver
from avatarpool.service import ServiceLimits

HANG = 40.0
SECRET = "s3cr3t-passw0rd"
AVATAR = "local-avatar"


class Account6:
    """An account of six sessions, initialised; makes groups and budgets that share it."""

    def __init__(self, redis: RedisServer, service: LocalAvatarService) -> None:
        self.redis = redis
        self.service = service
        self.name = "account"
        self.store = Store(redis.url, self.name, 15.0)

    def budget(self, url: str | None = None, **options: object) -> RedisBudget:
        options = {"name": self.name, "sessions": 6, **options}
        return RedisBudget(url or self.redis.url, **options)

    def group(self, budget: RedisBudget | None = None, **options: object) -> AvatarPoolGroup:
        given = self.service.config_factory()

        def config(key: PoolKey) -> SessionConfig:
            return SessionConfig(
                api_key=given.api_key,
                app_id=given.app_id,
                console_endpoint_url=given.console_endpoint_url,
                ingress_endpoint_url=given.ingress_endpoint_url,
            )

        return AvatarPoolGroup(config, budget=budget or self.budget(), **options)

    async def until(self, holds: Callable[[Account], bool]) -> Account:
        async with asyncio.timeout(HANG):
            while not holds(account := await self.store.look()):
                await asyncio.sleep(0.02)
        return account


@pytest.fixture
async def account(redis: RedisServer) -> AsyncIterator[Account6]:
    async with LocalAvatarService(driver=EchoDriver) as service:
        account = Account6(redis, service)
        await account.store.call("", Call(notice=Notice.INIT), 0)
        yield account
        await account.store.disconnect()


async def lend(group: AvatarPoolGroup, number: int) -> contextlib.AsyncExitStack:
    """Borrow so many at the same time, and hold them."""
    stack = contextlib.AsyncExitStack()
    for _ in range(number):
        await stack.enter_async_context(group.borrow(AVATAR, timeout=HANG))
    return stack


async def one_request(group: AvatarPoolGroup) -> None:
    async with group.borrow(AVATAR, timeout=HANG) as conn:
        await conn.session.send_audio(marked_audio(5, 3), end=True)
        assert marks(await conn.collector.wait(timeout=HANG)) == [5, 5, 5]


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(HANG):
        while not holds():
            await asyncio.sleep(0.01)


# --- sharing ------------------------------------------------------------------------------


async def test_a_session_is_opened_under_a_lease_and_closing_gives_all_back(account: Account6):
    budget = account.budget()
    async with account.group(budget) as group:
        async with await lend(group, 2):
            assert budget.held == 2
            assert repr(budget) == "<RedisBudget 'account' 2 of 6 sessions>"
            now = await account.store.look()
            assert [(each.name, each.leases) for each in now.holders] == [(budget.holder, 2)]
    now = await account.store.look()
    assert (now.leases, now.holders) == (0, ())


async def test_warm_sessions_are_rented_when_the_group_is_opened(account: Account6):
    async with account.group(warm={PoolKey(AVATAR): 2}):
        assert (await account.store.look()).leases == 2


async def test_idle_sessions_of_one_process_make_room_for_anothers_borrowers(account: Account6):
    async with account.group() as first, account.group() as second:
        async with await lend(first, 6):
            pass
        assert first.get_stats()["used"] == 6
        async with await lend(second, 6):
            assert account.service.counters.connections_open == 6
        await one_request(first)


async def test_who_has_lent_all_ends_what_another_needs_with_its_request(account: Account6):
    async with account.group() as first, account.group() as second:
        async with await lend(first, 6):
            waiter = asyncio.create_task(lend(second, 1))
            await account.until(lambda now: any(each.waits for each in now.holders))
            assert not waiter.done()
        async with await waiter:
            assert account.service.counters.connections_open <= 6


@pytest.mark.filterwarnings("ignore:.*was forgotten:ResourceWarning")
async def test_a_group_that_is_forgotten_gives_its_leases_back(account: Account6):
    group = account.group()
    await group.initialize()
    await one_request(group)
    assert (await account.store.look()).leases == 1
    del group
    gc.collect()
    await account.until(lambda now: now.leases == 0)
    await until(lambda: account.service.counters.connections_open == 0)


async def test_the_number_changes_for_all_at_once(account: Account6):
    async with account.group() as first, account.group() as second:
        await one_request(second)
        first.resize(9)
        await until(lambda: second.get_stats()["budget"] == 9)
        async with await lend(second, 8):
            await account.store.call("", Call(resize=7), 0)
            await until(lambda: first.get_stats()["budget"] == 7)
        await account.until(lambda now: now.leases <= 7)
        await until(lambda: account.service.counters.connections_open <= 7)


async def test_a_refusal_of_the_service_fails_nobody_and_is_the_limit_of_all(redis: RedisServer):
    limits = ServiceLimits(max_connections=3)
    async with LocalAvatarService(driver=EchoDriver, limits=limits) as service:
        account = Account6(redis, service)
        await account.store.call("", Call(notice=Notice.INIT), 0)
        async with account.group() as first, account.group() as second:
            held = await lend(first, 3)
            waiters = [asyncio.create_task(one_request(second)) for _ in range(3)]
            # Those on their way count as open until they are refused as well.
            await account.until(lambda now: now.ceiling == 3)
            await held.aclose()
            await asyncio.gather(*waiters)
        await account.store.disconnect()


# --- Redis away ---------------------------------------------------------------------------


async def test_while_redis_is_away_what_is_open_is_lent_and_nothing_else_opened(
    account: Account6, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, logger="avatarpool.fleet")
    budget = account.budget()
    async with account.group(budget) as group:
        async with await lend(group, 2):
            account.redis.kill()
            await until(lambda: budget.is_away)
            for _ in range(3):
                with pytest.raises(PoolError):
                    async with group.borrow(AVATAR, timeout=0.3):
                        pass
        await one_request(group)
        assert account.service.counters.connections_total == 2
        assert repr(budget) == "<RedisBudget 'account' 2 of 6 sessions, redis away>"
        account.redis.start()
        await until(lambda: not budget.is_away)
    warnings = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert [each.name for each in warnings].count("avatarpool.fleet") == 1
    assert "answers again" in caplog.text


async def test_closing_while_redis_is_away_is_bounded(account: Account6):
    async with account.group() as group:
        await one_request(group)
        account.redis.stop()
    account.redis.go_on()


async def test_closing_that_is_cancelled_gives_back_all_the_same(account: Account6):
    budget = account.budget()
    await budget.open(lambda: None)
    budget.declare(0, 2, 0)
    await account.until(lambda now: now.leases == 2)
    closing = asyncio.create_task(budget.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    assert closing.cancelled()
    await account.until(lambda now: now.leases == 0)
    await budget.close()


# --- at start -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"http://u:{SECRET}@host/0", "begins with none of redis://, rediss:// and unix://"),
        (f"redis://u:{SECRET}@host:port/0", "its URL has no host and port"),
        (f"redis://u:{SECRET}@host/zero", "is no number of a database"),
        (f"redis://u:{SECRET}@host/0?{SECRET}=1", "has an option that cannot work"),
        (f"redis://u:{SECRET}@host/0?db={SECRET}", "has an option that cannot work"),
    ],
)
def test_a_url_that_cannot_work_is_found_before_anything_is_opened(url: str, words: str):
    with pytest.raises(ConfigurationError, match=words) as caught:
        RedisBudget(url, name="account", sessions=3)
    assert SECRET not in repr(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": ""}, "name '' is not 1 to 200 characters without spaces and braces"),
        ({"name": "a{b}"}, "without spaces and braces"),
        ({"sessions": 0}, "sessions 0 is not at least 1"),
        ({"lease_ttl": 0.5}, "lease_ttl 0.5 is not between 1 and 3600 seconds"),
        ({"lease_ttl": "15"}, "lease_ttl '15' is not between"),
    ],
)
def test_arguments_that_cannot_work_are_named(options: dict[str, object], words: str):
    with pytest.raises(ConfigurationError, match=words):
        RedisBudget("redis://host/0", **{"name": "account", "sessions": 3, **options})


async def refusal(url: str) -> str:
    """Return what a group says that cannot be opened."""
    budget = RedisBudget(url, name="account", sessions=3)
    assert SECRET not in repr(budget) + repr(budget._store)
    group = AvatarPoolGroup(lambda key: SessionConfig(), budget=budget)
    with pytest.raises(PoolError) as caught:
        await group.initialize()
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in repr(error)
        error = error.__cause__ or error.__context__
    return str(caught.value)


async def test_a_redis_that_is_not_there_is_told():
    port = free_port()
    said = await refusal(f"redis://u:{SECRET}@127.0.0.1:{port}/3")
    assert said == (
        f"budget 'account' cannot be kept: redis at 127.0.0.1:{port}/3: it cannot be reached: "
        "connection refused"
    )


async def test_a_peer_that_says_nothing_is_told():
    with socket.create_server(("127.0.0.1", 0)) as server:
        said = await refusal(f"redis://127.0.0.1:{server.getsockname()[1]}/0")
    assert said.endswith(": no answer within 1 s")


async def test_a_wrong_password_and_a_missing_one_are_told(redis: RedisServer):
    redis.run("CONFIG", "SET", "requirepass", "another")
    for who in (f":{SECRET}@", f"somebody:{SECRET}@", ""):
        said = await refusal(redis.url.replace("127", f"{who}127"))
        assert said.endswith("it refuses the user name or the password in the URL")


async def test_a_read_only_server_is_told(redis: RedisServer):
    redis.run("REPLICAOF", "127.0.0.1", redis.port)
    assert (await refusal(redis.url)).endswith("it is read-only: give the URL of the primary")


async def test_tls_is_spoken_and_who_is_not_trusted_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    port = free_port()
    files = {"cert": "cert.pem", "key": "key.pem", "ca-cert": "ca.pem"}
    options = [each for name, file in files.items() for each in (f"--tls-{name}-file", file)]
    options = [str(tmp_path / each) if each.endswith(".pem") else each for each in options]
    with redis_server("--tls-port", str(port), "--tls-auth-clients", "no", *options) as server:
        url = f"rediss://127.0.0.1:{port}/0"
        assert "its certificate is not accepted" in await refusal(url)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        budget = RedisBudget(url, name="account", sessions=3)
        await budget.open(lambda: None)
        await budget.close()
        assert ssl.get_default_verify_paths().openssl_cafile_env == "SSL_CERT_FILE"
        said = await refusal(f"rediss://127.0.0.1:{server.port}/0")  # not its port for TLS
        assert "redis at" in said


def test_without_redis_py_the_extra_is_named():
    code = (
        "import sys; sys.modules['redis'] = None\n"
        "from avatarpool import ConfigurationError, RedisBudget\n"
        "try: RedisBudget('redis://host/0', name='account', sessions=3)\n"
        "except ConfigurationError as error: print(error)"
    )
    said = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert said.endswith("redis is not installed: install avatarpool's extra 'redis'\n")


async def test_a_budget_has_one_group(account: Account6):
    budget = account.budget()
    await budget.open(lambda: None)
    with pytest.raises(ConfigurationError, match="has or had a group already"):
        await budget.open(lambda: None)
    await budget.close()


# --- messages -----------------------------------------------------------------------------


async def test_lost_messages_cost_a_poll_and_no_more(account: Account6):
    async with Proxy(account.redis.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        async with account.group(account.budget(url)) as first, account.group() as second:
            async with await lend(first, 6):
                pass
            # Its second connection hears nothing any more; its calls go through.
            for link in list(proxy.links)[1:]:
                link.swallow()
            await one_request(second)
