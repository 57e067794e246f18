"""What the store does with calls: the script in a real server."""

from __future__ import annotations

import asyncio
import itertools
import traceback
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis_server import RedisServer, redis_server

from avatarpool.exceptions import PoolError
from avatarpool.fleet.leases import Answer, Call, Notice
from avatarpool.fleet.valkey import Account, Store

HANG = 30.0
_accounts = itertools.count()


class Desk:
    """One account in the store, and what its holders have of it."""

    def __init__(self, redis: RedisServer, sessions: int = 6, lease_ttl: float = 60.0) -> None:
        self.redis = redis
        self.sessions = sessions
        self.name = f"account-{next(_accounts)}"
        self.store = Store(redis.url, self.name, lease_ttl)
        self.leases: dict[str, list[str]] = {}
        self._numbers = itertools.count()

    async def open(self) -> Desk:
        await self.store.call("", Call(notice=Notice.INIT), 0)
        return self

    def key(self, name: str) -> str:
        return f"avatarpool:{{{self.name}}}:{name}"

    async def call(self, holder: str, call: Call) -> Answer:
        return await self.store.call(holder, call, self.sessions)

    async def rent(self, holder: str, number: int, need: int | None = None) -> int:
        """Ask for so many more; return how many came."""
        mine = self.leases.setdefault(holder, [])
        ids = tuple(f"{holder}/{next(self._numbers)}" for _ in range(number))
        need = len(mine) + number if need is None else need
        answer = await self.call(holder, Call(used=len(mine), need=need, rented=ids))
        got = [id_ for id_ in ids if id_ not in answer.refused]
        mine += got
        return len(got)

    async def release(self, holder: str, number: int, need: int = 0) -> Answer:
        mine = self.leases[holder]
        gone, mine[:] = tuple(mine[:number]), mine[number:]
        return await self.call(holder, Call(used=len(mine), need=need, released=gone))

    async def may_keep(self, holder: str, need: int) -> int | None:
        return (await self.call(holder, Call(used=len(self.leases[holder]), need=need))).may_keep

    async def held(self) -> dict[str, int]:
        return {each.name: each.leases for each in (await self.store.look()).holders}


@pytest.fixture
async def desk(shared_redis: RedisServer) -> AsyncIterator[Desk]:
    desk = await Desk(shared_redis).open()
    yield desk
    await desk.store.disconnect()


async def until(store: Store, holds: object) -> Account:
    async with asyncio.timeout(HANG):
        while not holds(account := await store.look()):  # type: ignore[operator]
            await asyncio.sleep(0.02)
    return account


async def test_no_more_is_leased_than_there_is(desk: Desk):
    assert await desk.rent("a", 4) == 4
    assert await desk.rent("b", 4) == 2
    assert (await desk.store.look()).leases == 6


async def test_a_call_that_comes_twice_changes_nothing_more(desk: Desk):
    call = Call(need=2, rented=("a/1", "a/2"))
    for _ in range(2):
        assert (await desk.call("a", call)).refused == frozenset()
        assert await desk.held() == {"a": 2}
    for _ in range(2):
        await desk.call("a", Call(released=("a/1",)))
        assert await desk.held() == {"a": 1}


async def test_what_runs_out_is_free_again_and_its_holder_forgotten(shared_redis: RedisServer):
    desk = await Desk(shared_redis, lease_ttl=1.0).open()
    await desk.rent("a", 6)
    async with asyncio.timeout(HANG):
        while await desk.rent("b", 1) == 0:  # it goes on calling
            await asyncio.sleep(0.1)
    assert await desk.held() == {"b": 1}
    for key in ("used", "needs", "held", "turns"):
        assert "a" not in shared_redis.run("HGETALL", desk.key(key))  # type: ignore[operator]
    await desk.store.disconnect()


async def test_a_lease_that_ran_out_is_registered_anew_if_there_is_room(desk: Desk):
    answer = await desk.call("a", Call(used=2, need=2, renewed=("a/1", "a/2")))
    assert answer.lapsed == frozenset()
    assert await desk.rent("b", 9) == 4
    answer = await desk.call("c", Call(used=1, need=1, renewed=("c/1",)))
    assert answer.lapsed == {"c/1"}


