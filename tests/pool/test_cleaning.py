"""What was left on a connection is over before the next borrower has it, or costs it."""

from __future__ import annotations

import asyncio

import pytest
from clock import now, virtually
from scripted import (
    DOWN,
    Code,
    Hook,
    Script,
    ScriptedSession,
    answer_at,
    answer_pings,
    dawdles,
    hold,
    leave,
    mute,
    new_pool,
    refused,
    slow,
)

from avatarpool import (
    AvatarSDKError,
    PooledConnection,
    PoolEvent,
    PoolEventKind,
    RequestTimeout,
)


@virtually
async def test_a_request_that_nobody_waits_for_drains_before_the_next_borrower():
    script = Script()
    async with new_pool(script, 1) as pool:
        [session] = script.sessions
        session.answers_abandoned = False
        async with pool.borrow() as conn:
            old = await conn.session.send_audio(b"\0\0", end=True)
            with pytest.raises(RequestTimeout, match=r"within 1\.00 s \(0 frames so far\)"):
                await conn.collector.wait(1.0)
        assert pool.get_stats()["connections_draining"] == 1
        waiting = asyncio.create_task(hold(pool, 0.0))
        await asyncio.sleep(1.0)
        assert not waiting.done()
        assert session.interrupted == [old]
        session.frame(old)
        session.frame(old, end=True)
        assert await waiting == "scripted-0"
        assert pool.get_stats()["frames_dropped"] == 2


@virtually
async def test_a_request_that_does_not_end_in_quarantine_costs_its_session():
    script = Script()
    async with new_pool(script, 1, quarantine_timeout=5.0) as pool:
        script.sessions[0].answers_abandoned = False
        async with pool.borrow() as conn:
            await conn.session.send_audio(b"\0\0", end=True)
        began = now()
        assert await hold(pool, 0.0) == "scripted-1"
        assert now() - began == pytest.approx(5.0, abs=0.5)
        assert script.sessions[0].is_closed


@virtually
async def test_a_session_that_cannot_be_drained_is_replaced_at_once():
    script = Script()
    async with new_pool(script, 1) as pool:
        session = script.sessions[0]

        async def broken() -> str:
            raise OSError("no route")

        session.interrupt = broken  # type: ignore[method-assign]
        async with pool.borrow() as conn:
            await conn.session.send_audio(b"\0\0", end=True)
        began = now()
        assert await hold(pool, 0.0) == "scripted-1"
        assert now() == began


@virtually
async def test_a_left_request_that_had_frames_is_over_after_a_moment_of_silence():
    script = Script()
    async with new_pool(script, 1) as pool:
        session = mute(script.sessions[0])
        answer_pings(session, 0.1)
        old = await leave(pool, session)
        await asyncio.sleep(0.25)
        assert pool.available_count == 0
        await asyncio.sleep(0.1)
        assert pool.available_count == 1
        async with pool.borrow() as conn:
            new = await conn.session.send_audio(b"\0\0", end=True)
            for req_id, end in ((old, False), (new, False), (old, True), (new, True)):
                session.frame(req_id, end=end)
            assert {frame.req_id for frame in await conn.collector.wait()} == {new}
            assert len(conn.collector.frames) == 2
        assert pool.available_count == 1
        stats = pool.get_stats()
        assert stats["frames_dropped"] == 2
        assert stats["connections_retired"] == stats["protocol_errors"] == 0


@virtually
async def test_a_moment_of_silence_is_no_end_before_the_ping_is_answered():
    script = Script()
    async with new_pool(script, 1) as pool:
        answer_pings(mute(script.sessions[0]), 0.8)
        await leave(pool, script.sessions[0])
        await hold(pool, 0.0)
        assert now() == pytest.approx(0.8)


@virtually
async def test_frames_that_flow_on_are_waited_for_to_their_end():
    script = Script()
    async with new_pool(script, 1) as pool:
        session = mute(script.sessions[0])
        answer_pings(session)
        for end in (True, False):
            began = now()
            req_id = await leave(pool, session)
            answer_at(session, {n / 5: end and n == 10 for n in range(1, 11)}, req_id)
            await hold(pool, 0.0)
            assert now() - began == pytest.approx(2.0 if end else 2.3)


@virtually
async def test_without_pings_each_frame_begins_the_quarantine_anew():
    script = Script()
    async with new_pool(script, 1, quarantine_timeout=5.0) as pool:
        session = mute(script.sessions[0])
        req_id = await leave(pool, session)
        answer_at(session, {4.0: False, 8.0: False, 12.0: True}, req_id)
        assert await hold(pool, 0.0) == "scripted-0"
        assert now() == pytest.approx(12.0)


