"""Mostly without an event loop: a hand-made `Wakeup`, and coroutines stepped by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from math import nan
from typing import Any

import pytest

from avatarpool.client.wiring import Nowhere
from avatarpool.exceptions import (
    AvatarSDKError,
    AvatarSDKErrorCode,
    ConfigurationError,
    RequestTimeout,
    SessionStateError,
)
from avatarpool.pool.collection import CollectionLimits
from avatarpool.pool.collector import AnimationCollector
from avatarpool.protocol.codec import decode, encode
from avatarpool.protocol.messages import AnimationFrame, ServerError


class Bell:
    """A `Wakeup` that sleeps for one step of its coroutine."""

    def __init__(self) -> None:
        self.rings = 0
        self.timeout: float | None = None

    def notify(self) -> None:
        self.rings += 1

    def now(self) -> float:
        return 0.0

    async def wait(self, timeout: float | None) -> None:
        self.timeout = timeout
        await Step()


class Step:
    def __await__(self) -> Generator[None, None, None]:
        yield


class Bells:
    """Makes bells and keeps them."""

    def __init__(self) -> None:
        self.made: list[Bell] = []

    def __call__(self) -> Bell:
        self.made.append(Bell())
        return self.made[-1]


def step(coroutine):
    """Run a coroutine until it sleeps (None) or returns its value."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    return None


def frame(number: int, *, end: bool = False) -> AnimationFrame:
    return AnimationFrame("r-1", end, animation=bytes([number]))


def add(collector: AnimationCollector, arrived: AnimationFrame) -> None:
    """What a connection does, which keeps the collection that `begin` gave it."""
    collector._current.add(arrived)


FAILURE = AvatarSDKError(AvatarSDKErrorCode.upstreamError, "gone")


@pytest.fixture
def bells() -> Bells:
    return Bells()


@pytest.fixture
def collector(bells: Bells) -> AnimationCollector:
    return AnimationCollector(bells, CollectionLimits(timeout=9.0))


# --- waiting ---------------------------------------------------------------------


def test_waiting_ends_with_the_last_frame_and_wakes_once(collector, bells):
    collector.begin("r-1")
    waiting = collector.wait(2.0)
    assert step(waiting) is None
    (bell,) = bells.made
    assert bell.timeout == 2.0
    for number in range(3):
        add(collector, frame(number))
    assert bell.rings == 0
    add(collector, frame(3, end=True))
    assert bell.rings == 1
    assert step(waiting) == [frame(0), frame(1), frame(2), frame(3, end=True)]


def test_waiting_may_begin_before_the_request_does(collector):
    waiting = collector.wait()
    step(waiting)
    collector.begin("r-1")
    add(collector, frame(0, end=True))
    assert step(waiting) == [frame(0, end=True)]


def test_waiting_for_what_is_over_needs_no_wakeup(collector, bells):
    collector.begin("r-1")
    add(collector, frame(0, end=True))
    assert step(collector.wait()) == [frame(0, end=True)]
    assert bells.made == []


def test_the_default_timeout_is_the_pools(collector, bells):
    waiting = collector.wait()
    step(waiting)
    assert bells.made[0].timeout == 9.0
    waiting.close()


def test_a_timeout_names_the_request_the_number_and_what_had_come(collector):
    collector.begin("r-1")
    add(collector, frame(0))
    waiting = collector.wait(2.5)
    step(waiting)
    with pytest.raises(RequestTimeout, match="request r-1") as caught:
        waiting.throw(TimeoutError())
    error = caught.value
    assert (error.req_id, error.timeout, error.frames) == ("r-1", 2.5, 1)
    assert isinstance(error, TimeoutError)


def test_a_timeout_without_a_request_says_that_none_was_sent(collector):
    waiting = collector.wait(0.0)
    step(waiting)
    with pytest.raises(RequestTimeout, match=r"no request was sent within 0\.00 s"):
        waiting.throw(TimeoutError())


@pytest.mark.parametrize("is_doubted", [True, False])
@pytest.mark.parametrize("streams", [True, False])
def test_a_timeout_has_the_error_that_may_have_been_about_it_as_its_cause(
    collector, *, is_doubted: bool, streams: bool
):
    collection = collector.begin("r-1")
    waiting = anext(collector.stream(2.5)) if streams else collector.wait(2.5)
    step(waiting)
    if is_doubted:
        collection.doubt = FAILURE
    late = TimeoutError()
    with pytest.raises(RequestTimeout) as caught:
        waiting.throw(late)
    assert caught.value.__cause__ is (FAILURE if is_doubted else late)


