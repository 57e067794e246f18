"""The pool's own work is done in the context of `initialize()`, a borrow's in the borrower's."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest
from clock import run_virtual, virtually
from echo import EchoDriver, marked_audio
from scripted import Code, Script, hold, no_options, refused

from avatarpool import (
    AvatarConnectionPool,
    AvatarSDKError,
    AvatarSession,
    PooledConnection,
    PoolEvent,
    PoolEventKind,
    PoolTimeout,
)
from avatarpool.service import LocalAvatarService

Kind = PoolEventKind
AUDIO = b"\0\0" * 640

whose: ContextVar[object] = ContextVar("whose", default="nobody's")

OF_BORROWS = {Kind.LENT, Kind.NOT_LENT, Kind.RETURNED, Kind.REQUEST_BEGAN, Kind.REQUEST_ENDED}


class Witness(logging.Handler):
    """Notes in whose context whatever there is happens."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.seen: list[tuple[str, object]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append((f"log: {record.msg}", whose.get()))

    def event(self, event: PoolEvent) -> None:
        self.seen.append((event.kind.value, whose.get()))

    def factory(self) -> dict[str, object]:
        self.seen.append(("config_factory", whose.get()))
        return {}

    def hook(self, name: str) -> Callable[[PooledConnection], Any]:
        async def hook(conn: PooledConnection) -> None:
            self.seen.append((name, whose.get()))

        return hook

    def outage(self, pool: AvatarConnectionPool) -> None:
        self.seen.append(("reconnect_failed", whose.get()))

    def of(self, *what: str) -> set[object]:
        return {whose for name, whose in self.seen if name in what}


@pytest.fixture
def witness() -> Any:
    witness = Witness()
    log = logging.getLogger("avatarpool.pool")
    before = log.level
    log.addHandler(witness)
    log.setLevel(logging.DEBUG)
    yield witness
    log.removeHandler(witness)
    log.setLevel(before)


async def as_request(name: str, work: Any) -> Any:
    """Do some work as a web framework does it: in a task with a context variable of its own."""

    async def request() -> Any:
        whose.set(name)
        return await work

    return await asyncio.create_task(request())


def a_pool(witness: Witness, script: Script, **options: Any) -> AvatarConnectionPool:
    for name in ("configure", "check", "reset"):
        options.setdefault(name, witness.hook(name))
    return AvatarConnectionPool(
        config_factory=witness.factory,
        session_factory=script,
        on_event=witness.event,
        reconnect_failed=witness.outage,
        **options,
    )


async def used_in_every_way(witness: Witness, **options: Any) -> None:
    """Let requests be the occasion for all that a pool does."""
    script = Script()
    pool = a_pool(
        witness, script, min_size=1, max_size=3, reconnect_timeout=2.0, leak_warning=5.0, **options
    )
    whose.set("the pool's")
    await pool.initialize()
    whose.set("the application's")

    async def answered() -> None:
        async with pool.borrow() as conn:
            session = script.named(conn.connection_id)
            req_id = await conn.session.send_audio(AUDIO, end=True)
            session.frame(req_id, end=True)
            await conn.collector.wait()

    async def left() -> None:
        async with pool.borrow() as conn:
            await conn.session.send_audio(AUDIO)

    async def interrupt_fails(*_: object) -> str:
        raise OSError("gone")

    async def left_and_not_to_be_cleaned() -> None:
        async with pool.borrow() as conn:
            session: Any = script.named(conn.connection_id)
            session.interrupt = interrupt_fails
            await conn.session.send_audio(AUDIO)

    async def dies_in_its_hands() -> None:
        async with pool.borrow() as conn:
            await script.named(conn.connection_id).close()
            await conn.session.send_audio(AUDIO, end=True)

    async def breaks_the_protocol() -> None:
        async with pool.borrow() as conn:
            session = script.named(conn.connection_id)
            req_id = await conn.session.send_audio(AUDIO, end=True)
            session.frame(req_id, end=True)
            session.frame(req_id, end=True)

    async def waits_in_vain() -> None:
        async with pool.borrow(), pool.borrow(), pool.borrow():
            with pytest.raises(PoolTimeout):
                await hold(pool, 0.0, timeout=0.5)

    async def resizes() -> None:
        pool.resize(2, 3)
        await asyncio.sleep(1.0)
        pool.resize(1, 1)
        pool.resize(1, 3)

    async def drains() -> None:
        pool.drain()

    async def holds_for_long() -> None:
        await hold(pool, 10.0)

    async def finds_the_service_down() -> None:
        script.openings = [refused(Code.connectionFailed)] * 3 + [
            refused(Code.creditsExhausted, close_code=4001)
        ]
        pool.drain()
        await asyncio.sleep(0.0)
        with pytest.raises(AvatarSDKError):
            await hold(pool, 0.0, timeout=60.0)

    for number, work in enumerate(
        [
            answered,
            left,
            left_and_not_to_be_cleaned,
            dies_in_its_hands,
            breaks_the_protocol,
            waits_in_vain,
            resizes,
            drains,
            holds_for_long,
            finds_the_service_down,
        ]
    ):
        await as_request(f"request {number}'s", work())
        await asyncio.sleep(20.0)
    await as_request("the last request's", hold(pool, 0.0))
    await pool.close()