@virtually
async def test_frames_without_end_are_not_waited_for_longer_than_a_request_may_take():
    script = Script()
    limits = {"quarantine_timeout": 5.0, "request_timeout": 20.0, "max_lifetime": 1000.0}
    async with new_pool(script, 1, **limits) as pool:
        session = mute(script.sessions[0])
        answer_pings(session)
        req_id = await leave(pool, session)
        answer_at(session, dict.fromkeys([n / 5 for n in range(1, 200)], False), req_id)
        assert await hold(pool, 0.0) == "scripted-1"
        assert now() == pytest.approx(20.0, abs=0.5)


@virtually
async def test_before_its_first_frame_a_left_request_is_waited_for_while_nobody_wants_it():
    script = Script()
    async with new_pool(script, 1, quarantine_timeout=5.0) as pool:
        answer_pings(mute(script.sessions[0]))
        await leave(pool, script.sessions[0], frames=0)
        await asyncio.sleep(4.0)
        assert pool.get_stats()["connections_draining"] == 1
        await asyncio.sleep(1.5)
        assert script.sessions[0].is_closed
        assert pool.available_count == 1


@virtually
async def test_before_its_first_frame_it_is_lent_to_who_has_nothing_else():
    script = Script()
    async with new_pool(script, 1) as pool:
        session = mute(script.sessions[0])
        answer_pings(session, 0.1)
        old = await leave(pool, session, frames=0)
        waiting = asyncio.create_task(hold(pool, 1.0))
        await asyncio.sleep(0.29)
        assert pool.get_stats()["requests_waiting"] == 1
        assert await waiting == "scripted-0"
        assert now() == pytest.approx(1.3)
        await leave(pool, session, frames=0)
        await asyncio.sleep(2.0)  # whoever comes later has it at once
        async with pool.borrow() as conn:
            assert now() == pytest.approx(3.4)
            new = await conn.session.send_audio(b"\0\0", end=True)
            session.frame(old, end=True)  # it had only been slow
            session.frame(new, end=True)
            assert [frame.req_id for frame in await conn.collector.wait()] == [new]
        assert pool.get_stats()["connections_retired"] == 0


@virtually
async def test_before_its_first_frame_it_is_lent_to_nobody_for_whom_another_opens():
    script = Script()
    async with new_pool(script, 1, max_size=2, quarantine_timeout=9.0) as pool:
        answer_pings(mute(script.sessions[0]))
        script.openings = [slow(2.0)]
        await leave(pool, script.sessions[0], frames=0)
        await asyncio.sleep(1.0)
        assert await hold(pool, 0.0) == "scripted-1"
        assert now() == pytest.approx(3.0)


@virtually
async def test_before_its_first_frame_it_is_lent_once_no_other_could_be_opened():
    async def down(session: ScriptedSession) -> None:
        await asyncio.sleep(2.0)
        raise DOWN

    script = Script()
    async with new_pool(script, 1, max_size=2, quarantine_timeout=9.0) as pool:
        answer_pings(mute(script.sessions[0]))
        script.openings = [down] * 50
        await leave(pool, script.sessions[0], frames=0)
        await asyncio.sleep(1.0)
        assert await hold(pool, 0.0) == "scripted-0"
        assert now() == pytest.approx(3.0)


@virtually
async def test_one_borrower_that_waits_takes_one_of_several_that_fade():
    script = Script()
    async with new_pool(script, 3) as pool:
        for session in script.sessions:
            answer_pings(mute(session))
        async with asyncio.TaskGroup() as group:
            for session in script.sessions:
                group.create_task(leave(pool, session, frames=0))
        await hold(pool, 1.0)
        assert now() == pytest.approx(1.3)
        assert pool.available_count == 1
        assert pool.get_stats()["connections_draining"] == 2


@virtually
@pytest.mark.parametrize("frames", [0, 1])
async def test_a_peer_that_does_not_answer_a_ping_after_the_interrupt_is_replaced_at_once(
    frames: int,
):
    events: list[PoolEvent] = []
    script = Script()
    async with new_pool(script, 1, on_event=events.append) as pool:
        answer_pings(mute(script.sessions[0]), 1.0, alive=False)
        await leave(pool, script.sessions[0], frames=frames)
        assert await hold(pool, 0.0) == "scripted-1"
        assert now() == pytest.approx(1.0)
    retired = [event.reason for event in events if event.kind is PoolEventKind.RETIRED]
    assert retired[0] == "its peer did not answer a ping"


@virtually
async def test_a_ping_is_no_matter_any_more_once_the_request_has_ended():
    script = Script()
    async with new_pool(script, 1) as pool:
        session = mute(script.sessions[0])
        answer_pings(session, 1.0, alive=False)

        async def leave_and_end() -> None:
            req_id = await leave(pool, session)
            await asyncio.sleep(0.1)  # it was pinged
            session.frame(req_id, end=True)

        await leave_and_end()
        await hold(pool, 2.0)
        assert not session.is_closed
        await leave_and_end()
        await leave(pool, session)  # another one fades, with a ping of its own
        answer_pings(session, 9.0)
        await asyncio.sleep(2.0)
        assert not session.is_closed