def test_a_doubt_fails_nobody_whose_frames_come(collector):
    collector.begin("r-1").doubt = FAILURE
    waiting = collector.wait()
    step(waiting)
    add(collector, frame(0, end=True))
    assert step(waiting) == [frame(0, end=True)]
    assert collector.error is None


def test_a_doubt_is_about_one_request_alone(collector):
    collector.begin("r-1").doubt = FAILURE
    assert collector.begin("r-2").doubt is None


@pytest.mark.parametrize(("seen", "awaited"), [(0, "first frame"), (1, "next frame")])
def test_a_watchdog_that_bites_has_the_doubted_error_as_its_cause_too(bells, seen, awaited):
    limits = CollectionLimits(first_frame_timeout=1.0, frame_gap_timeout=1.0)
    collector = AnimationCollector(bells, limits)
    collection = collector.begin("r-1")
    for number in range(seen):
        add(collector, frame(number))
    waiting = collector.wait()
    step(waiting)
    collection.doubt = FAILURE
    with pytest.raises(RequestTimeout) as caught:
        waiting.throw(TimeoutError())
    assert caught.value.awaited == awaited
    assert caught.value.__cause__ is FAILURE


def test_a_last_frame_in_the_moment_of_the_timeout_counts(collector):
    collector.begin("r-1")
    waiting = collector.wait(1.0)
    step(waiting)
    add(collector, frame(0, end=True))
    with pytest.raises(StopIteration) as returned:
        waiting.throw(TimeoutError())
    assert returned.value.value == [frame(0, end=True)]


def test_a_request_goes_on_after_a_timeout(collector):
    collector.begin("r-1")
    waiting = collector.wait(1.0)
    step(waiting)
    with pytest.raises(RequestTimeout):
        waiting.throw(TimeoutError())
    add(collector, frame(0, end=True))
    assert step(collector.wait()) == [frame(0, end=True)]


def test_cancelling_the_waiting_leaves_no_waiter_behind(collector, bells):
    collector.begin("r-1")
    waiting = collector.wait()
    step(waiting)
    with pytest.raises(asyncio.CancelledError):
        waiting.throw(asyncio.CancelledError())
    add(collector, frame(0, end=True))
    assert bells.made[0].rings == 0


def test_a_failure_reaches_every_waiter(collector):
    collector.begin("r-1")
    waiting = [collector.wait(), collector.wait()]
    for one in waiting:
        step(one)
    collector.finish(FAILURE)
    assert collector.error is FAILURE
    for one in [*waiting, collector.wait()]:
        with pytest.raises(AvatarSDKError, match="gone"):
            step(one)


def test_what_has_come_stays_readable_after_a_failure(collector):
    collector.begin("r-1")
    add(collector, frame(0))
    collector.finish(FAILURE)
    assert collector.frames == [frame(0)]


def test_a_collection_ends_once(collector):
    collector.begin("r-1")
    add(collector, frame(0, end=True))
    collector.finish(FAILURE)
    assert collector.error is None


def test_a_finish_without_an_error_gives_what_has_come(collector):
    collector.begin("r-1")
    add(collector, frame(0))
    collector.finish()
    assert step(collector.wait()) == [frame(0)]


# --- one request after another ---------------------------------------------------


def test_a_new_request_starts_a_fresh_collection(collector):
    collector.begin("r-1")
    add(collector, frame(0, end=True))
    first = collector.frames
    collector.begin("r-2")
    assert collector.req_id == "r-2"
    assert collector.frames == []
    assert not collector.is_done
    assert first == [frame(0, end=True)]


def test_whoever_waits_for_a_request_that_was_left_behind_is_told(collector):
    collector.begin("r-1")
    waiting = collector.wait()
    step(waiting)
    collector.begin("r-2")
    with pytest.raises(SessionStateError, match="request r-1 was followed by r-2"):
        step(waiting)
    assert collector.error is None


# --- iterating -------------------------------------------------------------------