def test_what_the_pool_does_by_itself_sees_the_context_of_initialize_alone(witness: Witness):
    run_virtual(used_in_every_way(witness))
    names = {name for name, _ in witness.seen}
    expected = {kind.value for kind in Kind} - {"first_frame", "playback"}
    assert names >= expected | {"config_factory", "reset", "reconnect_failed"}
    assert len([name for name in names if name.startswith("log: ")]) >= 6
    of_borrows = {kind.value for kind in OF_BORROWS}
    others = sorted(names - of_borrows - {"first_frame"})
    assert {name: witness.of(name) for name in others} == {name: {"the pool's"} for name in others}


def test_hooks_see_the_context_of_initialize_alone(witness: Witness):
    run_virtual(used_in_every_way(witness))
    for name in ("configure", "check", "reset"):
        assert witness.of(name) == {"the pool's"}


def test_what_is_told_of_a_borrow_is_told_in_the_borrowers_own_context(witness: Witness):
    run_virtual(used_in_every_way(witness))
    for kind in (Kind.LENT, Kind.RETURNED, Kind.REQUEST_BEGAN):
        seen = witness.of(kind.value)
        assert "request 0's" in seen
        assert not seen & {"the pool's", "nobody's"}
    assert "request 5's" in witness.of("not_lent")


@virtually
async def test_a_check_that_does_not_pass_is_logged_in_the_pools_context():
    witness = Witness()
    log = logging.getLogger("avatarpool.pool")

    async def check(conn: PooledConnection) -> None:
        if conn.connection_id == "scripted-0":
            raise RuntimeError("stale")

    async with AvatarConnectionPool(1, no_options, session_factory=Script(), check=check) as pool:
        log.addHandler(witness)
        await as_request("the request's", hold(pool, 0.0))
        log.removeHandler(witness)
    assert [who for what, who in witness.seen if what == "log: pool %r: %s"] == ["nobody's"]


@pytest.mark.parametrize("hooks", [(), ("check",), ("reset",), ("configure",)])
def test_nothing_keeps_a_requests_context_once_it_is_over(hooks: tuple[str, ...]):
    class Body:
        """What a request brought, and what it must not leave."""

    async def hook(conn: PooledConnection) -> None:
        await asyncio.sleep(0)

    async def scenario() -> None:
        script, bodies = Script(), []
        pool = AvatarConnectionPool(
            config_factory=no_options,
            session_factory=script,
            min_size=1,
            max_size=3,
            **dict.fromkeys(hooks, hook),
        )
        await pool.initialize()

        async def request(number: int) -> None:
            body = Body()
            bodies.append(weakref.ref(body))
            whose.set(body)
            async with pool.borrow() as conn:
                await conn.session.send_audio(AUDIO)
                await asyncio.sleep(0.1)
                if number == 2:
                    await script.named(conn.connection_id).close()

        requests = [asyncio.create_task(request(number)) for number in range(6)]
        await asyncio.gather(*requests, return_exceptions=True)
        requests.clear()
        script.openings = [refused(Code.connectionFailed)] * 20
        pool.drain()  # what waits for its time waits in no request's context
        await asyncio.sleep(31.0)  # asyncio keeps a borrower's own timers, which are cancelled
        gc.collect()
        assert len(bodies) == 6
        assert [body() for body in bodies] == [None] * 6
        await pool.close()

    run_virtual(scenario())


@virtually
async def test_what_one_hook_sets_no_other_work_of_the_pool_sees():
    seen: list[object] = []

    async def hook(conn: PooledConnection) -> None:
        seen.append(whose.get())
        whose.set("a hook's")
        await asyncio.sleep(0)

    def factory() -> dict[str, object]:
        seen.append(whose.get())
        whose.set("a factory's")
        return {}

    def notice(event: PoolEvent) -> None:
        if event.kind is not Kind.OPENED:  # told within an opening, as its factory was called
            seen.append(whose.get())

    pool = AvatarConnectionPool(
        1, factory, session_factory=Script(), check=hook, reset=hook, on_event=notice
    )
    async with pool:
        await hold(pool, 0.0)
        pool.drain()
        await hold(pool, 0.0)
        await asyncio.sleep(1.0)
    assert set(seen) == {"nobody's"}


