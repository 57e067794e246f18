"""Hooks, factories, listeners and sessions that are not ours, in every shape they come in."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from clock import VirtualClockLoop, now, run_virtual, virtually
from scripted import DOWN, Code, Script, ScriptedSession, hold, new_pool, no_options, refused

from avatarpool import (
    AvatarConnectionPool,
    AvatarPoolError,
    AvatarSDKError,
    ConfigurationError,
    PoolClosed,
    PooledConnection,
    PoolError,
    PoolEvent,
    PoolEventKind,
    PoolTimeout,
    RequestTimeout,
    SessionConfig,
)

HOOKS = ["configure", "check", "reset"]
AUDIO = b"\0\0" * 640


class Outcome(BaseException):
    """No `Exception`, as pytest's outcomes and trio's Cancelled are none."""


class VaultError(Exception):
    """Cannot be copied: its constructor takes more than its message."""

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(message)
        self.path = path


class Unspeakable(Exception):
    """Cannot be read: everything about it raises."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")

    __str__ = __repr__

    def __getattr__(self, name: str) -> object:
        raise (AttributeError if name.startswith("__") else RuntimeError)("no facts")

    def __bool__(self) -> bool:
        raise RuntimeError("neither")


class MuteError(AvatarSDKError):
    """One of our errors, in a user's own kind, that cannot be read."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class CannotBeCopied(AvatarPoolError):
    def __copy__(self) -> AvatarPoolError:
        raise TypeError("one of its kind")


def kinds_of_errors() -> list[BaseException]:
    return [
        ValueError("wrong"),
        VaultError("sealed", path="secret/avatar"),
        Unspeakable(),
        TimeoutError(),
        StopIteration("ran out"),
        asyncio.CancelledError(),
        Outcome("a verdict"),
        ExceptionGroup("several", [OSError("a"), OSError("b")]),
        BaseExceptionGroup("several", [asyncio.CancelledError()]),
        PoolTimeout("of another pool"),
        refused(Code.connectionFailed),
        MuteError(Code.connectionFailed, "x"),
        CannotBeCopied("x"),
    ]


KINDS = [type(error).__name__ for error in kinds_of_errors()]

each_kind = pytest.mark.parametrize("error", range(len(KINDS)), ids=KINDS, indirect=True)


@pytest.fixture
def error(request: pytest.FixtureRequest) -> BaseException:
    """One of each kind, fresh: a traceback and a cause stay with whom they came to."""
    return kinds_of_errors()[request.param]


@pytest.fixture(autouse=True)
def nothing_unheard(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail where the loop hears of an exception that nobody took."""
    unheard: list[Any] = []
    monkeypatch.setattr(
        asyncio.BaseEventLoop,
        "call_exception_handler",
        lambda loop, context: unheard.append(context),
    )
    yield
    assert unheard == []


async def cancels_its_own_task(*_: object) -> Any:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(1.0)


async def dawdles(*_: object) -> None:
    await asyncio.sleep(1000.0)


async def heeds_no_cancelling(until: asyncio.Event, *_: object) -> None:
    while not until.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await until.wait()


