"""How a request ends, what is counted and told of it, and whose its frames are."""

from __future__ import annotations

import asyncio
import gc
import weakref
from dataclasses import replace
from typing import Any

import pytest
from clock import now, virtually
from peer import peer
from scripted import DOWN, Code, Script, ScriptedSession, leave, mute, new_pool, refused
from stage import Stage

from avatarpool import (
    AgoraEgressConfig,
    AvatarConnectionPool,
    AvatarSDKError,
    LiveKitEgressConfig,
    PlaybackState,
    PooledConnection,
    PoolEvent,
    PoolEventKind,
    RequestTimeout,
)
from avatarpool.pool.collection import Collection
from avatarpool.protocol.messages import Interrupt


async def is_answered(
    pool: AvatarConnectionPool, session: ScriptedSession, conn: PooledConnection
) -> None:
    session.frame(conn.collector.req_id or "", end=True)


async def fails(
    pool: AvatarConnectionPool, session: ScriptedSession, conn: PooledConnection
) -> None:
    session.fail(refused(Code.upstreamError, req_id=conn.collector.req_id))


async def is_interrupted(
    pool: AvatarConnectionPool, session: ScriptedSession, conn: PooledConnection
) -> None:
    await conn.session.interrupt()


async def is_left(
    pool: AvatarConnectionPool, session: ScriptedSession, conn: PooledConnection
) -> None:
    session.frame(conn.collector.req_id or "")


async def times_out(
    pool: AvatarConnectionPool, session: ScriptedSession, conn: PooledConnection
) -> None:
    with pytest.raises(RequestTimeout):
        await conn.collector.wait(1.0)


async def is_lost(
    pool: AvatarConnectionPool, session: ScriptedSession, conn: PooledConnection
) -> None:
    await session.close()


async def is_cut(
    pool: AvatarConnectionPool, session: ScriptedSession, conn: PooledConnection
) -> None:
    await pool.close(timeout=0.0)


async def brings_too_much(
    pool: AvatarConnectionPool, session: ScriptedSession, conn: PooledConnection
) -> None:
    for end in (False,) * 11 + (True,):
        session.frame(conn.collector.req_id or "", end=end)


async def brings_too_much_with_its_end(
    pool: AvatarConnectionPool, session: ScriptedSession, conn: PooledConnection
) -> None:
    for end in (False,) * 10 + (True,):
        session.frame(conn.collector.req_id or "", end=end)


async def breaks_the_protocol(
    pool: AvatarConnectionPool, session: ScriptedSession, conn: PooledConnection
) -> None:
    session.frame("of nobody")


@pytest.mark.parametrize("is_last", [True, False], ids=["sent", "half-sent"])
@pytest.mark.parametrize(
    ("ends", "error"),
    [
        (is_answered, ""),
        (fails, "upstreamError"),
        (is_interrupted, ""),
        (is_left, "was returned before the last frame"),
        (times_out, "was returned before the last frame"),
        (is_lost, "was closed before the last frame"),
        (is_cut, "pool 'test' was closed before the last frame"),
        (brings_too_much, "gave more than 10 frames"),
        (brings_too_much_with_its_end, "gave more than 10 frames"),
        (breaks_the_protocol, "never made"),
    ],
)
@virtually
async def test_borrower_events_and_statistics_agree_how_a_request_ended(
    ends: Any, error: str, *, is_last: bool
):
    events: list[PoolEvent] = []
    script = Script()
    async with new_pool(script, 1, on_event=events.append, max_frames=10) as pool:
        async with pool.borrow() as conn:
            await conn.session.send_audio(b"\0\0", end=is_last)
            await ends(pool, script.sessions[0], conn)
        await asyncio.sleep(1.0)
        stats = pool.get_stats()
    [ended] = [event for event in events if event.kind is PoolEventKind.REQUEST_ENDED]
    assert ended.error is conn.collector.error
    assert (ended.error is not None) is bool(error)
    assert error in str(ended.error)
    assert ended.reason == ("interrupted" if ends is is_interrupted else "")
    assert conn.collector.is_done
    assert stats["requests_num"] == 1
    assert stats["requests_errors"] == bool(error)
    assert stats["total_requests_served"] == (ends is is_answered)
    assert stats["latency"]["duration_ms"]["count"] == (ends is is_answered)
    served = sum(connection["request_count"] for connection in stats["connections"])
    assert served == (ends is is_answered)


