"""How long the frames of a request may take, on a borrowed connection."""

from __future__ import annotations

import asyncio
import math

import pytest
from clock import now, virtually
from scripted import Script, answer_at, new_pool

from avatarpool import RequestTimeout


@virtually
async def test_a_first_frame_that_does_not_come_in_time_ends_the_waiting():
    script = Script()
    async with new_pool(script, 1, first_frame_timeout=2.0) as pool, pool.borrow() as conn:
        await conn.session.send_audio(b"\0\0", end=True)
        with pytest.raises(RequestTimeout, match=r"no first frame within 2\.00 s") as caught:
            await conn.collector.wait()
        assert caught.value.awaited == "first frame"
        assert now() == pytest.approx(2.0)


@virtually
async def test_a_gap_between_frames_ends_the_waiting():
    script = Script()
    async with new_pool(script, 1, frame_gap_timeout=2.0) as pool, pool.borrow() as conn:
        req_id = await conn.session.send_audio(b"\0\0", end=True)
        answer_at(script.sessions[0], {5.0: False, 6.5: False, 9.0: True}, req_id)
        with pytest.raises(RequestTimeout, match=r"no next frame within 2\.00 s .2 frames"):
            await conn.collector.wait()
        assert now() == pytest.approx(8.5)
        await conn.session.interrupt()


@virtually
async def test_the_watchdogs_leave_a_steady_request_alone_and_the_total_holds():
    script = Script()
    async with (
        new_pool(script, 1, first_frame_timeout=2.0, frame_gap_timeout=2.0) as pool,
        pool.borrow() as conn,
    ):
        req_id = await conn.session.send_audio(b"\0\0", end=True)
        answer_at(script.sessions[0], {1.0: False, 2.0: False, 3.0: True}, req_id)
        assert len(await conn.collector.wait()) == 3
        req_id = await conn.session.send_audio(b"\0\0", end=True)
        answer_at(script.sessions[0], {1.0: False, 2.0: False, 3.0: False, 4.0: True}, req_id)
        with pytest.raises(RequestTimeout, match=r"no last frame within 2\.50 s"):
            await conn.collector.wait(2.5)
        assert len(await conn.collector.wait()) == 4


@virtually
async def test_a_frame_in_the_very_moment_of_the_limit_counts():
    script = Script()
    async with new_pool(script, 1, first_frame_timeout=2.0) as pool, pool.borrow() as conn:
        req_id = await conn.session.send_audio(b"\0\0", end=True)
        answer_at(script.sessions[0], {2.0: False, 3.0: True}, req_id)
        assert len(await conn.collector.wait()) == 2


@virtually
async def test_a_first_frame_watchdog_alone_lets_frames_take_their_time():
    script = Script()
    async with new_pool(script, 1, first_frame_timeout=2.0) as pool, pool.borrow() as conn:
        req_id = await conn.session.send_audio(b"\0\0", end=True)
        answer_at(script.sessions[0], {1.0: False, 30.0: True}, req_id)
        assert len(await conn.collector.wait()) == 2


async def taken(frames):
    """The moments at which frames were given, and how it ended."""
    moments = []
    try:
        async for _ in frames:
            moments.append(now())  # noqa: PERF401 - what came before an error counts
    except RequestTimeout as error:
        return moments, str(error).partition(" gave ")[2], now()
    return moments, "", now()


@virtually
async def test_iterating_keeps_the_pools_limits():
    script = Script()
    limits = {"request_timeout": 9.0, "first_frame_timeout": 2.0, "frame_gap_timeout": 4.0}
    answers = (
        ({}, ([], "no first frame within 2.00 s (0 frames so far)", 2.0)),
        ({1.0: False}, ([1.0], "no next frame within 4.00 s (1 frames so far)", 5.0)),
        (
            {1.0: False, 4.0: False, 7.0: False, 10.0: True},
            ([1.0, 4.0, 7.0], "no last frame within 9.00 s (3 frames so far)", 9.0),
        ),
        ({1.0: False, 5.0: False, 8.9: True}, ([1.0, 5.0, 8.9], "", 8.9)),
    )
    async with new_pool(script, 1, **limits) as pool:
        for frames, (moments, sentence, ended) in answers:
            async with pool.borrow() as conn:
                began = now()
                req_id = await conn.session.send_audio(b"\0\0", end=True)
                answer_at(script.sessions[0], frames, req_id)
                seen, said, when = await taken(conn.collector)
                await conn.session.interrupt()
            assert [moment - began for moment in seen] == pytest.approx(moments)
            assert (said, when - began) == (sentence, pytest.approx(ended))


@virtually
async def test_a_stream_may_have_other_limits_than_the_pool():
    script = Script()
    async with (
        new_pool(script, 1, request_timeout=3.0, first_frame_timeout=1.0) as pool,
        pool.borrow() as conn,
    ):
        req_id = await conn.session.send_audio(b"\0\0", end=True)
        answer_at(script.sessions[0], {4.0: False, 8.0: False, 13.0: True}, req_id)
        moments, sentence, ended = await taken(conn.collector.stream(math.inf, patience=4.5))
        assert moments == pytest.approx([4.0, 8.0])
        assert (sentence, ended) == ("no next frame within 4.50 s (2 frames so far)", 12.5)


@virtually
async def test_frames_that_have_come_are_given_however_late():
    script = Script()
    async with new_pool(script, 1, request_timeout=3.0) as pool, pool.borrow() as conn:
        req_id = await conn.session.send_audio(b"\0\0", end=True)
        answer_at(script.sessions[0], {1.0: False, 2.0: True}, req_id)
        count = 0
        async for _ in conn.collector:
            count += 1
            await asyncio.sleep(10.0)
        assert count == 2
