"""Whoever is interrupted costs no connection, however its service stops."""

from __future__ import annotations

import asyncio

import pytest
from faults.barge_in import FRAMES, PATIENCE, SIZE, Talks, barge_ins, black_holes, talks
from faults.laboratory import SOON, ids, until
from faults.speaker import Manner

from avatarpool import AvatarSDKError, RequestTimeout
from avatarpool.pool import fading

NEVER = 600.0


@pytest.fixture
def few_pauses(monkeypatch: pytest.MonkeyPatch):
    """A busy machine makes pauses between frames that would be taken for their end."""
    monkeypatch.setattr(fading, "QUIET", 0.9)


async def test_barge_ins_cost_no_session_and_mix_no_frame():
    outcomes = await asyncio.gather(
        *(barge_ins(manner, 50, seed=1, quarantine_timeout=PATIENCE) for manner in Manner)
    )
    for manner, outcome in zip(Manner, outcomes, strict=True):
        assert (outcome.lost, outcome.mixed, outcome.failed) == (0, 0, []), manner
        assert max(outcome.waits) < SOON, manner  # nobody waited for the quarantine's end


async def test_half_open_peers_are_replaced_by_the_ping_that_follows_an_interrupt():
    outcome = await black_holes(rounds=2)
    assert outcome.failed == []
    assert (outcome.lost, outcome.mixed) == (2 * SIZE, 0)
    assert max(outcome.waits) < SOON


async def leave(each: Talks, *, frames: int = FRAMES, with_frame: bool = False) -> str:
    """Leave a request, before its first frame or after it; return the connection."""
    async with each.borrowed() as conn:
        await each.begin(conn, frames=frames)
        if with_frame:
            await until(lambda: conn.collector.frames)
        return conn.connection_id


async def until_idle(each: Talks) -> str:
    """Wait until the only session is free again; return its name."""
    async with asyncio.timeout(SOON):
        await until(lambda: each.pool.available_count == 1)
    [name] = ids(each.pool)
    return name


async def test_before_the_first_frame_silence_is_waited_for_while_nobody_else_waits():
    async with talks(Manner.STOPS, size=1, quarantine_timeout=1.0) as each:
        each.peer.first_frame = NEVER
        loop = asyncio.get_running_loop()
        left_at, name = loop.time(), await leave(each)
        assert await until_idle(each) != name
        assert loop.time() - left_at >= 1.0


async def test_before_the_first_frame_a_session_is_lent_to_whoever_gets_no_other():
    async with talks(Manner.STOPS, size=1, quarantine_timeout=PATIENCE) as each:
        each.peer.first_frame = NEVER
        names = {await leave(each)}
        for _ in range(3):
            async with asyncio.timeout(SOON):
                names.add(await leave(each))
        assert len(names) == 1


async def test_an_answered_ping_of_long_ago_lends_nobody_a_half_open_peer():
    async with talks(Manner.STOPS, size=1, quarantine_timeout=PATIENCE) as each:
        each.peer.first_frame = NEVER
        name = await leave(each)
        await asyncio.sleep(1.5)
        each.way.swallow()
        each.peer.first_frame = 0.0
        async with asyncio.timeout(SOON):
            async with each.borrowed() as conn:
                assert conn.connection_id != name
                await each.hear(conn, await each.begin(conn))
        assert each.outcome.failed == []


async def test_a_peer_that_vanishes_while_frames_flow_on_is_not_taken_for_one_that_stopped(
    few_pauses: None,
):
    async with talks(Manner.FLOWS, size=1, quarantine_timeout=PATIENCE) as each:
        name = await leave(each, frames=1000, with_frame=True)
        await asyncio.sleep(1.5)
        assert each.pool.get_stats()["connections_draining"] == 1
        each.way.swallow()
        assert await until_idle(each) != name


async def test_frames_that_come_after_the_pong_and_stop_are_no_reason_to_replace_a_session():
    async with talks(Manner.STOPS, size=1, quarantine_timeout=PATIENCE) as each:
        each.peer.first_frame = 0.2
        each.peer.lag = 10
        name = await leave(each)
        assert await until_idle(each) == name
        assert each.pool.get_stats()["frames_dropped"]


async def test_frames_of_an_earlier_request_say_nothing_of_the_one_that_was_left(
    few_pauses: None,
):
    async with talks(Manner.FLOWS, size=1, quarantine_timeout=PATIENCE) as each:
        async with each.borrowed() as conn:
            await each.begin(conn)
            await until(lambda: conn.collector.frames)
            await each.interrupt(conn)
            each.peer.first_frame = 2 * fading.QUIET  # of the next one, once this one is over
            await each.begin(conn)
        await until_idle(each)
        stats = each.pool.get_stats()
        assert stats["frames_received"] + stats["frames_dropped"] == 2 * FRAMES
        assert stats["connections_retired"] == 0


async def test_frames_between_an_interrupt_and_the_return_are_frames():
    async with talks(Manner.STOPS, size=1, quarantine_timeout=PATIENCE) as each:
        each.peer.lag = 5
        async with each.borrowed() as conn:
            await each.begin(conn)
            await each.interrupt(conn)
            await until(lambda: each.pool.get_stats()["frames_dropped"] == 5)  # it has stopped
            name = conn.connection_id
        assert await until_idle(each) == name


async def test_what_its_borrower_has_interrupted_is_not_interrupted_again():
    async with talks(Manner.STOPS, size=1) as each:
        for is_last in (True, False):
            async with each.borrowed() as conn:
                await each.begin(conn, end=is_last)
                await until(lambda: conn.collector.frames)
                await each.interrupt(conn)
            await until_idle(each)
        assert len(each.peer.interrupts) == len(set(each.peer.interrupts)) == 2


async def test_an_error_for_an_interrupt_that_came_too_late_fails_nobody_else():
    async with talks(Manner.FAILS, size=1) as each:
        for _ in range(5):
            async with each.borrowed() as conn:
                await each.hear(conn, await each.begin(conn))
                await each.interrupt(conn)
        assert each.outcome.failed == []
        assert each.outcome.barge_ins == 0


async def test_an_interrupt_that_is_asked_for_twice_is_sent_once_and_fails_nobody_else():
    async with talks(Manner.FAILS, size=1) as each:
        async with each.borrowed() as conn:
            await each.begin(conn)
            await each.interrupt(conn)
            await conn.session.interrupt()
            await each.hear(conn, await each.begin(conn))
        assert each.outcome.failed == []
        assert len(each.peer.interrupts) == 1


async def test_an_error_for_an_interrupt_is_the_cause_if_the_next_request_times_out():
    async with talks(Manner.FAILS, size=1) as each:
        async with each.borrowed() as conn:
            await each.begin(conn)
            await each.interrupt(conn)
            each.peer.first_frame = NEVER
            await each.begin(conn)
            with pytest.raises(RequestTimeout) as caught:
                await conn.collector.wait(2.0)
            assert isinstance(caught.value.__cause__, AvatarSDKError)
            assert caught.value.__cause__.server_code == "3"
