"""The fleet's example: two of it at the same time, and one on its own."""

import asyncio
import re

import pytest
from redis_server import redis_server

from avatarpool.fleet.leases import Call, Notice
from avatarpool.fleet.valkey import Store
from avatarpool.service import LocalAvatarService, ServiceLimits


@pytest.fixture
def example(load_example, monkeypatch):
    example = load_example("fleet")
    monkeypatch.setattr(example, "SECONDS", 6)
    monkeypatch.delenv("AVATAR_REDIS_URL", raising=False)
    return example


async def test_two_of_them_share_what_the_account_allows(example, monkeypatch, capsys):
    limits = ServiceLimits(max_connections=example.SESSIONS)
    with redis_server() as redis:
        store = Store(redis.url, example.ACCOUNT, 15.0)
        await store.call("", Call(notice=Notice.INIT), 0)
        monkeypatch.setenv("AVATAR_REDIS_URL", redis.url)
        async with LocalAvatarService(limits=limits) as service:
            for name, value in service.environment.items():
                monkeypatch.setenv(name, value)
            assert await asyncio.gather(example.main(), example.main()) == [0, 0]
        assert (await store.look()).leases == 0
        await store.disconnect()
    output = capsys.readouterr()
    assert output.err == ""
    assert re.search(r"^[1-5] of 6 sessions here, \d+ requests", output.out, flags=re.MULTILINE)


async def test_on_its_own_it_needs_neither_redis_nor_account(example, capsys):
    assert await example.main() == 0
    output = capsys.readouterr()
    assert output.err == "AVATAR_REDIS_URL is not set: the account is this process's alone.\n"
    assert "6 of 6 sessions here" in output.out


async def test_a_redis_that_is_not_there_is_told_in_a_sentence(example, monkeypatch, capsys):
    monkeypatch.setenv("AVATAR_REDIS_URL", "redis://127.0.0.1:1/0")
    assert await example.main() == 1
    assert capsys.readouterr().err == (
        "The group could not be opened: budget 'example' cannot be kept: redis at 127.0.0.1:1/0: "
        "it cannot be reached: connection refused\n"
    )
