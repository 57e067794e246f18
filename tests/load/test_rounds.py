"""Rounds through a pool whose every answer the test decides."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from avatarpool.exceptions import (
    AvatarSDKError,
    AvatarSDKErrorCode,
    PoolTimeout,
    RequestTimeout,
)
from avatarpool.load import (
    RoundCompleted,
    RoundPause,
    RoundStarted,
    load_speech_clip,
    process_audio,
    run_concurrent_requests,
    run_multiple_rounds,
)


class FakeConnection:
    """A connection, its session and its collector in one."""

    def __init__(self, name, answer):
        self.connection_id = name
        self.session = self.collector = self
        self.frames = []
        self._answer = answer
        self._sent = 0

    async def send_audio(self, audio, *, end=False):
        assert end
        self.frames = []
        self._sent += 1
        return f"{self.connection_id}-{self._sent}"

    async def wait(self, timeout=None):
        await self._answer(self, timeout)
        return self.frames


async def three_frames(conn, timeout):
    await asyncio.sleep(0)
    conn.frames = [b"1", b"2", b"3"]


class FakePool:
    """FIFO lending without any network."""

    def __init__(self, size=3, answer=three_frames):
        self.idle = asyncio.Queue()
        self.total_count = size
        self.timeouts = []
        for index in range(size):
            self.idle.put_nowait(FakeConnection(f"conn{index}", answer))

    @property
    def available_count(self):
        return self.idle.qsize()

    @asynccontextmanager
    async def borrow(self, timeout=None):
        self.timeouts.append(timeout)
        conn = await self.idle.get()
        try:
            yield conn
        finally:
            self.idle.put_nowait(conn)


async def test_a_request_tells_who_served_it_and_what_came():
    pool = FakePool(size=1)
    result = await process_audio(pool, b"\0\0")
    assert result.is_ok
    assert (result.connection_id, result.request_id, result.frames) == ("conn0", "conn0-1", 3)
    assert 0 <= result.wait_ms <= result.duration_ms
    assert pool.timeouts == [45.0]


async def test_the_specifications_gather_over_process_audio_works():
    pool = FakePool()
    results = await asyncio.gather(*[process_audio(pool, b"\0\0") for _ in range(5)])
    assert [result.is_ok for result in results] == [True] * 5


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (
            AvatarSDKError(AvatarSDKErrorCode.connectionClosed, "the connection was closed"),
            "connectionClosed",
            "the connection was closed",
        ),
        (
            RequestTimeout("r1", 2.0, 7),
            "RequestTimeout",
            "request r1 gave no last frame within 2.00 s (7 frames so far)",
        ),
        (ValueError("two\n  lines"), "ValueError", "two lines"),
        (ValueError(), "ValueError", "ValueError"),
    ],
)
async def test_a_failed_request_is_a_result_with_its_reason(error, kind, sentence):
    async def fail(conn, timeout):
        conn.frames = [b"1"]
        raise error

    pool = FakePool(size=1, answer=fail)
    result = await process_audio(pool, b"\0\0")
    assert not result.is_ok
    assert (result.error_kind, result.error) == (kind, sentence)
    assert (result.connection_id, result.frames) == ("conn0", 1)
    assert pool.available_count == 1


async def test_a_request_that_got_no_connection_names_none():
    class Exhausted(FakePool):
        def borrow(self, timeout=None):
            raise PoolTimeout("pool gave no connection within 2.00 s")

    result = await process_audio(Exhausted(), b"\0\0", timeout=2.0)
    assert (result.connection_id, result.request_id, result.frames) == (None, None, 0)
    assert result.error_kind == "PoolTimeout"
    assert result.wait_ms == result.duration_ms


async def test_failures_do_not_stop_the_other_requests():
    async def every_second_fails(conn, timeout):
        if conn.connection_id == "conn1":
            raise AvatarSDKError(AvatarSDKErrorCode.upstreamError, "later")
        await three_frames(conn, timeout)

    results = await run_concurrent_requests(FakePool(size=2, answer=every_second_fails), b"\0\0", 6)
    assert len(results) == 6
    assert {r.connection_id: r.is_ok for r in results} == {"conn0": True, "conn1": False}


async def test_rounds_report_every_step_in_order():
    steps, finished = [], []
    rounds = await run_multiple_rounds(
        pool=FakePool(),
        audio=b"\0\0",
        num_rounds=3,
        requests_per_round=5,
        interval_seconds=0,
        on_progress=steps.append,
        on_result=finished.append,
    )
    kinds = [RoundStarted, RoundCompleted, RoundPause]
    assert [type(step) for step in steps] == (kinds * 3)[:-1]
    assert [result.number for result in rounds] == [1, 2, 3]
    assert [(result.ok, result.failed) for result in rounds] == [(5, 0)] * 3
    assert [request for result in rounds for request in result.requests] == finished
    assert [step.available for step in steps if isinstance(step, RoundStarted)] == [3, 3, 3]
    assert rounds[0].elapsed < rounds[1].elapsed < rounds[2].elapsed


async def test_a_cancelled_run_reports_what_was_finished_and_leaves_no_task():
    stuck = asyncio.Event()

    async def third_hangs(conn, timeout):
        if conn.connection_id == "conn2":
            stuck.set()
            await asyncio.get_running_loop().create_future()
        await three_frames(conn, timeout)

    pool, steps = FakePool(answer=third_hangs), []
    finished = asyncio.Queue()
    run = asyncio.create_task(
        run_multiple_rounds(
            pool=pool,
            audio=b"\0\0",
            num_rounds=2,
            requests_per_round=5,
            on_progress=steps.append,
            on_result=finished.put_nowait,
        )
    )
    await stuck.wait()
    for _ in range(4):
        await finished.get()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert [type(step) for step in steps] == [RoundStarted, RoundCompleted]
    assert steps[1].result.ok == 4
    assert pool.available_count == 3
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_run_cancelled_between_rounds_keeps_the_rounds_before():
    steps = asyncio.Queue()
    run = asyncio.create_task(
        run_multiple_rounds(pool=FakePool(), audio=b"\0\0", on_progress=steps.put_nowait)
    )
    seen = [await steps.get() for _ in range(3)]
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert [type(step) for step in seen] == [RoundStarted, RoundCompleted, RoundPause]
    assert steps.empty()


@pytest.mark.parametrize(
    "wrong", [{"num_rounds": 0}, {"requests_per_round": 0}, {"interval_seconds": -1.0}]
)
async def test_a_run_of_nothing_is_refused_with_its_numbers(wrong):
    with pytest.raises(ValueError, match="at least one round of one request"):
        await run_multiple_rounds(pool=FakePool(), audio=b"\0\0", **wrong)


def test_the_shipped_clip_is_three_seconds_of_pcm():
    assert 2.9 < len(load_speech_clip()) / 2 / 16000 < 3.1
