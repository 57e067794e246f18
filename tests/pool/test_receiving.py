"""Whoever passes a borrowed connection's frames on gets them as they come, and their end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from clock import virtually
from scripted import DOWN, Script, ScriptedSession, hold, mute, new_pool

from avatarpool import (
    AnimationFrame,
    AvatarSDKError,
    PoolClosed,
    PooledConnection,
    PoolEvent,
    SessionStateError,
)
from avatarpool.exceptions import AvatarSDKErrorCode

AUDIO = b"\0\0"


class Relay:
    """Passes on what comes: here to a list of what a client would have got."""

    def __init__(self) -> None:
        self.passed_on: list[tuple[str, ...]] = []
        self.errors: list[Exception | None] = []
        self.full_after: int | None = None

    def begin(self, req_id: str) -> Relayed:
        self.passed_on.append(("begin", req_id))
        return Relayed(self, req_id)


class Relayed:
    def __init__(self, relay: Relay, req_id: str) -> None:
        self.relay = relay
        self.req_id = req_id
        self.doubt: Exception | None = None

    def add(self, frame: AnimationFrame) -> Exception | None:
        assert frame.req_id == self.req_id
        self.relay.passed_on.append(("frame", frame.animation.decode()))
        if len(self.relay.passed_on) == self.relay.full_after:
            return OSError("the client reads nothing")
        return None

    def finish(self, error: Exception | None = None) -> None:
        self.relay.passed_on.append(("end", self.req_id))
        self.relay.errors.append(error)


def frames(session: ScriptedSession, req_id: str, *animations: bytes, end: bool = False) -> None:
    for animation in animations:
        session.frame(req_id, end=end and animation == animations[-1], animation=animation)


async def answered(conn: PooledConnection, session: ScriptedSession) -> str:
    req_id = await conn.session.send_audio(AUDIO, end=True)
    frames(session, req_id, b"1", b"2", b"3", end=True)
    return req_id


async def interrupted(conn: PooledConnection, session: ScriptedSession) -> str:
    req_id = await conn.session.send_audio(AUDIO, end=True)
    frames(session, req_id, b"1", b"2", b"3")
    await conn.session.interrupt()
    frames(session, req_id, b"late", b"last", end=True)
    return req_id


async def failed(conn: PooledConnection, session: ScriptedSession) -> str:
    req_id = await conn.session.send_audio(AUDIO, end=True)
    frames(session, req_id, b"1", b"2", b"3")
    session.fail(DOWN)
    frames(session, req_id, b"late")
    return req_id


async def timed_out(conn: PooledConnection, session: ScriptedSession) -> str:
    req_id = await conn.session.send_audio(AUDIO, end=True)
    frames(session, req_id, b"1", b"2", b"3")
    async with asyncio.timeout(10.0):  # the relay's own
        await asyncio.sleep(60.0)
    return req_id


async def lost(conn: PooledConnection, session: ScriptedSession) -> str:
    req_id = await conn.session.send_audio(AUDIO, end=True)
    frames(session, req_id, b"1", b"2", b"3")
    await session.close()
    return req_id


@pytest.mark.parametrize(
    ("ends", "error"),
    [
        (answered, None),
        (interrupted, None),
        (failed, AvatarSDKError),
        (timed_out, SessionStateError),
        (lost, AvatarSDKError),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@virtually
async def test_a_receiver_gets_each_frame_once_in_order_and_its_end(
    ends: Any, error: type[Exception] | None
):
    script, relay, events = Script(), Relay(), []
    async with new_pool(script, 1, on_event=events.append) as pool:
        req_id = "scripted-0/1"
        mute(script.sessions[0])
        try:
            async with pool.borrow() as conn:
                conn.deliver_to(relay)
                assert await ends(conn, script.sessions[0]) == req_id
        except TimeoutError:
            assert ends is timed_out
        frames(script.sessions[0], req_id, b"later still", end=True)
        assert relay.passed_on == [
            ("begin", req_id),
            ("frame", "1"),
            ("frame", "2"),
            ("frame", "3"),
            ("end", req_id),
        ]
        [told] = relay.errors
        assert type(told) is (error or type(None))
        assert conn._collector is None or error, "made for who may wait for the end, at the most"
        assert conn.collector.frames == []
        stats = pool.get_stats()
        assert stats["total_requests_served"] == (ends is answered)
        assert stats["requests_errors"] == (error is not None)
        ended = [event for event in events if event.kind.value == "request_ended"]
        assert [event.error for event in ended] == [told]
        await hold(pool, 0.0)  # it is, or has been replaced, for the next one


@virtually
async def test_a_receiver_gets_one_request_after_another_and_those_on_another_connection():
    script, relay = Script(), Relay()
    async with new_pool(script, 1) as pool, pool.borrow() as conn:
        conn.deliver_to(relay)
        first = await answered(conn, script.sessions[0])
        second = await answered(conn, script.sessions[0])
        await script.sessions[0].close()  # between two requests: it is exchanged
        req_id = await conn.session.send_audio(AUDIO, end=True)
        frames(script.sessions[1], req_id, b"1", end=True)
        begun = [what[1] for what in relay.passed_on if what[0] == "begin"]
        assert begun == [first, second, req_id] == ["scripted-0/1", "scripted-0/2", "scripted-1/1"]
        assert relay.errors == [None, None, None]


@virtually
async def test_a_receiver_that_takes_no_more_fails_its_request_and_the_rest_is_dropped():
    script, relay = Script(), Relay()
    relay.full_after = 3  # with its beginning
    async with new_pool(script, 1) as pool, pool.borrow() as conn:
        conn.deliver_to(relay)
        req_id = await conn.session.send_audio(AUDIO)
        frames(script.sessions[0], req_id, b"1", b"2", b"3", b"4")
        assert relay.passed_on[1:] == [("frame", "1"), ("frame", "2"), ("end", req_id)]
        with pytest.raises(OSError, match="the client reads nothing"):
            await conn.session.send_audio(AUDIO, end=True)  # the rest of it is no request
        assert await conn.session.send_audio(AUDIO, end=True) != req_id


@virtually
async def test_a_receiver_learns_that_its_pool_was_closed_and_of_an_error_that_may_be_its_own():
    script, relay = Script(), Relay()
    async with new_pool(script, 1) as pool:
        async with pool.borrow() as conn:
            conn.deliver_to(relay)
            mute(script.sessions[0])
            await conn.session.send_audio(AUDIO, end=True)
            await conn.session.interrupt()
            await conn.session.send_audio(AUDIO, end=True)
            script.sessions[0].fail(
                doubted := AvatarSDKError(AvatarSDKErrorCode.upstreamError, "?")
            )
            request = conn._connection.request
            assert request is not None
            assert request.reception.doubt is doubted
            await pool.close(timeout=0.0)
        assert [type(error) for error in relay.errors] == [type(None), PoolClosed]


@virtually
async def test_a_receiver_is_set_between_requests_alone_and_the_collector_kept_what_it_had():
    script, relay = Script(), Relay()
    events: list[PoolEvent] = []
    async with new_pool(script, 1, on_event=events.append) as pool:
        early = pool.borrow()
        with pytest.raises(SessionStateError, match="has no connection yet"):
            early.deliver_to(relay)
        async with early as conn:
            req_id = await conn.session.send_audio(AUDIO, end=True)
            with pytest.raises(SessionStateError, match=f"request {req_id} is under way"):
                conn.deliver_to(relay)
            frames(script.sessions[0], req_id, b"1", end=True)
            assert len(await conn.collector.wait()) == 1
            conn.deliver_to(relay)
            await answered(conn, script.sessions[0])
            assert len(conn.collector.frames) == 1
            assert len(relay.passed_on) == 5
        with pytest.raises(SessionStateError, match="was returned to pool 'test'"):
            conn.deliver_to(relay)
        async with pool.borrow() as conn:  # the next borrower's are its own
            req_id = await conn.session.send_audio(AUDIO, end=True)
            frames(script.sessions[0], req_id, b"1", end=True)
            assert len(await conn.collector.wait()) == 1
        assert len(relay.passed_on) == 5