async def test_who_all_were_silent_get_time_to_call_before_others_get_what_they_have(
    shared_redis: RedisServer,
):
    desk = await Desk(shared_redis, lease_ttl=1.0).open()
    await desk.rent("a", 6)
    await until(desk.store, lambda account: account.leases == 0)  # nobody has called since
    assert await desk.rent("b", 1) == 0
    answer = await desk.call("a", Call(used=6, need=6, renewed=tuple(desk.leases["a"])))
    assert answer.lapsed == frozenset()
    await desk.store.disconnect()


# --- an empty store -----------------------------------------------------------------------


async def test_an_empty_store_takes_registrations_alone_for_one_lease_time(
    shared_redis: RedisServer,
):
    desk = Desk(shared_redis, lease_ttl=1.0)
    first = await desk.call("a", Call(need=1, rented=("a/1",)))
    assert first.refused == {"a/1"}
    assert 0.0 < first.closed_for <= 1.0
    assert (await desk.call("b", Call(used=2, renewed=("b/1", "b/2")))).lapsed == frozenset()
    async with asyncio.timeout(HANG):
        while await desk.rent("a", 4) == 0:
            await desk.call("b", Call(used=2, renewed=("b/1", "b/2")))
            await asyncio.sleep(0.1)
    assert await desk.held() == {"a": 4, "b": 2}
    await desk.store.disconnect()


async def test_init_says_that_nothing_is_open(shared_redis: RedisServer):
    desk = Desk(shared_redis)
    assert await desk.rent("a", 1) == 0
    await desk.call("gone", Call(used=6, renewed=tuple(f"gone/{i}" for i in range(6))))
    await desk.open()
    assert await desk.rent("a", 1) == 1
    await desk.store.disconnect()


async def test_a_restart_with_what_was_saved_is_an_empty_store_as_well(tmp_path: Path):
    server = RedisServer(tmp_path)
    server.start()
    try:
        desk = await Desk(server).open()
        assert await desk.rent("a", 1) == 1
        server.run("SAVE")
        server.kill()
        server.start()
        await desk.store.disconnect()
        assert await desk.held() == {"a": 1}
        assert await desk.rent("a", 1) == 0
        answer = await desk.call("b", Call(used=1, need=1, renewed=("b/1",)))
        assert answer.lapsed == frozenset()
        assert 0.0 < answer.closed_for <= 60.0
        await desk.store.disconnect()
    finally:
        server.kill()


# --- the number of sessions ---------------------------------------------------------------


async def test_the_number_in_the_store_outranks_the_argument(desk: Desk):
    assert (await desk.store.call("a", Call(), 6)).sessions == 6
    assert (await desk.store.call("b", Call(), 99)).sessions == 6
    await desk.store.call("", Call(resize=8), 0)
    assert (await desk.store.call("b", Call(), 99)).sessions == 8
    assert await desk.rent("a", 9) == 8


async def test_fewer_sessions_are_made_room_for_by_who_has_most(desk: Desk):
    await desk.rent("a", 4)
    await desk.rent("b", 2)
    await desk.store.call("", Call(resize=4), 0)
    assert await desk.may_keep("a", 4) == 2
    assert await desk.may_keep("b", 2) is None
    await desk.release("a", 2, need=4)
    assert await desk.may_keep("a", 4) is None


# --- shares -------------------------------------------------------------------------------


async def test_who_waits_with_less_than_its_share_gets_it_from_who_has_more(desk: Desk):
    assert await desk.rent("a", 6, need=9) == 6
    assert await desk.rent("b", 5) == 0
    assert await desk.may_keep("a", 9) == 3
    await desk.release("a", 1, need=9)
    assert await desk.rent("a", 3, need=9) == 0  # what it made room with is not for it
    await desk.release("a", 2, need=9)
    assert await desk.rent("b", 5) == 3
    assert await desk.rent("b", 2) == 0
    assert await desk.may_keep("a", 9) is None  # both have as much as the other