@pytest.mark.parametrize("ends", [is_answered, is_interrupted, is_left, is_lost])
@virtually
async def test_with_egress_they_agree_too(ends: Any):
    events: list[PoolEvent] = []
    options = {"livekit_egress": LiveKitEgressConfig(url="wss://rooms.example")}
    script = Script()
    async with AvatarConnectionPool(
        1, lambda: options, session_factory=script, on_event=events.append
    ) as pool:
        async with pool.borrow() as conn:
            is_answer = ends is is_answered
            await conn.session.send_audio(b"\0\0", end=is_answer)
            await ends(pool, script.sessions[0], conn)
        stats = pool.get_stats()
    [ended] = [event for event in events if event.kind is PoolEventKind.REQUEST_ENDED]
    assert ended.error is conn.collector.error
    assert (ended.error is None) is (ends in (is_answered, is_interrupted))
    assert stats["requests_errors"] == (ended.error is not None)
    assert stats["total_requests_served"] == is_answer


@virtually
async def test_no_frame_of_its_requests_stays_with_a_connection_that_came_back():
    def every() -> list[Collection]:
        gc.collect()
        return [each for each in gc.get_objects() if type(each) is Collection and each.frames]

    others = every()  # of tests before this one

    def collections() -> list[Collection]:
        return [each for each in every() if all(each is not other for other in others)]

    script = Script()
    async with new_pool(script, 1) as pool:
        assert collections() == []
        session = mute(script.sessions[0])
        async with pool.borrow() as conn:
            for _ in range(2):
                req_id = await conn.session.send_audio(b"\0\0", end=True)
                session.frame(req_id, end=True)
                await conn.collector.wait()
            assert len(collections()) == 1  # its borrower's, of the latest
        del conn
        assert pool.available_count == 1
        assert collections() == []
        await leave(pool, session)
        assert pool.get_stats()["connections_draining"] == 1
        assert collections() == []


@virtually
async def test_a_frame_right_after_the_return_reaches_nobody():
    script = Script()
    async with new_pool(script, 1) as pool:
        async with pool.borrow() as conn:
            req_id = await conn.session.send_audio(b"\0\0", end=True)
        script.sessions[0].frame(req_id)
        assert conn.collector.frames == []
        assert pool.get_stats()["frames_dropped"] == 1


@virtually
async def test_returned_frames_are_freed_without_the_garbage_collector():
    script = Script()
    async with new_pool(script, 1) as pool:
        async with pool.borrow() as conn:
            req_id = await conn.session.send_audio(b"\0\0", end=True)
            script.sessions[0].frame(req_id, end=True)
            await conn.collector.wait()
            frames = weakref.ref(conn.collector)
        gc.disable()
        try:
            del conn
            assert frames() is None
        finally:
            gc.enable()


@virtually
async def test_a_session_that_dies_after_the_last_frame_fails_nothing():
    script = Script()
    async with new_pool(script, 1) as pool:
        async with pool.borrow() as conn:
            req_id = await conn.session.send_audio(b"\0\0", end=True)
            script.sessions[0].frame(req_id, end=True)
            await script.sessions[0].close()
            assert len(await conn.collector.wait()) == 1
        assert pool.get_stats()["requests_errors"] == 0


@virtually
async def test_a_request_that_a_failed_collection_left_behind_ends_as_the_next_one_begins():
    events: list[PoolEvent] = []
    script = Script()
    async with new_pool(script, 1, on_event=events.append, max_frames=1) as pool:
        async with pool.borrow() as conn:
            req_id = await conn.session.send_audio(b"\0\0")
            script.sessions[0].frame(req_id)
            script.sessions[0].frame(req_id)
            with pytest.raises(AvatarSDKError) as caught:
                await conn.session.send_audio(b"\0\0", end=True)
            await conn.session.send_audio(b"\0\0", end=True)
            ends = [event.error for event in events if event.kind.value == "request_ended"]
            assert ends == [caught.value]