def test_frames_are_given_as_they_arrive(collector):
    iterator = aiter(collector)
    first = anext(iterator)
    assert step(first) is None
    collector.begin("r-1")
    add(collector, frame(0))
    add(collector, frame(1, end=True))
    assert step(first) == frame(0)
    assert step(anext(iterator)) == frame(1, end=True)
    with pytest.raises(StopAsyncIteration):
        step(anext(iterator))


def test_iterating_over_what_is_over_gives_all_of_it(collector):
    collector.begin("r-1")
    add(collector, frame(0))
    add(collector, frame(1, end=True))
    iterator = aiter(collector)
    assert [step(anext(iterator)), step(anext(iterator))] == collector.frames


def test_iterating_gives_what_has_come_and_then_the_error(collector):
    collector.begin("r-1")
    iterator = aiter(collector)
    first = anext(iterator)
    step(first)
    add(collector, frame(0))
    collector.finish(FAILURE)
    assert step(first) == frame(0)
    with pytest.raises(AvatarSDKError, match="gone"):
        step(anext(iterator))


def test_a_spurious_wakeup_gives_no_frame(collector):
    iterator = aiter(collector)
    first = anext(iterator)
    step(first)
    assert step(first) is None
    add(collector, frame(0, end=True))
    assert step(first) == frame(0, end=True)


def test_an_iteration_stays_with_its_request(collector):
    collector.begin("r-1")
    add(collector, frame(0))
    iterator = aiter(collector)
    step(anext(iterator))
    add(collector, frame(1, end=True))
    collector.begin("r-2")
    add(collector, frame(9))
    assert step(anext(iterator)) == frame(1, end=True)
    with pytest.raises(StopAsyncIteration):
        step(anext(iterator))


def test_leaving_an_iteration_leaves_no_waiter_behind(collector, bells):
    collector.begin("r-1")
    add(collector, frame(0))
    iterator = aiter(collector)
    step(anext(iterator))
    step(iterator.aclose())
    add(collector, frame(1))
    assert bells.made[0].rings == 0


def read_to_its_end(collector: AnimationCollector, req_id: str) -> None:
    collector.begin(req_id)
    add(collector, frame(0, end=True))
    assert step(collector.wait()) == [frame(0, end=True)]


def test_a_reader_that_starts_before_the_second_request_gets_that_requests_frames(collector):
    collector.goes_on = True  # as on a borrowed connection
    read_to_its_end(collector, "r-1")
    iterator = aiter(collector)
    reading = anext(iterator)
    assert step(reading) is None, "it waits, and gives nothing of the first"
    collector.begin("r-2")
    add(collector, frame(7))
    assert step(reading) == frame(7)
    add(collector, frame(8, end=True))
    assert step(anext(iterator)) == frame(8, end=True)
    with pytest.raises(StopAsyncIteration):
        step(anext(iterator))


def test_several_readers_may_wait_for_the_next_request(collector):
    collector.goes_on = True  # as on a borrowed connection
    read_to_its_end(collector, "r-1")
    readings = [anext(aiter(collector)) for _ in range(3)]
    assert [step(reading) for reading in readings] == [None] * 3
    collector.begin("r-2")
    add(collector, frame(7))
    assert [step(reading) for reading in readings] == [frame(7)] * 3


def test_a_reader_of_a_request_that_nobody_has_read_gets_that_one(collector):
    collector.begin("r-1")
    add(collector, frame(0, end=True))
    assert step(anext(aiter(collector))) == frame(0, end=True)


def test_a_request_that_was_iterated_over_has_been_read(collector):
    collector.goes_on = True  # as on a borrowed connection
    collector.begin("r-1")
    add(collector, frame(0, end=True))
    iterator = aiter(collector)
    step(anext(iterator))
    with pytest.raises(StopAsyncIteration):
        step(anext(iterator))
    assert step(anext(aiter(collector))) is None


def test_whoever_waits_speaks_of_the_current_request_though_another_is_awaited(collector):
    collector.goes_on = True  # as on a borrowed connection
    read_to_its_end(collector, "r-1")
    step(anext(aiter(collector)))
    assert collector.req_id == "r-1"
    assert collector.is_done
    assert not collector.is_settled
    assert step(collector.wait()) == [frame(0, end=True)]