async def test_who_needs_less_than_its_share_leaves_the_rest_to_others(desk: Desk):
    await desk.rent("a", 1)
    await desk.rent("b", 5, need=9)
    await desk.rent("c", 1)
    assert await desk.may_keep("a", 1) is None
    assert await desk.may_keep("b", 9) == 4
    await desk.rent("c", 9)
    assert await desk.may_keep("b", 9) == 3  # a: 1 of 1, b: 3, c: 2 of the five that are left


async def test_idle_sessions_make_room_for_who_waits(desk: Desk):
    await desk.rent("a", 6)
    assert await desk.rent("b", 4) == 0
    assert await desk.may_keep("a", 1) == 2
    assert await desk.may_keep("a", 0) == 2


async def test_a_wish_that_is_not_repeated_keeps_nothing_back(desk: Desk):
    await desk.rent("a", 6)
    await desk.rent("b", 4)
    async with asyncio.timeout(HANG):
        while await desk.may_keep("a", 6) is not None:
            await asyncio.sleep(0.1)


async def test_more_holders_than_sessions_take_turns(shared_redis: RedisServer):
    desk = await Desk(shared_redis, sessions=2).open()
    had: set[str] = set()
    async with asyncio.timeout(HANG):
        while len(had) < 5:
            for holder in "abcde":
                if not desk.leases.get(holder):
                    await desk.rent(holder, 1)
                elif await desk.may_keep(holder, 1) == 0:
                    await desk.release(holder, 1, need=1)
                if desk.leases.get(holder):
                    had.add(holder)
            assert (await desk.store.look()).leases <= 2
            await asyncio.sleep(0.02)
    await desk.store.disconnect()


# --- messages -----------------------------------------------------------------------------


async def test_whoever_has_to_make_room_or_may_have_more_is_told_to_call(desk: Desk):
    heard: list[str] = []

    async def listen(holder: str) -> None:
        async for _ in desk.store.news(holder):
            heard.append(holder)  # noqa: PERF401 - as it comes

    async def told(*holders: str) -> None:
        async with asyncio.timeout(HANG):
            while sorted(heard) != sorted(holders):
                await asyncio.sleep(0.01)
        heard.clear()

    tasks = [asyncio.create_task(listen(holder)) for holder in "abc"]
    try:
        await told("a", "b", "c")  # from now on
        await desk.rent("a", 6)
        await desk.rent("b", 1)
        await told("a")
        await desk.release("a", 1, need=6)
        await told("b")
        await desk.store.call("", Call(resize=5), 0)
        await told("a", "b", "c")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


# --- what the service was found to allow --------------------------------------------------


async def test_a_refusal_of_the_service_is_the_limit_for_all_until_one_is_tried(desk: Desk):
    await desk.rent("a", 3)
    await desk.rent("b", 2)
    gone = (desk.leases["b"].pop(),)
    await desk.call("b", Call(used=1, need=1, released=gone, notice=Notice.FILLED))
    assert (await desk.store.look()).ceiling == 4  # one of the five was refused
    assert await desk.rent("a", 1) == 0
    # 30 s later:
    desk.redis.run("HSET", desk.key("budget"), "tried_from", 1)
    answer = await desk.call("a", Call(used=3, need=4, rented=("a/x", "a/y")))
    assert (answer.refused, answer.is_trying) == ({"a/y"}, True)
    assert not (await desk.call("b", Call(used=1, need=1, notice=Notice.OPENED))).is_trying
    assert (await desk.store.look()).ceiling == 4  # it was not b who tried
    await desk.call("a", Call(used=4, need=4, notice=Notice.OPENED))
    assert (await desk.store.look()).ceiling is None
    assert await desk.rent("b", 3) == 1