@virtually
async def test_a_pool_keeps_to_its_context_whoever_closes_it():
    witness = Witness()
    script = Script()
    pool = a_pool(witness, script, min_size=2)
    await as_request("the starter's", pool.initialize())
    await as_request("the stopper's", pool.close())
    assert witness.of("retired") == {"the starter's"}


# --- real sockets -------------------------------------------------------------------------


def cut(service: LocalAvatarService, connection_id: str) -> None:
    """Have the service cut one connection."""
    assert service._ingress is not None
    [session] = [
        each
        for each in service._ingress._sessions
        if each._conversation.connection_id == connection_id
    ]
    session._socket.transport.abort()


async def test_what_real_sessions_read_and_tell_is_the_pools_and_keeps_no_requests_context():
    class Body:
        pass

    bodies: list[weakref.ref[Body]] = []
    told: dict[str, set[object]] = {}

    def notice(event: PoolEvent) -> None:
        if event.kind not in OF_BORROWS:
            told.setdefault(event.kind.value, set()).add(type(whose.get()))

    async def request(pool: AvatarConnectionPool) -> None:
        body = Body()
        bodies.append(weakref.ref(body))
        whose.set(body)
        async with pool.borrow() as conn:
            # More than the kernel takes at once: its writer is at work in this context.
            await conn.session.send_audio(marked_audio(7, 2000), end=True)
            while not conn.collector.is_done:  # wait() has a timer, which asyncio keeps
                await asyncio.sleep(0.002)
        async with pool.borrow() as conn:
            await conn.session.send_audio(marked_audio(8, 5))
        async with pool.borrow() as conn:
            cut(service, conn.connection_id)
            while conn._connection.session.is_open:
                await asyncio.sleep(0.002)

    async with LocalAvatarService(driver=EchoDriver) as service:
        pool = AvatarConnectionPool(
            min_size=1,
            max_size=2,
            config_factory=lambda: service.config_factory(send_timeout=1.0),
            on_event=notice,
        )
        async with pool:
            await asyncio.gather(*(asyncio.create_task(request(pool)) for _ in range(3)))
            async with asyncio.timeout(20):
                # A send that waited had a timer, which asyncio keeps until it would be due.
                while any(body() is not None for body in bodies):
                    await asyncio.sleep(0.02)
                    gc.collect()
            assert len(bodies) == 3
    assert set(told) >= {"opened", "lost", "quarantined", "first_frame"}
    assert {kind for kind, seen in told.items() if seen != {str}} == set()


def test_contexts_are_copied_and_never_entered_twice():
    """An event's listener may make the pool do more: it is in the pool's context already."""

    async def scenario() -> None:
        script = Script()
        pool = AvatarConnectionPool(3, no_options, session_factory=script)

        def notice(event: PoolEvent) -> None:
            if event.kind is Kind.RETIRED and pool.total_count > 1:
                pool.resize(1)

        pool.add_listener(notice)
        async with pool:
            pool.resize(2)
            await asyncio.sleep(1.0)
            assert pool.total_count == 1

    run_virtual(scenario())
    assert contextvars.copy_context().get(whose) is None


async def test_a_session_of_its_own_calls_back_in_its_users_context():
    # Used alone a session is its user's own: nothing is hidden from it.
    seen: list[object] = []
    done = asyncio.Event()

    def played(frame: Any) -> None:
        seen.append(whose.get())
        if frame.end:
            done.set()

    async with LocalAvatarService(driver=EchoDriver) as service:
        whose.set("the user's")
        async with AvatarSession(service.config_factory(on_playback=played)) as session:
            await session.send_audio(marked_audio(1, 2), end=True)
            await done.wait()
    assert set(seen) == {"the user's"}


@virtually
async def test_a_check_that_somebody_asks_for_now_is_the_pools_own():
    witness = Witness()
    pool = AvatarConnectionPool(
        2, no_options, session_factory=Script(), check=witness.hook("check")
    )
    async with pool:
        whose.set("a request's")
        await pool.check()
    assert [name for name, _ in witness.seen] == ["check", "check"]
    assert witness.of("check") == {"nobody's"}