def test_a_reader_whose_next_request_never_comes_learns_it_with_the_return(collector):
    collector.goes_on = True  # as on a borrowed connection
    read_to_its_end(collector, "r-1")
    reading = anext(aiter(collector))
    step(reading)
    collector.finish(FAILURE)
    with pytest.raises(AvatarSDKError, match="gone"):
        step(reading)
    assert collector.error is None, "the first one was answered"


def test_after_the_return_a_reader_gets_the_last_request_again(collector):
    read_to_its_end(collector, "r-1")
    collector.is_closed = True
    assert step(anext(aiter(collector))) == frame(0, end=True)


WRONG_TIMES: list[Any] = ["5", nan, [], b"1"]


@pytest.mark.parametrize("is_done", [False, True])
@pytest.mark.parametrize("wrong", WRONG_TIMES)
def test_a_time_that_is_no_number_is_refused_though_there_is_nothing_to_wait_for(
    collector, wrong, is_done
):
    collector.begin("r-1")
    add(collector, frame(0, end=is_done))
    with pytest.raises(ConfigurationError, match=r"timeout .* must be a number"):
        step(collector.wait(wrong))
    if wrong:
        with pytest.raises(ConfigurationError, match=r"timeout .* must be a number"):
            step(anext(collector.stream(wrong)))
        with pytest.raises(ConfigurationError, match=r"patience .* must be a number"):
            step(anext(collector.stream(patience=wrong)))


# --- a foreign session's callbacks ----------------------------------------------


class Sink:
    def __init__(self) -> None:
        self.heard: list[object] = []

    def message(self, data: bytes) -> None:
        self.heard.append(data)

    def failed(self, error: Exception) -> None:
        self.heard.append(error)

    def ended(self) -> None:
        self.heard.append("ended")


def test_callbacks_lead_to_the_sink_and_are_counted(collector):
    collector.sink = sink = Sink()
    collector.transport_frame(b"message", False)
    collector.on_error(FAILURE)
    collector.on_close()
    assert sink.heard == [b"message", FAILURE, "ended"]
    assert collector.calls == 3


def test_callbacks_that_lead_nowhere_do_nothing_but_count(collector):
    collector.sink = Nowhere()
    collector.transport_frame(b"message", True)
    collector.on_error(FAILURE)
    collector.on_close()
    assert collector.calls == 3
    assert collector.frames == []
    assert collector.error is None


def test_a_collector_shows_what_it_collects(collector):
    assert repr(collector) == "<AnimationCollector None collecting, 0 frames>"
    collector.begin("r-1")
    add(collector, frame(0, end=True))
    assert repr(collector) == "<AnimationCollector r-1 done, 1 frames>"
    collector.begin("r-2")
    collector.finish(FAILURE)
    assert repr(collector) == "<AnimationCollector r-2 failed, 0 frames>"


@pytest.mark.parametrize(
    "limits",
    [CollectionLimits(max_frames=2), CollectionLimits(max_frame_bytes=len(frame(0)) * 3 - 1)],
)
def test_a_request_that_brings_too_much_fails_and_grows_no_more(bells, limits):
    collector = AnimationCollector(bells, limits)
    collector.begin("r-1")
    for number in range(5):
        add(collector, frame(number))
    assert len(collector.frames) == 2
    assert isinstance(collector.error, AvatarSDKError)
    assert collector.error.code is AvatarSDKErrorCode.protocolError
    assert collector.error.req_id == "r-1"


def test_whole_messages_count_among_a_requests_bytes(bells):
    collector = AnimationCollector(bells, CollectionLimits(max_frame_bytes=100))
    collector.begin("r-1")
    add(collector, AnimationFrame("r-1", avatar_id="a" * 60))
    unknown = decode(encode(AnimationFrame("r-1")) + b"\x7a\x3c" + bytes(60))  # a field of its
    assert isinstance(unknown, AnimationFrame)
    add(collector, unknown)
    assert len(collector.frames) == 1
    assert collector.is_done


# --- wired by hand -------------------------------------------------------------------


def of(req_id: str, number: int = 0, *, end: bool = False) -> AnimationFrame:
    return AnimationFrame(req_id, end, animation=bytes([number]))


def pass_on(collector: AnimationCollector, *frames: AnimationFrame) -> None:
    for each in frames:
        collector.transport_frame(bytes(each), each.end)