@virtually
async def test_a_pool_closes_at_once_though_a_ping_is_not_answered_yet():
    script = Script()
    async with new_pool(script, 1) as pool:
        answer_pings(mute(script.sessions[0]), 60.0)
        await leave(pool, script.sessions[0])
        await asyncio.sleep(0.1)
    assert now() == pytest.approx(0.1)
    assert script.sessions[0].is_closed


@virtually
async def test_what_is_as_good_as_over_is_reset_before_it_is_lent():
    async def reset(conn: PooledConnection) -> None:
        resets.append(now())

    resets: list[float] = []
    script = Script()
    async with new_pool(script, 1, reset=reset) as pool:
        answer_pings(mute(script.sessions[0]))
        await leave(pool, script.sessions[0])
        await hold(pool, 1.0)
        assert resets == [pytest.approx(0.3)]


@virtually
async def test_an_error_that_may_be_a_left_requests_is_the_cause_of_the_next_ones_timeout():
    script = Script()
    async with new_pool(script, 1) as pool:
        session = mute(script.sessions[0])
        answer_pings(session)
        await leave(pool, session)
        async with pool.borrow() as conn:
            await conn.session.send_audio(b"\0\0", end=True)
            doubted = refused(Code.upstreamError)
            session.fail(doubted)
            assert not conn.collector.is_done
            with pytest.raises(RequestTimeout) as caught:
                await conn.collector.wait(2.0)
            assert caught.value.__cause__ is doubted
        async with pool.borrow() as conn:
            await conn.session.send_audio(b"\0\0", end=True)
            session.fail(refused(Code.upstreamError))  # of the one that timed out, maybe
            assert not conn.collector.is_done
            session.fail(refused(Code.upstreamError))
            with pytest.raises(AvatarSDKError, match="upstreamError"):
                await conn.collector.wait()


@virtually
async def test_a_connection_in_cleaning_is_lent_to_nobody_though_its_last_frame_came():
    script = Script()
    async with new_pool(script, 1) as pool:
        [session] = script.sessions
        session.answers_abandoned = False
        interrupt = session.interrupt

        async def slow_interrupt() -> str:
            await asyncio.sleep(3.0)  # the peer reads slowly
            return await interrupt()

        session.interrupt = slow_interrupt  # type: ignore[method-assign]
        async with pool.borrow() as conn:
            req_id = await conn.session.send_audio(b"\0\0", end=True)
        await asyncio.sleep(1.0)
        session.frame(req_id, end=True)
        assert pool.available_count == 0
        await hold(pool, 0.0)
        assert now() == pytest.approx(3.0)


@virtually
async def test_a_connection_is_reset_after_its_request_and_before_its_next_borrower():
    script, hook = Script(), Hook()
    async with new_pool(script, 1, reset=hook) as pool:
        async with pool.borrow() as conn:
            await conn.session.send_audio(b"\0\0")
            script.sessions[0].answers_abandoned = False
        loop = asyncio.get_running_loop()
        loop.call_later(1.0, lambda: script.sessions[0].frame("scripted-0/1", end=True))
        loop.call_later(0.9, lambda: hook.seen.append("its request is not over"))
        async with pool.borrow():
            assert hook.seen == ["its request is not over", "scripted-0"]


@virtually
async def test_a_connection_that_cannot_be_reset_is_replaced():
    script = Script()
    async with new_pool(script, 1, reset=Hook(failures=1)) as pool:
        assert [await hold(pool, 0.0) for _ in range(3)] == ["scripted-0"] + ["scripted-1"] * 2
        assert pool.get_stats()["connections_retired"] == 1


@virtually
async def test_a_reset_that_takes_too_long_costs_its_connection():
    async with new_pool(Script(), 1, reset=dawdles, quarantine_timeout=3.0) as pool:
        await hold(pool, 0.0)
        began = now()
        assert await hold(pool, 0.0) == "scripted-1"
        assert now() - began == pytest.approx(3.0, abs=0.2)


@virtually
async def test_a_reset_that_ends_as_its_connection_is_given_up_changes_nothing():
    given_up = asyncio.get_running_loop().create_future()

    async def waits(conn: PooledConnection) -> None:
        await given_up

    def notice(event: PoolEvent) -> None:
        if event.kind is PoolEventKind.RETIRED and not given_up.done():
            given_up.set_result(None)

    async with new_pool(Script(), 1, reset=waits, on_event=notice) as pool:
        await hold(pool, 0.0)
        assert await hold(pool, 0.0) == "scripted-1"
        assert pool.total_count == 1


@virtually
async def test_closing_waits_for_no_reset():
    async with new_pool(Script(), 1, reset=dawdles) as pool:
        await hold(pool, 0.0)
        began = now()
        await pool.close()
        assert now() == began