async def test_a_trial_that_is_refused_begins_it_anew(desk: Desk):
    await desk.rent("a", 3)
    await desk.call("a", Call(used=2, need=3, notice=Notice.FILLED))
    await desk.release("a", 1, need=2)
    desk.redis.run("HSET", desk.key("budget"), "tried_from", 1)
    assert await desk.rent("a", 1) == 1
    answer = await desk.call("a", Call(used=2, need=3, notice=Notice.FILLED))
    assert (answer.may_keep, answer.is_trying) == (2, False)
    await desk.release("a", 1, need=3)
    assert await desk.rent("a", 1) == 0


# --- leaving, and what goes wrong -----------------------------------------------------------


async def test_who_leaves_leaves_nothing_behind(desk: Desk):
    await desk.rent("a", 2)
    await desk.rent("b", 9)
    gone = tuple(desk.leases["a"])
    for _ in range(2):
        await desk.call("a", Call(released=gone, notice=Notice.LEAVE))
        assert await desk.held() == {"b": 4}


async def test_without_the_right_to_ask_for_the_run_it_works_all_the_same(redis: RedisServer):
    redis.run("ACL", "SETUSER", "plain", "on", ">pw", "~avatarpool:*", "&avatarpool:*", "+@all",
              "-info")  # fmt: skip
    desk = Desk(redis)
    desk.store = Store(redis.url.replace("127", "plain:pw@127"), desk.name, 60.0)
    await desk.open()
    assert await desk.rent("a", 1) == 1
    await desk.store.disconnect()


async def test_a_store_that_is_read_only_or_holds_something_else_is_told(redis: RedisServer):
    desk = await Desk(redis).open()
    redis.run("SET", desk.key("leases"), "mine")
    told = r"something else than ours as avatarpool:{.*}:\* \(WRONGTYPE\): delete that there"
    for asked in (desk.rent("a", 1), desk.store.look()):
        with pytest.raises(PoolError, match=told):
            await asked
    redis.run("DEL", desk.key("leases"))
    redis.run("REPLICAOF", "127.0.0.1", redis.port)
    with pytest.raises(PoolError, match="is read-only: give the URL of the primary"):
        await desk.rent("a", 1)
    await desk.store.disconnect()


async def test_an_answer_that_is_none_of_the_scripts_is_an_error(shared_redis: RedisServer):
    desk = await Desk(shared_redis).open()
    shared_redis.run("HSET", desk.key("budget"), "sessions", "many")
    with pytest.raises(PoolError, match=r"\(user_script\): delete that there"):
        await desk.rent("a", 1)
    with pytest.raises(PoolError, match=r"\(ValueError\): delete that there"):
        await desk.store.look()
    await desk.store.disconnect()


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "what answers there is no Redis"),
        (b"+OK\r\n", r"\(ValueError\): delete that there"),
        (b"*1\r\n" * 20000, "something else than ours"),
        (b"-ERR what was S3CRET again?\r\n", r"what was \S+ again\?"),
        (b"-ERR " + b"x" * 10_000 + b"\r\n", "0: x{100,500}$"),
    ],
    ids=["http", "ok", "nested", "echo", "long"],
)
async def test_what_a_stranger_answers_is_told_in_one_sentence(reply, told):
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            writer.write(reply)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        store = Store(f"redis://:S3CRET@127.0.0.1:{port}/0", "account", 15.0)
        with pytest.raises(PoolError, match=told) as raised:
            await store.call("a", Call(), 1)
        assert "S3CRET" not in "".join(traceback.format_exception(raised.value))


async def test_what_is_shown_of_names_does_nothing_to_a_terminal(desk: Desk):
    await desk.rent("\x1b[2Ja", 1)
    assert [each.name for each in (await desk.store.look()).holders] == [" [2Ja"]


async def test_an_answer_that_does_not_come_is_an_error_and_the_next_one_is_its_own():
    with redis_server() as server:
        desk = await Desk(server).open()
        await desk.rent("a", 1)
        server.stop()
        with pytest.raises(PoolError, match="no answer within 1 s"):
            await desk.rent("a", 1)
        server.go_on()
        assert await desk.rent("b", 1) == 1
        await desk.store.disconnect()
