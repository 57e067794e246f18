"""What a pool tells whoever follows it."""

from __future__ import annotations

import asyncio

import pytest
from clock import now, virtually
from scripted import DOWN, NO_CREDITS, Script, hold, new_pool

from avatarpool import PoolEvent, PoolTimeout, SessionStateError


@virtually
async def test_events_tell_what_happens_to_each_connection():
    events: list[PoolEvent] = []
    script = Script()
    async with new_pool(script, 1, name="eu", on_event=events.append) as pool:
        async with pool.borrow() as conn:
            await conn.session.send_audio(b"\0\0")
        await asyncio.sleep(1.0)
        script.openings = [NO_CREDITS]
        await script.sessions[0].close()
        await asyncio.sleep(30.0)
    assert {event.pool for event in events} == {"eu"}
    assert [(event.kind.value, event.connection_id) for event in events] == [
        ("opened", "scripted-0"),
        ("lent", "scripted-0"),
        ("request_began", "scripted-0"),
        ("request_ended", "scripted-0"),
        ("returned", "scripted-0"),
        ("quarantined", "scripted-0"),
        ("lost", "scripted-0"),
        ("refused", ""),
        ("breaker_open", ""),
        ("breaker_closed", ""),
        ("opened", "scripted-2"),
        ("retired", "scripted-2"),
    ]
    assert events[7].reason == str(NO_CREDITS)
    assert events[7].error is NO_CREDITS
    assert events[-1].reason == "the pool closes"


@virtually
async def test_events_tell_how_long_things_took_and_why_they_failed():
    events: list[PoolEvent] = []
    script = Script(lambda session: asyncio.sleep(2.0))
    async with new_pool(script, 1, on_event=events.append) as pool:
        pool.meter.clock = now
        async with pool.borrow() as conn:
            waiting = asyncio.create_task(hold(pool, 0.0))
            with pytest.raises(PoolTimeout) as too_late:
                await hold(pool, 0.0, timeout=1.0)
            req_id = await conn.session.send_audio(b"\0\0", end=True)
            for is_last in (False, True):
                await asyncio.sleep(3.0)
                script.sessions[0].frame(req_id, end=is_last)
            await conn.session.send_audio(b"\0\0", end=True)
            await conn.session.interrupt()
            failed_id = await conn.session.send_audio(b"\0\0")
        await waiting
    told = [(event.kind.value, event.seconds, event.reason, event.error) for event in events]
    assert [each for each in told if each[0] not in ("quarantined", "retired")] == [
        ("opened", pytest.approx(2.0), "", None),
        ("lent", pytest.approx(0.0), "", None),
        ("not_lent", pytest.approx(1.0), "", too_late.value),
        ("request_began", 0.0, req_id, None),
        ("first_frame", pytest.approx(3.0), "", None),
        ("request_ended", pytest.approx(6.0), "", None),
        ("request_began", 0.0, events[6].reason, None),
        ("request_ended", pytest.approx(0.0), "interrupted", None),
        ("request_began", 0.0, failed_id, None),
        ("request_ended", pytest.approx(0.0), "", conn.collector.error),
        ("returned", pytest.approx(7.0), "", None),
        ("lent", pytest.approx(7.0), "", None),
        ("returned", pytest.approx(0.0), "", None),
    ]
    assert isinstance(conn.collector.error, SessionStateError)


@virtually
async def test_every_lent_connection_is_told_to_be_returned_an_exchanged_one_too():
    events: list[PoolEvent] = []
    script = Script()
    async with new_pool(script, 2, on_event=events.append, timeout=3.0) as pool:
        async with pool.borrow() as conn:
            await asyncio.sleep(2.0)
            await script.sessions[0].close()
            await conn.session.send_audio(b"\0\0", end=True)
        async with pool.borrow() as conn:
            script.openings = [DOWN] * 50
            for session in script.sessions:
                await session.close()
            with pytest.raises(PoolTimeout):
                await conn.session.send_audio(b"\0\0")
        assert pool.get_stats()["usage_ms"] == pytest.approx(5000.0)
    names = [(event.kind.value, event.connection_id) for event in events]
    lent = [name for kind, name in names if kind == "lent"]
    assert lent[:2] == ["scripted-0", "scripted-1"]
    assert [name for kind, name in names if kind == "returned"] == lent


@virtually
async def test_listeners_come_and_go():
    first: list[PoolEvent] = []
    second: list[PoolEvent] = []
    async with new_pool(Script(), 1, on_event=first.append) as pool:
        pool.add_listener(second.append)
        await hold(pool, 0.0)
        pool.remove_listener(second.append)
        pool.remove_listener(second.append)
        await hold(pool, 0.0)
    assert [event.kind.value for event in second] == ["lent", "returned"]
    assert [event.kind.value for event in first].count("lent") == 2


@virtually
async def test_an_on_event_that_raises_is_logged(caplog: pytest.LogCaptureFixture):
    def raising(event: PoolEvent) -> None:
        raise RuntimeError("no room")

    async with new_pool(Script(), 1, on_event=raising) as pool:
        assert await hold(pool, 0.0) == "scripted-0"
    assert "no room" in caplog.text