async def test_a_collector_without_arguments_collects_what_its_callbacks_are_told():
    collector = AnimationCollector()
    assert not collector.last
    waiting = asyncio.create_task(collector.wait(timeout=20))
    await asyncio.sleep(0)
    pass_on(collector, of("a", 1))
    assert not collector.last
    pass_on(collector, of("a", 2, end=True))
    assert collector.last
    assert await waiting == collector.frames == [of("a", 1), of("a", 2, end=True)]
    assert [frame async for frame in collector] == collector.frames
    assert collector.error is None


async def test_a_collector_wired_by_hand_waits_no_longer_than_it_is_told():
    with pytest.raises(TimeoutError):
        await AnimationCollector().wait(timeout=0.01)


def test_after_a_reset_the_next_requests_frames_are_collected_and_late_ones_dropped():
    collector = AnimationCollector()
    collector.reset()  # of nothing
    pass_on(collector, of("a"), of("a", 1))
    collector.reset()
    assert (collector.frames, collector.last, collector.is_done) == ([], False, False)
    pass_on(collector, of("a", 2), of("b", 3), of("a", 4, end=True), of("b", 5, end=True))
    assert collector.frames == [of("b", 3), of("b", 5, end=True)]
    assert collector.last


def test_a_frame_of_another_request_begins_a_collection_of_its_own():
    collector = AnimationCollector()
    pass_on(collector, of("a", end=True), of("b"))
    assert collector.frames == [of("b")]
    pass_on(collector, of("c"), of("b", 1, end=True), of("c", 2, end=True))
    assert collector.frames == [of("c"), of("c", 2, end=True)]


def test_only_the_latest_of_those_that_were_left_are_remembered():
    collector = AnimationCollector()
    for number in range(200):
        pass_on(collector, of(f"r-{number}"))
        collector.reset()
    assert len(collector._left) == 64


async def test_whoever_waits_as_a_collector_is_reset_is_told():
    collector = AnimationCollector()
    pass_on(collector, of("a"))
    waiting = asyncio.create_task(collector.wait())
    await asyncio.sleep(0)
    collector.reset()
    with pytest.raises(SessionStateError, match="reset before the last frame"):
        await waiting


async def test_the_first_error_is_kept_and_raised_even_a_foreign_one():
    collector = AnimationCollector()
    foreign = RuntimeError("a vendor's")
    collector.on_error(foreign)
    collector.on_close()
    assert collector.error is foreign
    with pytest.raises(RuntimeError, match="a vendor's"):
        await collector.wait()
    collector.reset()
    assert collector.error is None


def test_an_error_of_another_request_is_not_the_current_ones():
    collector = AnimationCollector()
    pass_on(collector, of("a"))
    collector.on_error(AvatarSDKError(AvatarSDKErrorCode.invalidRequest, "", req_id="b"))
    assert collector.error is None
    collector.reset()
    collector.on_error(AvatarSDKError(AvatarSDKErrorCode.invalidRequest, "", req_id="a"))
    assert collector.error is None
    mine = AvatarSDKError(AvatarSDKErrorCode.invalidRequest, "", req_id="c")
    collector.on_error(mine)
    assert collector.error is mine


def test_the_end_of_the_session_fails_what_is_not_complete_and_nothing_else():
    collector = AnimationCollector()
    pass_on(collector, of("a", end=True))
    collector.on_close()
    assert collector.error is None
    collector.reset()
    collector.on_close()
    assert isinstance(collector.error, AvatarSDKError)
    assert collector.error.code is AvatarSDKErrorCode.connectionClosed


def test_bytes_that_are_no_message_fail_and_other_messages_are_no_frames():
    collector = AnimationCollector()
    pass_on(collector, of("a"))
    collector.transport_frame(encode(ServerError(3, "no")), False)
    assert collector.frames == [of("a")]
    collector.transport_frame(b"\xff", False)
    assert isinstance(collector.error, AvatarSDKError)
    assert collector.error.code is AvatarSDKErrorCode.protocolError


def test_the_pool_knows_of_its_requests_so_that_a_reset_changes_nothing_there(collector):
    collector.begin("r-1")
    add(collector, frame(0))
    collector.reset()
    assert collector.frames == [frame(0)]
    assert collector.req_id == "r-1"