@pytest.mark.parametrize(
    ("happens", "has_failed"),
    [
        (lambda session, req_id: session.frame(req_id, end=True), False),
        (lambda session, req_id: session.fail(DOWN), True),
        (lambda session, req_id: session.options["on_close"](), True),
    ],
    ids=["last frame", "refusal", "death"],
)
@virtually
async def test_a_requests_end_is_told_as_it_comes_and_once(happens: Any, has_failed: Any):
    events: list[PoolEvent] = []
    script = Script()
    async with new_pool(script, 1, on_event=events.append) as pool:
        pool.meter.clock = now
        async with pool.borrow() as conn:
            req_id = await conn.session.send_audio(b"\0\0", end=True)
            asyncio.get_running_loop().call_later(1.0, happens, script.sessions[0], req_id)
            await asyncio.sleep(3.0)
    [ended] = [event for event in events if event.kind is PoolEventKind.REQUEST_ENDED]
    assert ended.seconds == pytest.approx(1.0)
    assert (ended.error is not None) is has_failed
    assert ended.error is conn.collector.error


@virtually
async def test_with_egress_a_request_ends_as_its_audio_does():
    events: list[PoolEvent] = []
    options = {"livekit_egress": LiveKitEgressConfig(url="wss://rooms.example")}
    async with AvatarConnectionPool(
        1, lambda: options, session_factory=Script(), on_event=events.append
    ) as pool:
        async with pool.borrow() as conn:
            await conn.session.send_audio(b"\0\0", end=True)
            assert events[-1].kind is PoolEventKind.REQUEST_ENDED
            assert events[-1].error is None


async def test_what_is_left_half_said_in_a_room_is_not_spoken_to_its_half():
    stage, events = Stage(), []
    rooms = LiveKitEgressConfig(url="wss://rooms.example")
    async with (
        peer(stage.behave) as config,
        AvatarConnectionPool(
            1, lambda: replace(config, livekit_egress=rooms), on_event=events.append
        ) as pool,
    ):
        async with pool.borrow() as conn:
            req_id = await conn.session.send_audio(b"\0\0")
        await stage.until(Interrupt)
        assert [message.req_id for message in stage.of(Interrupt)] == [req_id]
        async with pool.borrow() as conn:
            assert await conn.session.send_audio(b"\0\0", end=True) != req_id
            assert await conn.collector.wait() == []
        assert pool.get_stats()["connections_num"] == 1
    [told] = [event for event in events if event.kind is PoolEventKind.PLAYBACK]
    assert told.playback == Interrupt(req_id)


async def test_what_a_room_plays_is_an_event_and_of_others_it_is_not():
    stage, events = Stage(), []
    rooms = AgoraEgressConfig(channel_name="channel")
    async with peer(stage.behave) as config:
        for options in ({"agora_egress": rooms}, {}):
            given = replace(config, **options)
            async with AvatarConnectionPool(
                1, lambda given=given: given, on_event=events.append
            ) as pool:
                async with pool.borrow() as conn:
                    req_id = await conn.session.send_audio(b"\0\0", end=True)
                    told = asyncio.Event()
                    pool.add_listener(
                        lambda event, told=told: (
                            told.set()
                            if event.kind in (PoolEventKind.PLAYBACK, PoolEventKind.FIRST_FRAME)
                            else None
                        )
                    )
                    await stage.tell(req_id, "playing", played_ms=20)
                    if not options:
                        await stage.answer(req_id, end=False)
                    async with asyncio.timeout(30):
                        await told.wait()
                    await conn.session.interrupt()
    playback = [event for event in events if event.kind is PoolEventKind.PLAYBACK]
    assert [type(event.playback) for event in playback] == [PlaybackState, Interrupt]
    assert [event.reason for event in playback] == [event.playback.req_id for event in playback]
    assert playback[0].playback.played_ms == 20
    assert playback[0].connection_id == "upstream-1"