def a_chain_of_causes(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None:
        assert error not in chain, "it is its own cause"
        chain.append(error)
        error = error.__cause__
    return chain


# --- hooks: what they raise ----------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("which", HOOKS)
def test_whatever_a_hook_raises_costs_its_connection_and_no_borrower(
    which: str, error: BaseException
):
    async def scenario() -> None:
        script, failures = Script(), iter([error])

        async def hook(conn: PooledConnection) -> None:
            for failure in failures:
                raise failure

        async with new_pool(script, 1, **{which: hook}) as pool:
            await hold(pool, 0.0)
            assert await hold(pool, 0.0) == "scripted-1"
            await asyncio.sleep(2.0)
            assert script.sessions[0].is_closed
            assert pool.available_count == pool.total_count == 1

    run_virtual(scenario())


@each_kind
@pytest.mark.parametrize("which", HOOKS)
def test_a_hook_may_raise_before_it_gives_anything_to_await(which: str, error: BaseException):
    async def scenario() -> None:
        script, failures = Script(), iter([error])

        async def passes() -> None:
            pass

        def hook(conn: PooledConnection) -> Any:
            for failure in failures:
                raise failure
            return passes()

        async with new_pool(script, 1, **{which: hook}) as pool:
            await hold(pool, 0.0)
            assert await hold(pool, 0.0) == "scripted-1"

    run_virtual(scenario())


@pytest.mark.parametrize("which", HOOKS)
def test_a_hook_that_is_no_coroutine_function_is_told_by_name(
    which: str, caplog: pytest.LogCaptureFixture
):
    async def scenario() -> None:
        pool = new_pool(Script(), 1, **{which: lambda conn: None}, timeout=3.0)
        with contextlib.suppress(PoolError):
            await pool.initialize(timeout=1.0)
            await hold(pool, 0.0)
            await hold(pool, 0.0)
        await pool.close()

    run_virtual(scenario())
    assert f"{which} failed: TypeError(" in caplog.text


@pytest.mark.parametrize("which", HOOKS)
def test_a_hook_that_cancels_its_own_task_costs_its_connection_within_a_second_and_is_logged(
    which: str, caplog: pytest.LogCaptureFixture
):
    async def scenario() -> None:
        script, hooks = Script(), iter([cancels_its_own_task])

        async def hook(conn: PooledConnection) -> None:
            for first in hooks:
                await first()

        async with new_pool(script, 1, **{which: hook}) as pool:
            await hold(pool, 0.0)
            began = now()
            assert await hold(pool, 0.0) == "scripted-1"
            assert now() - began <= 1.0

    run_virtual(scenario())
    assert "cancel" in caplog.text


@virtually
async def test_a_check_that_cancels_its_own_task_hands_its_connection_to_nobody_else():
    seen: list[str] = []

    async def check(conn: PooledConnection) -> None:
        seen.append(conn.connection_id)
        if conn.connection_id == "scripted-0":
            await cancels_its_own_task()

    async with new_pool(Script(), 1, check=check) as pool:
        names = await asyncio.gather(*(hold(pool, 0.0) for _ in range(3)))
    assert seen == ["scripted-0"] + ["scripted-1"] * 3
    assert names == ["scripted-1"] * 3


@virtually
async def test_a_check_that_has_just_failed_as_its_borrower_leaves_counts():
    async def check(conn: PooledConnection) -> None:
        await fails.wait()
        if conn.connection_id == "scripted-0":
            raise RuntimeError("stale")

    script, fails = Script(), asyncio.Event()
    async with new_pool(script, 1, check=check) as pool:
        borrower = asyncio.create_task(hold(pool, 0.0))
        await asyncio.sleep(1.0)
        fails.set()
        borrower.cancel()
        await asyncio.wait([borrower])
        assert borrower.cancelled()
        await asyncio.sleep(1.0)
        assert script.sessions[0].is_closed
        assert await hold(pool, 0.0) == "scripted-1"


@virtually
async def test_a_cancelled_error_out_of_reset_parks_no_connection_and_is_logged():
    async def reset(conn: PooledConnection) -> None:
        if conn.connection_id == "scripted-0":
            raise asyncio.CancelledError

    reasons: list[str] = []
    script = Script()
    async with new_pool(script, 1, reset=reset) as pool:
        pool.add_listener(lambda event: reasons.append(event.reason))
        await hold(pool, 0.0)
        began = now()
        assert await hold(pool, 0.0) == "scripted-1"
        assert now() - began < 0.01
    assert "cannot be cleaned" in reasons


# --- hooks: who is cancelled ----------------------------------------------------------------


async def wraps_what_interrupts_it(conn: PooledConnection) -> None:
    try:
        await asyncio.sleep(1000.0)
    except BaseException as error:
        raise RuntimeError("the probe failed") from error


async def returns_when_interrupted(conn: PooledConnection) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(1000.0)


async def is_interrupted_as_it_fails(conn: PooledConnection) -> None:
    await asyncio.sleep(1.0)
    raise RuntimeError("the probe failed")


STUBBORN = [wraps_what_interrupts_it, returns_when_interrupted, dawdles, is_interrupted_as_it_fails]


@pytest.mark.parametrize("check", STUBBORN)
def test_a_borrower_that_is_cancelled_in_its_check_ends_cancelled(check: Any):
    async def scenario() -> None:
        async with new_pool(Script(), 1, check=check) as pool:
            borrower = asyncio.create_task(hold(pool, 0.0))
            await asyncio.sleep(1.0)
            borrower.cancel()
            began = now()
            await asyncio.wait([borrower])
            assert borrower.cancelled()
            assert now() - began <= 0.1
            await asyncio.sleep(2.0)
            assert pool.available_count == pool.total_count == 1

    run_virtual(scenario())


@pytest.mark.parametrize("check", STUBBORN[:3])
def test_wait_for_bounds_a_borrow_whatever_its_check_does(check: Any):
    async def scenario() -> None:
        async with new_pool(Script(), 1, check=check) as pool:
            began = now()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(hold(pool, 0.0), 2.0)
            assert now() - began == pytest.approx(2.0, abs=0.15)

    run_virtual(scenario())


@pytest.mark.parametrize("configure", STUBBORN[:3])
def test_an_initialize_that_is_cancelled_ends_cancelled_whatever_configure_does(configure: Any):
    async def scenario() -> None:
        script = Script()
        opening = asyncio.create_task(new_pool(script, 1, configure=configure).initialize())
        await asyncio.sleep(1.0)
        opening.cancel()
        await asyncio.wait([opening])
        assert opening.cancelled()
        assert script.sessions[0].is_closed

    run_virtual(scenario())


@pytest.mark.parametrize("reset", STUBBORN[:3])
def test_a_pool_closes_at_once_whatever_reset_does(reset: Any):
    async def scenario() -> None:
        script = Script()
        async with new_pool(script, 1, reset=reset) as pool:
            await hold(pool, 0.0)
            began = now()
            await pool.close()
            assert now() - began < 0.1
        assert script.sessions[0].is_closed

    run_virtual(scenario())


@pytest.mark.parametrize("which", HOOKS)
def test_a_hook_that_heeds_no_cancelling_holds_up_neither_the_borrower_nor_the_end_for_ever(
    which: str, caplog: pytest.LogCaptureFixture
):
    async def scenario() -> None:
        script, until = Script(), asyncio.Event()

        async def hook(conn: PooledConnection) -> None:
            if conn.connection_id == "scripted-0":
                await heeds_no_cancelling(until)

        pool = new_pool(script, 1, **{which: hook}, request_timeout=2.0)
        try:
            opening = asyncio.create_task(pool.initialize(timeout=10.0))
            await asyncio.sleep(0.1)
            borrower = asyncio.create_task(hold(pool, 0.0, timeout=3.0))
            await asyncio.wait([borrower])
            began = now()
            await pool.close(timeout=1.0)
            assert now() - began < 20.0
            assert pool.total_count == 0
            for task in (opening, borrower):
                with contextlib.suppress(PoolError):
                    await task
        finally:
            until.set()
        await asyncio.sleep(1.0)

    run_virtual(scenario())
    assert "1 tasks that do not end" in caplog.text


def test_a_session_whose_close_heeds_no_cancelling_holds_up_the_end_not_for_ever(
    caplog: pytest.LogCaptureFixture,
):
    async def scenario() -> None:
        script, until = Script(), asyncio.Event()
        pool = new_pool(script, 1)
        await pool.initialize(timeout=10.0)
        script.sessions[0].close = partial(heeds_no_cancelling, until)
        try:
            began = now()
            await pool.close(timeout=1.0)
            assert now() - began < 20.0
        finally:
            until.set()
        await asyncio.sleep(1.0)

    run_virtual(scenario())
    assert "1 tasks that do not end" in caplog.text


# --- a check that always fails ----------------------------------------------------------------


@virtually
async def test_a_check_that_always_fails_is_tried_with_growing_pauses():
    async def check(conn: PooledConnection) -> None:
        tried.append(now())
        raise RuntimeError("never")

    script, tried = Script(), []
    async with new_pool(script, 1, check=check) as pool:
        with pytest.raises(PoolTimeout):
            await hold(pool, 0.0, timeout=120.0)
    pauses = [later - earlier for earlier, later in pairwise(tried)]
    assert len(tried) < 40, "of one every few milliseconds"
    assert pauses[0] < 0.6
    assert all(pause > 2.0 for pause in pauses[5:])
    assert max(pauses) <= 5.0 + 1e-6, "as a borrower waits"


@virtually
async def test_a_check_that_fails_once_costs_the_next_opening_half_a_second_and_no_more():
    async def check(conn: PooledConnection) -> None:
        if conn.connection_id == "scripted-0":
            raise RuntimeError("stale")

    async with new_pool(Script(), 1, check=check) as pool:
        began = now()
        await hold(pool, 0.0)
        assert 0.25 <= now() - began <= 0.5


# --- listeners ---------------------------------------------------------------------------------


class Listener:
    """Raises at every event of one kind."""

    def __init__(self, kind: PoolEventKind, error: BaseException) -> None:
        self.kind = kind
        self.error = error
        self.raised = 0

    def __call__(self, event: PoolEvent) -> None:
        if event.kind is self.kind:
            self.raised += 1
            raise self.error


async def use_in_every_way(pool: AvatarConnectionPool, script: Script) -> None:
    """Have a pool tell of everything there is to tell."""
    script.openings = [None, None, refused(Code.creditsExhausted, close_code=4001)]
    await pool.initialize()
    async with pool.borrow() as conn:  # answered
        session = script.named(conn.connection_id)
        req_id = await conn.session.send_audio(AUDIO, end=True)
        session.frame(req_id, animation=b"1")
        session.frame(req_id, end=True)
        await conn.collector.wait()
    async with pool.borrow() as conn:  # left
        await conn.session.send_audio(AUDIO)
    async with pool.borrow(), pool.borrow():
        with pytest.raises(PoolTimeout):
            await hold(pool, 0.0, timeout=0.1)
    await asyncio.sleep(1.0)
    await script.sessions[0].close()
    await asyncio.sleep(60.0)
    pool.drain()
    await asyncio.sleep(10.0)


@each_kind
@pytest.mark.parametrize(
    "kind",
    [kind for kind in PoolEventKind if kind is not PoolEventKind.PLAYBACK],  # a room's alone
    ids=lambda kind: kind.value,
)
def test_whatever_a_listener_raises_costs_nothing_but_a_line_in_the_log(
    kind: PoolEventKind, error: BaseException, caplog: pytest.LogCaptureFixture
):
    async def scenario() -> None:
        script, listener = Script(), Listener(kind, error)
        heard: list[PoolEventKind] = []
        pool = new_pool(script, 2, on_event=listener)
        pool.add_listener(lambda event: heard.append(event.kind))
        await use_in_every_way(pool, script)
        assert listener.raised
        assert kind in heard, "the next listener is told all the same"
        stats = pool.get_stats()
        assert stats["connections_lent"] == stats["connections_draining"] == 0
        assert stats["available_connections"] == stats["total_connections"] == 2
        await pool.close(timeout=0.0)

    logging.raiseExceptions = False  # of what cannot be shown
    try:
        run_virtual(scenario())
    finally:
        logging.raiseExceptions = True
    assert any("on_event of pool 'test' failed" in r.message for r in caplog.records)


@pytest.mark.parametrize("kind", ["lent", "returned"])
def test_a_listener_that_ends_the_program_does_so_and_leaves_the_pool_whole(kind: str):
    def end(event: PoolEvent) -> None:
        if event.kind.value == kind:
            raise KeyboardInterrupt

    loop = VirtualClockLoop()
    pool = new_pool(Script(), 1)
    loop.run_until_complete(pool.initialize())
    pool.add_listener(end)
    borrower = loop.create_task(hold(pool, 1.0))
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(borrower)
    pool.remove_listener(end)
    loop.call_later(5.0, loop.stop)  # the one that was interrupted may have left its own stop
    loop.run_forever()
    loop.call_later(5.0, loop.stop)
    loop.run_forever()
    assert borrower.done()
    assert pool.available_count == 1
    loop.run_until_complete(pool.close())
    loop.close()


async def a_coroutine_function(event: PoolEvent) -> None:
    pass


class Follower:
    async def __call__(self, event: PoolEvent) -> None:
        pass

    async def follow(self, event: PoolEvent) -> None:
        pass


@pytest.mark.parametrize(
    "listener",
    [a_coroutine_function, partial(a_coroutine_function), Follower(), Follower().follow],
    ids=["function", "partial", "object", "method"],
)
def test_a_listener_that_nobody_would_await_is_refused_with_a_sentence(listener: Any):
    with pytest.raises(ConfigurationError, match=r"coroutine function, which nobody would await"):
        new_pool(Script(), 1, on_event=listener)
    pool = new_pool(Script(), 1)
    with pytest.raises(ConfigurationError, match=r"on_event of pool 'test' cannot work"):
        pool.add_listener(listener)


def test_a_listener_that_cannot_be_called_is_refused():
    with pytest.raises(ConfigurationError, match="'follow' cannot be called"):
        new_pool(Script(), 1, on_event="follow")


# --- reconnect_failed --------------------------------------------------------------------------


async def in_an_outage(seconds: float, **options: Any) -> float:
    """Open a pool, let an outage begin, and return when it began."""
    script = Script()
    async with new_pool(script, 1, **options):
        script.openings = [DOWN] * 1000
        await script.sessions[0].close()
        began = now()
        await asyncio.sleep(seconds)
    return began


@pytest.mark.parametrize("timeout", [0.0, 2.0, 7.0, 60.0, 100.0])
def test_reconnect_failed_is_called_when_it_is_due_and_not_at_the_next_attempt(timeout: float):
    async def scenario() -> None:
        told: list[float] = []
        began = await in_an_outage(
            200.0,
            reconnect_timeout=timeout,
            reconnect_failed=lambda pool: told.append(now()),
        )
        # It fails from the first attempt on, which follows the end of a young connection.
        assert told == [pytest.approx(began + timeout, abs=0.01)]

    run_virtual(scenario())


@virtually
async def test_reconnect_failed_may_be_a_coroutine_function():
    told: list[str] = []

    async def failed(pool: AvatarConnectionPool) -> None:
        await asyncio.sleep(1.0)
        told.append(pool.name)

    await in_an_outage(100.0, reconnect_timeout=2.0, reconnect_failed=failed)
    assert told == ["test"]


@virtually
async def test_an_outage_that_ends_in_time_calls_nobody():
    told: list[float] = []
    script = Script()
    options = {"reconnect_timeout": 10.0, "reconnect_failed": lambda pool: told.append(now())}
    async with new_pool(script, 1, **options) as pool:
        for _ in range(3):
            script.openings = [DOWN, DOWN]
            await script.sessions[-1].close()
            await asyncio.sleep(9.0)
            assert pool.total_count == 1
        await asyncio.sleep(100.0)
    assert told == []


@each_kind
@pytest.mark.parametrize("is_async", [False, True])
def test_whatever_reconnect_failed_raises_is_logged_and_the_pool_goes_on(
    error: BaseException, *, is_async: bool, caplog: pytest.LogCaptureFixture
):
    def failed(pool: AvatarConnectionPool) -> None:
        raise error

    async def failed_later(pool: AvatarConnectionPool) -> None:
        await asyncio.sleep(0.1)
        raise error

    async def scenario() -> None:
        script = Script()
        told = failed_later if is_async else failed
        options = {"reconnect_timeout": 1.0, "reconnect_failed": told}
        async with new_pool(script, 1, **options) as pool:
            script.openings = [DOWN] * 4
            await script.sessions[0].close()
            await asyncio.sleep(60.0)
            assert pool.available_count == 1

    logging.raiseExceptions = False  # of what cannot be shown
    try:
        run_virtual(scenario())
    finally:
        logging.raiseExceptions = True
    assert any("reconnect_failed of pool 'test' failed" in r.message for r in caplog.records)


@virtually
async def test_a_reconnect_failed_that_takes_for_ever_ends_with_the_pool():
    began = await in_an_outage(10.0, reconnect_timeout=1.0, reconnect_failed=dawdles)
    assert now() == pytest.approx(began + 10.0)


# --- config_factory ----------------------------------------------------------------------------


@virtually
async def test_an_async_config_factory_is_awaited_with_the_collector_or_without():
    async def with_collector(collector: Any) -> dict[str, object]:
        await asyncio.sleep(1.0)
        return {"on_close": collector.on_close}

    async def without() -> dict[str, object]:
        await asyncio.sleep(1.0)
        return {"avatar_id": "a"}

    for factory in (with_collector, without, partial(without), lambda *_, **__: without()):
        script = Script()
        began = now()
        async with AvatarConnectionPool(1, factory, session_factory=script) as pool:
            assert await hold(pool, 0.0) == "scripted-0"
            assert now() - began == pytest.approx(1.0)


@each_kind
@pytest.mark.parametrize("is_async", [False, True])
def test_whatever_config_factory_raises_ends_initialize_with_an_error_of_ours(
    error: BaseException, *, is_async: bool
):
    def factory() -> dict[str, object]:
        raise error

    async def factory_later() -> dict[str, object]:
        await asyncio.sleep(0.1)
        raise error

    async def scenario() -> None:
        given: Any = factory_later if is_async else factory
        pool = AvatarConnectionPool(1, given, session_factory=Script())
        with pytest.raises(AvatarPoolError) as caught:
            await pool.initialize(timeout=3.0)
        chain = a_chain_of_causes(caught.value)
        assert str(caught.value)
        is_ours = isinstance(error, AvatarPoolError)
        assert len(chain) > 1 or is_ours
        # StopIteration cannot leave a coroutine, and is the cause of what does.
        assert error in chain or isinstance(error, StopIteration)

    run_virtual(scenario())


@each_kind
def test_borrowers_that_wait_while_config_factory_fails_all_learn_of_it_in_time(
    error: BaseException,
):
    async def scenario() -> None:
        failing: list[BaseException] = []

        def factory() -> dict[str, object]:
            for failure in failing:
                raise failure
            return {}

        script = Script()
        async with AvatarConnectionPool(1, factory, session_factory=script) as pool:
            async with pool.borrow():
                waiting = [asyncio.create_task(hold(pool, 0.0, timeout=2.0)) for _ in range(3)]
                await asyncio.sleep(0.1)
                failing.append(error)
                pool.drain()
            began = now()
            results = await asyncio.gather(*waiting, return_exceptions=True)
            assert now() - began <= 2.0
            with pytest.raises(AvatarPoolError) as caught:
                await hold(pool, 0.0, timeout=1.0)
            for result in [*results, caught.value]:
                assert isinstance(result, AvatarPoolError)
                a_chain_of_causes(result)
            assert len({id(result) for result in results}) == 3, "each has its own"
            failing.clear()
            await asyncio.sleep(60.0)
            assert await hold(pool, 0.0)

    run_virtual(scenario())


@virtually
async def test_a_config_factory_that_cancels_its_own_task_is_tried_again_with_growing_pauses():
    tried: list[float] = []

    async def factory() -> dict[str, object]:
        tried.append(now())
        await cancels_its_own_task()
        return {}

    pool = AvatarConnectionPool(
        1, factory, session_factory=Script(), max_idle=0.2, quarantine_timeout=0.2
    )
    with pytest.raises(PoolError, match="cancelled from within"):
        await pool.initialize(timeout=60.0)
    assert 5 < len(tried) < 15
    assert tried[-1] - tried[-2] > 5.0


@virtually
async def test_a_config_factory_that_takes_for_ever_is_given_up():
    tried: list[float] = []

    async def factory() -> dict[str, object]:
        tried.append(now())
        await dawdles()
        return {}

    with pytest.raises(PoolError, match=r"config_factory failed: no end within 30\.00 s"):
        await AvatarConnectionPool(1, factory, session_factory=Script()).initialize(timeout=100.0)
    assert now() == 30.0


class Lies:
    """No mapping, whatever it says."""

    __class__ = dict  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("nonsense", "sentence"),
    [
        (None, "it returned NoneType, not a SessionConfig or a mapping"),
        ("https://example.com", "it returned str, not"),
        (b"", "it returned bytes, not"),
        (7, "it returned int, not"),
        ([("avatar_id", "a")], "it returned list, not"),
        (SessionConfig, "it returned type, not"),
        ({1: "a"}, "it named a field 1"),
        (Lies(), "failed: "),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("vendor", [True, False])
@pytest.mark.parametrize("is_async", [True, False])
def test_nonsense_of_a_config_factory_is_told(
    nonsense: Any, sentence: str, *, vendor: bool, is_async: bool
):
    def factory() -> Any:
        return nonsense

    async def factory_later() -> Any:
        return nonsense

    async def scenario() -> None:
        options: dict[str, Any] = {"session_factory": Script()} if vendor else {}
        pool = AvatarConnectionPool(1, factory_later if is_async else factory, **options)
        with pytest.raises(AvatarPoolError, match=sentence):
            await pool.initialize(timeout=1.0)

    run_virtual(scenario())


# --- sessions of an SDK --------------------------------------------------------------------------


def scripted_with(**calls: Any) -> Callable[..., ScriptedSession]:
    """A script whose first session has other calls; ``first`` in its place makes no difference."""
    script = Script()

    def session_factory(**options: Any) -> ScriptedSession:
        session = script(**options)
        if len(script.sessions) == 1:
            for name, call in calls.items():
                setattr(session, name, call)
        return session

    session_factory.script = script  # type: ignore[attr-defined]
    return session_factory


def failing(error: BaseException, *, is_async: bool) -> Callable[..., Any]:
    """A call that raises: at once, or after a moment."""

    def at_once(*_: object) -> Any:
        raise error

    async def later(*_: object) -> Any:
        await asyncio.sleep(0.1)
        raise error

    return later if is_async else at_once


def a_pool(session_factory: Any, **options: Any) -> AvatarConnectionPool:
    options.setdefault("config_factory", no_options)
    return AvatarConnectionPool(1, session_factory=session_factory, name="test", **options)


@each_kind
@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("step", ["init", "start"])
def test_whatever_a_sessions_opening_raises_another_one_is_opened_in_its_place(
    step: str, error: BaseException, *, is_async: bool
):
    async def scenario() -> None:
        factory = scripted_with(**{step: failing(error, is_async=is_async)})
        async with a_pool(factory) as pool:
            await asyncio.sleep(60.0)
            assert await hold(pool, 0.0) == "scripted-1"
            first = factory.script.sessions[0]  # type: ignore[attr-defined]
            assert first.is_closed

    with contextlib.suppress(ConfigurationError, PoolError):
        run_virtual(scenario())


@each_kind
@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("call", ["send_audio", "interrupt"])
def test_whatever_a_sessions_calls_raise_borrowers_get_our_errors_alone_with_their_cause(
    call: str, error: BaseException, *, is_async: bool
):
    async def scenario() -> None:
        factory = scripted_with(**{call: failing(error, is_async=is_async)})
        async with a_pool(factory) as pool:
            with pytest.raises(AvatarPoolError) as caught:
                async with pool.borrow() as conn:
                    await conn.session.send_audio(AUDIO, end=True)
                    await conn.session.interrupt()
            chain = a_chain_of_causes(caught.value)
            assert error in chain or isinstance(error, StopIteration)
            assert chain[-1] is not caught.value or isinstance(error, AvatarPoolError)
            began = now()
            await hold(pool, 0.0, timeout=20.0)
            assert now() - began < 1.0, "parked for no time, or replaced at once"

    run_virtual(scenario())


@each_kind
def test_whatever_a_vendors_interrupt_raises_a_left_request_parks_no_connection(
    error: BaseException, caplog: pytest.LogCaptureFixture
):
    async def fails(*_: object) -> Any:
        raise error

    async def scenario() -> None:
        async with a_pool(scripted_with(interrupt=fails)) as pool:
            async with pool.borrow() as conn:
                await conn.session.send_audio(AUDIO, end=True)
            began = now()
            assert await hold(pool, 0.0) == "scripted-1"
            assert now() - began < 0.1

    run_virtual(scenario())
    assert "pool 'test' could not clean" in caplog.text


@each_kind
@pytest.mark.parametrize("is_async", [True, False])
def test_whatever_a_sessions_close_raises_the_pool_goes_on_and_logs_it(
    error: BaseException, *, is_async: bool, caplog: pytest.LogCaptureFixture
):
    async def scenario() -> None:
        async with a_pool(scripted_with(close=failing(error, is_async=is_async))) as pool:
            pool.drain()
            assert await hold(pool, 0.0) == "scripted-1"

    run_virtual(scenario())
    assert "session scripted-0 could not be closed" in caplog.text


@virtually
async def test_a_close_that_fails_does_not_hide_why_the_opening_did():
    async def fails() -> str:
        raise OSError("no route")

    async def close() -> None:
        raise RuntimeError("was never open")

    with pytest.raises(PoolError, match="no route"):
        await a_pool(scripted_with(start=fails, close=close), reconnect_timeout=0.0).initialize(0.2)


@pytest.mark.parametrize("step", ["init", "start", "interrupt", "close"])
def test_a_sessions_call_that_hangs_is_given_up(step: str):
    async def scenario() -> None:
        factory = scripted_with(**{step: dawdles})
        pool = a_pool(factory, quarantine_timeout=3.0)
        await pool.initialize(timeout=25.0)
        async with pool.borrow() as conn:
            await conn.session.send_audio(AUDIO, end=True)
        began = now()
        assert await hold(pool, 0.0) in {"scripted-0", "scripted-1"}
        assert now() - began <= 3.5
        await asyncio.sleep(20.0)
        began = now()
        await pool.close()
        assert now() - began <= 12.5
        # What hung was given up, and is not kept until the pool's end.
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(scenario())


@virtually
async def test_what_hangs_as_it_is_cleaned_is_not_kept_until_the_pools_end():
    async with a_pool(scripted_with(interrupt=dawdles), quarantine_timeout=3.0) as pool:
        before = asyncio.all_tasks()
        async with pool.borrow() as conn:
            await conn.session.send_audio(AUDIO, end=True)
        await asyncio.sleep(5.0)
        assert asyncio.all_tasks() <= before


@virtually
async def test_a_send_that_hangs_takes_as_long_as_its_borrower_lets_it():
    async with a_pool(scripted_with(send_audio=dawdles)) as pool:
        with pytest.raises(TimeoutError):
            async with pool.borrow() as conn, asyncio.timeout(50.0):
                await conn.session.send_audio(AUDIO)
        assert await hold(pool, 0.0) == "scripted-1"


NO_NAMES = [None, 7, b"r-1", "", "line\nbreak", "x" * 257]


@pytest.mark.parametrize("name", NO_NAMES, ids=repr)
def test_a_request_id_that_is_none_is_an_error_and_costs_the_session(name: object):
    async def gives(*_: object) -> object:
        return name

    async def scenario() -> None:
        async with a_pool(scripted_with(send_audio=gives)) as pool:
            with pytest.raises(AvatarSDKError, match=r"send_audio gave a \w+ for a request id"):
                async with pool.borrow() as conn:
                    await conn.session.send_audio(AUDIO)
            assert await hold(pool, 0.0) == "scripted-1"

    run_virtual(scenario())


@pytest.mark.parametrize("name", NO_NAMES, ids=repr)
def test_a_connection_id_that_is_none_fails_the_opening(name: object):
    async def gives(*_: object) -> object:
        return name

    async def scenario() -> None:
        factory = scripted_with(start=gives)
        async with a_pool(factory) as pool:
            assert await hold(pool, 0.0) == "scripted-1"
            assert factory.script.sessions[0].is_closed  # type: ignore[attr-defined]

    run_virtual(scenario())


@virtually
async def test_an_interrupts_answer_is_our_own_id_whatever_the_vendor_gives():
    async def gives(*_: object) -> object:
        return None

    async with a_pool(scripted_with(interrupt=gives)) as pool, pool.borrow() as conn:
        req_id = await conn.session.send_audio(AUDIO, end=True)
        assert await conn.session.interrupt() == req_id


@pytest.mark.parametrize(
    "told",
    [None, "the room is gone", 7, b"bytes", object(), Unspeakable(), Outcome()],
    ids=lambda told: type(told).__name__,
)
def test_whatever_a_session_gives_on_error_its_request_fails_with_an_error_of_ours(told: Any):
    async def scenario() -> None:
        script = Script()
        async with new_pool(script, 1) as pool, pool.borrow() as conn:
            await conn.session.send_audio(AUDIO, end=True)
            script.sessions[0].fail(told)
            with pytest.raises(AvatarSDKError) as caught:
                await conn.collector.wait()
            if isinstance(told, str):
                assert told in str(caught.value)
            if isinstance(told, BaseException):
                assert caught.value.__cause__ is told

    run_virtual(scenario())


@pytest.mark.parametrize(
    "message", [None, "text", 10**12, 7, [1, 2], object()], ids=lambda given: type(given).__name__
)
def test_what_are_no_bytes_fails_the_request_and_nothing_else(message: Any):
    async def scenario() -> None:
        script = Script()
        async with new_pool(script, 1) as pool:
            async with pool.borrow() as conn:
                await conn.session.send_audio(AUDIO, end=True)
                script.sessions[0].options["transport_frames"](message, False)
                with pytest.raises(AvatarSDKError, match="no bytes"):
                    await conn.collector.wait()
            assert await hold(pool, 0.0)

    run_virtual(scenario())


@each_kind
@pytest.mark.parametrize("name", ["transport_frames", "on_error", "on_close"])
def test_whatever_a_users_callback_raises_neither_the_sdk_nor_the_pool_suffers(
    name: str, error: BaseException, caplog: pytest.LogCaptureFixture
):
    def raising(*_: object) -> None:
        raise error

    async def scenario() -> None:
        script = Script()
        pool = AvatarConnectionPool(1, lambda: {name: raising}, session_factory=script)
        async with pool, pool.borrow() as conn:
            session = script.sessions[0]
            req_id = await conn.session.send_audio(AUDIO, end=True)
            session.frame(req_id, end=True)
            assert len(await conn.collector.wait()) == 1
            await conn.session.send_audio(AUDIO, end=True)
            session.fail(OSError("gone"))
            with pytest.raises(AvatarSDKError, match="gone"):
                await conn.collector.wait()
            await session.close()
            assert pool.total_count == 0

    logging.raiseExceptions = False  # of what cannot be shown
    try:
        run_virtual(scenario())
    finally:
        logging.raiseExceptions = True
    assert any("callback" in r.message and "failed" in r.message for r in caplog.records)


@each_kind
def test_whatever_a_session_factory_raises_is_an_error_of_ours(error: BaseException):
    def factory(**options: Any) -> Any:
        raise error

    async def scenario() -> None:
        with pytest.raises(AvatarPoolError) as caught:
            await a_pool(factory).initialize(timeout=1.0)
        chain = a_chain_of_causes(caught.value)
        assert error in chain or isinstance(error, StopIteration)

    run_virtual(scenario())


@pytest.mark.parametrize("missing", ["init", "start", "send_audio", "interrupt", "close"])
def test_a_session_that_lacks_a_call_is_none(missing: str):
    factory = scripted_with(**{missing: None})

    async def scenario() -> None:
        with pytest.raises(ConfigurationError, match="it returned ScriptedSession, no session"):
            await a_pool(factory).initialize(timeout=1.0)

    run_virtual(scenario())


# --- what their errors quote ------------------------------------------------------------------

SECRETS = {"api_key": "k3y-of-ours", "session_token": "t0ken-of-ours"}


def leaks(options: dict[str, Any]) -> str:
    return (
        f"wss://user:p4ss-word@example.com/ws?api_key={options['api_key']}&sessionKey=qu3ry-key "
        f"id {options['session_token']}, Authorization: Bearer b34rer"
    )


def leaking(where: str, fail: Callable[[str], Any]) -> Callable[..., ScriptedSession]:
    """Makes sessions that quote all they know, at one of their calls."""

    def session_factory(**options: Any) -> ScriptedSession:
        session = Script()(**options)

        async def call(*_: Any) -> None:
            fail(leaks(options))

        if where == "session_factory":
            fail(leaks(options))
        elif where == "on_error":
            session.before_send_returns = lambda _: session.fail(KeyError(leaks(options)))
        else:
            setattr(session, where, call)
        return session

    return session_factory


PLACES = ["session_factory", "init", "start", "send_audio", "on_error", "interrupt", "close"]


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("kind", [ConnectionError, ValueError, KeyError, Outcome])
def test_what_a_foreign_sessions_error_quotes_is_hidden_in_logs_messages_and_events(
    where: str, kind: type[BaseException], caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    seen: list[object] = []

    def fail(words: str) -> None:
        raise kind(words)

    async def scenario() -> None:
        pool = a_pool(
            leaking(where, fail),
            config_factory=lambda: dict(SECRETS),
            on_event=lambda event: seen.extend([event, str(event.error), repr(event.error)]),
        )
        try:
            await pool.initialize(timeout=0.5)
            async with pool.borrow() as conn:
                await conn.session.send_audio(AUDIO, end=True)
                await conn.session.interrupt()
                await conn.collector.wait()
        except AvatarPoolError as error:
            seen.extend([str(error), repr(error), vars(error)])
        seen.extend([pool.last_open_error, vars(pool.last_open_error or Exception())])
        await pool.close()

    run_virtual(scenario())
    text = "\n".join([*map(repr, seen), *map(str, seen), caplog.text])
    for secret in (*SECRETS.values(), "p4ss-word", "qu3ry-key", "b34rer"):
        assert secret not in text
    is_quoted = not (kind is Outcome and where == "session_factory")  # "cancelled from within"
    assert ("[hidden]" in text) is is_quoted


# --- trace_context and the rest of our own sessions' configuration are in test_session.py and
# --- tests/faults: they want real sockets.


@virtually
async def test_a_pool_that_closes_tells_waiters_though_their_check_fails():
    async def check(conn: PooledConnection) -> None:
        await asyncio.sleep(1.0)
        raise Outcome

    pool = new_pool(Script(), 1, check=check)
    await pool.initialize()
    borrower = asyncio.create_task(hold(pool, 0.0))
    await asyncio.sleep(0.5)
    await pool.close(timeout=0.1)
    with pytest.raises(PoolClosed):
        await borrower


@virtually
async def test_a_request_that_times_out_tells_the_vendors_doubt_as_its_cause():
    script = Script()
    async with new_pool(script, 1, request_timeout=5.0) as pool, pool.borrow() as conn:
        session = script.sessions[0]
        session.answers_abandoned = False
        await conn.session.send_audio(AUDIO, end=True)
        await conn.session.interrupt()
        await conn.session.send_audio(AUDIO, end=True)
        session.fail(OSError("whose"))
        with pytest.raises(RequestTimeout) as caught:
            await conn.collector.wait()
        assert isinstance(caught.value.__cause__, AvatarSDKError)
        assert isinstance(caught.value.__cause__.__cause__, OSError)
