"""Rooms: one session each for their lives, within the group's budget and the vendor's rules.

The local service refuses rooms, as it has none. Here it takes them: all else about its sessions
is as ever, and its frames' ends are to a room's client what tells of the playback's end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial

import pytest
from peer import peer
from stage import Stage

from avatarpool import (
    AgoraEgressConfig,
    AvatarPoolGroup,
    AvatarSDKError,
    AvatarSDKErrorCode,
    AvatarSession,
    ConfigurationError,
    LiveKitEgressConfig,
    LocalAvatarService,
    LocalBudget,
    Played,
    PoolClosed,
    PoolEventKind,
    PoolKey,
    PoolTimeout,
    RedisBudget,
    RequestTimeout,
    SessionConfig,
    SessionStateError,
)
from avatarpool.endpoint import refusals
from avatarpool.endpoint.conversation import Conversation
from avatarpool.fleet import budget as budgets
from avatarpool.fleet import playback
from avatarpool.fleet.leases import Call, Notice
from avatarpool.fleet.valkey import Store
from avatarpool.protocol.messages import AudioInput, Interrupt
from avatarpool.service import ServiceLimits, SessionFault, TokenFault, ingress

SPEECH = bytes(3200)
SECRETS = (
    "room-key-s3cr3t",
    "room-secret-s3cr3t",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhdmF0YXIifQ.s1gnature",
)
HANG = 60.0


def egress(room="room"):
    key, secret, token = SECRETS
    return LiveKitEgressConfig(
        url="wss://rooms.example",
        room_name=room,
        api_key=key,
        api_secret=secret,
        api_token=token,
        publisher_id="avatar",
    )


@pytest.fixture
async def serve(monkeypatch):
    """Start the local service, taking rooms, with limits."""
    monkeypatch.setattr(ingress, "Conversation", partial(Conversation, takes_egress=True))
    async with contextlib.AsyncExitStack() as stack:

        async def start(**limits):
            service = LocalAvatarService(avatar_ids=("a",), limits=ServiceLimits(**limits))
            return await stack.enter_async_context(service)

        yield start


def group_of(given, sessions=2, budget=None, **options):
    names = ("api_key", "app_id", "console_endpoint_url", "ingress_endpoint_url")
    access = {name: getattr(given, name) for name in names}
    return AvatarPoolGroup(
        lambda key: SessionConfig(**access, close_timeout=0.2),
        budget=budget or LocalBudget(sessions),
        **{"min_hold": 0.05, "timeout": HANG, **options},
    )


async def until(true):
    async with asyncio.timeout(HANG):
        while not true():
            await asyncio.sleep(0.005)


async def say(room, audio=SPEECH):
    async with room.borrow() as conn:
        return await room.played(await conn.session.send_audio(audio, end=True), timeout=HANG)


def end_sessions(service, ending=refusals.SERVICE_CLOSED):
    for session in service._ingress._sessions:
        session.end(ending)


async def test_a_room_speaks_request_by_request_over_one_session(serve):
    service = await serve()
    async with group_of(service.config_factory()) as group:
        async with group.room("a", livekit_egress=egress()) as room:
            assert repr(room) == "<Room 'a/16000/room' open>"
            ends = await asyncio.gather(*(say(room) for _ in range(5)))
            assert len({end.req_id for end in ends}) == 5
            assert not any(end.is_interrupted for end in ends)
            stats = group.get_stats()
            assert (stats["used"], stats["total"]["connections_num"]) == (1, 1)
            assert stats["keys"]["a/16000/room"]["total_requests_served"] == 5
        assert repr(room) == "<Room 'a/16000/room' closed>"
        assert await room.ended() is None
        assert not group.pools
        await until(lambda: not group.get_stats()["used"])
        await until(lambda: not service.counters.connections_open)
        assert group.get_stats()["total"]["total_requests_served"] == 5
        with pytest.raises(SessionStateError, match="room 'a/16000/room' is closed: ask for"):
            room.borrow()


async def test_an_agora_channel_is_a_room_too(serve):
    service = await serve()
    key = PoolKey("a", 24000, agora_egress=AgoraEgressConfig("channel", token=SECRETS[2]))
    async with group_of(service.config_factory()) as group, group.room(key) as room:
        assert not (await say(room)).is_interrupted
        assert set(group.get_stats()["keys"]) == {"a/24000/channel"}


async def test_a_playback_that_ends_twice_has_ended_once(serve):
    service = await serve()
    service.faults.sessions = SessionFault(doubles_end=True)
    async with group_of(service.config_factory()) as group:
        async with group.room("a", livekit_egress=egress()) as room:
            first = await say(room)
            assert await room.played(first.req_id) is await room.played(first.req_id)
            assert await say(room) != first


async def test_a_rooms_slot_is_its_own_however_long_others_wait(serve):
    service = await serve()
    async with group_of(service.config_factory(), 1) as group:
        async with group.room("a", livekit_egress=egress()) as room:
            with pytest.raises(PoolTimeout):
                async with group.borrow("a", timeout=0.3):
                    pass
            assert not (await say(room)).is_interrupted
            assert group.get_stats()["total"]["connections_num"] == 1
            waiting = asyncio.create_task(anext_frames(group))
            await until(lambda: group.get_stats()["total"]["requests_waiting"])
        async with asyncio.timeout(HANG):
            assert await waiting, "the slot is free as the room is closed"


async def anext_frames(group):
    async with group.borrow("a") as conn:
        await conn.session.send_audio(SPEECH, end=True)
        return await conn.collector.wait(HANG)


async def test_a_room_waits_for_its_slot_behind_those_who_came_before(serve):
    service = await serve()
    order = []

    async def plain():
        async with group.borrow("a"):
            order.append("plain")

    async def open_room():
        async with group.room("a", livekit_egress=egress()) as room:
            order.append("room")
            await say(room)

    async with group_of(service.config_factory(), 1) as group:
        async with group.borrow("a") as conn:
            tasks = [asyncio.create_task(plain())]
            await until(lambda: group.get_stats()["total"]["requests_waiting"] == 1)
            tasks.append(asyncio.create_task(open_room()))
            await until(lambda: group.get_stats()["total"]["requests_waiting"] == 2)
            assert conn.connection_id
        async with asyncio.timeout(HANG):
            await asyncio.gather(*tasks)
    assert order == ["plain", "room"]


async def test_a_room_that_gets_no_slot_in_time_leaves_nothing_behind(serve):
    service = await serve()
    async with group_of(service.config_factory(), 1) as group, group.borrow("a"):
        with pytest.raises(PoolTimeout, match="gave no connection within"):
            async with group.room("a", livekit_egress=egress(), timeout=0.2):
                pass
        opening = asyncio.create_task(group.room("a", livekit_egress=egress()).__aenter__())
        await until(lambda: group.get_stats()["total"]["requests_waiting"])
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert list(group.pools) == [PoolKey("a")]
        assert group.get_stats()["used"] == 1


async def test_a_room_that_is_given_up_while_it_opens_counts_no_more(serve):
    service = await serve()
    service.faults.sessions = SessionFault(delay=5.0)
    async with group_of(service.config_factory(), 2) as group:
        opening = asyncio.create_task(group.room("a", livekit_egress=egress()).__aenter__())
        await until(lambda: group.get_stats()["total"]["connections_opening"])
        opening.cancel()
        await asyncio.wait([opening])
        assert group.get_stats()["total"]["connections_opening"] == 0


async def test_rooms_of_one_configuration_are_apart(serve):
    service = await serve()
    async with group_of(service.config_factory()) as group:
        async with (
            group.room("a", livekit_egress=egress()) as one,
            group.room("a", livekit_egress=egress()) as other,
        ):
            ends = await asyncio.gather(say(one), say(other))
            with pytest.raises(SessionStateError, match="knows no request"):
                await one.played(ends[1].req_id)
            assert set(group.get_stats()["keys"]) == {"a/16000/room", "a/16000/room~2"}
            assert group.get_stats()["used"] == 2


async def test_a_full_account_keeps_a_room_waiting_and_fails_it_not(serve):
    service = await serve(max_connections=1)
    async with group_of(service.config_factory()) as group:
        async with group.borrow("a"):
            opening = asyncio.create_task(group.room("a", livekit_egress=egress()).__aenter__())
            await until(lambda: group.get_stats()["total"]["connections_errors"])
            assert not opening.done()
        async with asyncio.timeout(HANG):
            room = await opening
        assert not (await say(room)).is_interrupted
        await room.close()


@pytest.mark.parametrize(
    "ending",
    [refusals.SERVICE_CLOSED, refusals.session_expired(1.0), refusals.idle(1.0)],
    ids=["cut", "too old", "idle"],
)
async def test_a_session_that_ends_is_followed_by_another_at_once(serve, ending):
    service = await serve()
    async with group_of(service.config_factory()) as group:
        async with group.room("a", livekit_egress=egress()) as room:
            await say(room)
            end_sessions(service, ending)
            # Nobody asks for it: the face is to be back before the next word.
            await until(lambda: group.get_stats()["total"]["connections_num"] == 2)
            assert not (await say(room)).is_interrupted
            assert room.failure is None


async def test_a_speech_that_loses_its_session_fails_and_the_next_one_does_not(serve):
    service = await serve()
    service.faults.next_sessions.append(SessionFault(after_frames=1, resets=True))
    async with group_of(service.config_factory()) as group:
        async with group.room("a", livekit_egress=egress()) as room:
            async with room.borrow() as conn:
                req_id = await conn.session.send_audio(10 * SPEECH)
                played = await room.played(req_id, timeout=HANG)
                assert played.is_interrupted
                with pytest.raises(AvatarSDKError):
                    await conn.session.send_audio(SPEECH, end=True)
            assert not (await say(room)).is_interrupted


async def test_a_service_that_is_down_is_waited_for(serve):
    service = await serve()
    async with group_of(service.config_factory()) as group:
        async with group.room("a", livekit_egress=egress()) as room:
            service.faults.next_tokens.extend([TokenFault(status=503)] * 2)
            service.faults.next_sessions.append(SessionFault(upgrade_status=503))
            end_sessions(service)
            await until(lambda: group.get_stats()["total"]["connections_lost"])
            assert not (await say(room)).is_interrupted
            assert group.get_stats()["total"]["connections_errors"] >= 3


async def test_no_session_follows_one_that_ran_out_of_credits(serve):
    service = await serve()
    async with group_of(service.config_factory()) as group:
        async with group.room("a", livekit_egress=egress()) as room:
            async with room.borrow() as conn:
                assert conn.connection_id
                waiting = asyncio.create_task(say(room))
                await until(lambda: group.get_stats()["total"]["requests_waiting"])
                tokens = service.counters.tokens_issued
                end_sessions(service, refusals.CREDITS_EXHAUSTED)
                async with asyncio.timeout(HANG):
                    failure = await room.ended()
                assert failure.code is AvatarSDKErrorCode.creditsExhausted
                with pytest.raises(AvatarSDKError, match="creditsExhausted"):
                    await waiting
            with pytest.raises(AvatarSDKError, match="creditsExhausted"):
                room.borrow()
            assert repr(room) == "<Room 'a/16000/room' failed>"
            await until(lambda: not group.get_stats()["used"])
            assert service.counters.tokens_issued == tokens, "nobody has asked for another one"


async def test_no_attempt_follows_one_that_was_refused_for_good(serve):
    service = await serve()
    async with group_of(service.config_factory()) as group:
        async with group.room("a", livekit_egress=egress()) as room:
            service.faults.tokens = TokenFault(status=401)
            end_sessions(service)
            async with asyncio.timeout(HANG):
                failure = await room.ended()
            assert failure.http_status == 401
            assert group.get_stats()["total"]["connections_num"] == 2
            assert not group.pools


async def test_a_room_that_the_service_refuses_is_refused():
    async with LocalAvatarService(avatar_ids=("a",)) as service:  # as it is: without rooms
        async with group_of(service.config_factory()) as group:
            with pytest.raises(AvatarSDKError) as told:
                async with group.room("a", livekit_egress=egress()):
                    pass
            assert told.value.code is AvatarSDKErrorCode.egressUnavailable
            assert not group.pools
            await until(lambda: not group.get_stats()["used"])


async def test_a_session_that_grows_old_is_replaced_between_two_speeches_and_never_doubled(serve):
    service = await serve()
    options = {"max_lifetime": 1.0, "request_timeout": 0.5}
    async with group_of(service.config_factory(), **options) as group:
        async with group.room("a", livekit_egress=egress()) as room:
            [pool] = group.pools.values()
            most = 0
            while group.get_stats()["total"]["connections_num"] < 3:
                most = max(most, pool._state.used)  # one on its way out is still in the room
                await asyncio.sleep(0)
            assert most == 1
            assert not (await say(room)).is_interrupted
            assert not group.get_stats()["total"]["connections_lost"]


async def test_a_session_that_grows_old_is_kept_while_its_room_plays():
    stage = Stage()
    async with (
        peer(stage.behave) as given,
        group_of(given, max_lifetime=0.5, request_timeout=0.2) as group,
        group.room("avatar", livekit_egress=egress()) as room,
    ):
        async with room.borrow() as conn:
            req_id = await conn.session.send_audio(SPEECH, end=True)
            await stage.tell(req_id, "playing")
            [pool] = group.pools.values()
            [member] = pool._state.members
            await until(lambda: member.is_playing)
        session = stage.sockets[-1]
        await until(lambda: member.retire_at + 0.5 < asyncio.get_running_loop().time())
        assert stage.sockets[-1] is session, "old, and kept, since it is heard"
        await stage.tell(req_id, "ended", played_ms=100)
        assert await room.played(req_id, HANG) == Played(req_id, False, 100)
        await until(lambda: len(stage.sockets) > 1)


async def test_what_the_service_tells_of_playback_is_passed_on_and_its_end_told_once():
    stage, told = Stage(), []
    async with peer(stage.behave) as given, group_of(given) as group:
        room = group.room("avatar", livekit_egress=egress(), on_playback=told.append)
        async with room, room.borrow() as conn:
            req_id = await conn.session.send_audio(SPEECH, end=True)
            with pytest.raises(RequestTimeout, match=f"{req_id} gave no end of its playback"):
                await room.played(req_id, timeout=0.05)
            await stage.tell(req_id, "playing")
            await stage.tell(req_id, "paused", played_ms=40)
            await stage.tell("strange", "ended", played_ms=9999)
            await stage.tell(req_id, "ended", played_ms=100)
            await stage.tell(req_id, "interrupted", played_ms=60, reason="preempted")
            assert await room.played(req_id, HANG) == Played(req_id, False, 100)
            await until(lambda: len(told) == 5)
            assert [state.state for state in told if state.req_id == req_id] == [
                "playing",
                "paused",
                "ended",
                "interrupted",
            ]
            assert await room.played(req_id) == Played(req_id, False, 100)


async def test_a_barge_in_stops_the_room_at_once_be_it_sending_or_playing():
    stage = Stage()

    async def speak(end):
        async with room.borrow() as conn:
            req_ids.append(await conn.session.send_audio(SPEECH, end=end))
            await room.played(req_ids[-1])

    req_ids = []
    async with peer(stage.behave) as given, group_of(given) as group:
        async with group.room("avatar", livekit_egress=egress()) as room:
            for count, end in enumerate((True, False), 1):
                speaking = asyncio.create_task(speak(end))
                await stage.until(AudioInput, count)
                speaking.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await speaking
                await stage.until(Interrupt, count)
                assert stage.of(Interrupt)[-1].req_id == req_ids[-1]
                await stage.tell(req_ids[-1], "interrupted", played_ms=20, reason="explicit")
                ended = await room.played(req_ids[-1], HANG)
                assert ended == Played(req_ids[-1], True, 20, "explicit")
                # The audio of the next one is the next one's.
                stage.messages[:] = stage.of(Interrupt) + stage.of(AudioInput)[:count]
            assert group.get_stats()["total"]["connections_num"] == 1


async def test_a_room_falls_silent_after_its_speech_was_sent(monkeypatch):
    monkeypatch.setattr(playback, "INTERRUPT_TIMEOUT", 0.05)
    stage = Stage()
    async with peer(stage.behave) as given, group_of(given) as group:
        async with group.room("avatar", livekit_egress=egress()) as room:
            await room.interrupt()  # there is nothing to stop
            async with room.borrow() as conn:
                req_id = await conn.session.send_audio(SPEECH, end=True)
            assert room.is_heard
            await room.interrupt()
            await stage.until(Interrupt)
            # The service never says that it has stopped.
            assert await room.played(req_id, HANG) == Played(req_id, True, None, "explicit")
            await room.interrupt()
            async with room.borrow() as conn:
                await conn.session.send_audio(SPEECH, end=True)
            await stage.until(AudioInput, 2)
            assert len(stage.of(Interrupt)) == 1


async def test_a_playback_ends_with_its_room():
    stage = Stage()
    async with peer(stage.behave) as given, group_of(given) as group:
        async with group.room("avatar", livekit_egress=egress()) as room:
            async with room.borrow() as conn:
                req_id = await conn.session.send_audio(SPEECH, end=True)
            ended = asyncio.create_task(room.played(req_id))
            await asyncio.sleep(0)
        assert await ended == Played(req_id, True, None, "the room was closed")


async def test_a_group_that_closes_ends_its_rooms(serve):
    service = await serve()
    async with group_of(service.config_factory()) as group:
        room = await group.room("a", livekit_egress=egress()).__aenter__()
        ended = asyncio.create_task(room.ended())
        await asyncio.sleep(0)
    assert isinstance(await ended, PoolClosed)
    with pytest.raises(PoolClosed, match="the group of room 'a/16000/room' is closed"):
        room.borrow()
    await room.close()
    assert not service.counters.connections_open


async def test_a_closed_room_leaves_speakers_nothing_to_wait_for(serve):
    service = await serve()
    async with group_of(service.config_factory()) as group:
        async with group.room("a", livekit_egress=egress()) as room:
            async with room.borrow():
                waiting = asyncio.create_task(say(room))
                await until(lambda: group.get_stats()["total"]["requests_waiting"])
                async with asyncio.timeout(HANG):
                    await room.close()
                with pytest.raises(PoolClosed):
                    await waiting


async def test_a_room_keeps_its_slot_while_its_session_is_opened_anew(serve):
    service = await serve()
    async with group_of(service.config_factory(), 1) as group:
        async with group.room("a", livekit_egress=egress()) as room:
            waiting = asyncio.create_task(group.borrow("a").__aenter__())
            await until(lambda: group.get_stats()["total"]["requests_waiting"])
            # While the room's pool pauses after these, the other would have its turn.
            service.faults.next_tokens.extend([TokenFault(status=503)] * 2)
            end_sessions(service)
            await until(lambda: group.get_stats()["total"]["connections_lost"])
            assert group.get_stats()["used"] == 1
            assert not (await say(room)).is_interrupted
            assert group.get_stats()["total"]["connections_errors"] == 2
            assert not waiting.done()
        async with asyncio.timeout(HANG):
            conn = await waiting
        await conn.__aexit__(None, None, None)


async def test_a_room_whose_place_somebody_else_took_waits_for_it_and_hammers_not(
    serve, monkeypatch
):
    def is_full():
        errors = [event.error for event in events if event.kind is PoolEventKind.REFUSED]
        return any(error.code is AvatarSDKErrorCode.concurrencyLimit for error in errors)

    monkeypatch.setattr(budgets, "FULL_FOR", 1.0)
    service, events = await serve(max_connections=1), []
    given = service.config_factory()
    async with group_of(given, on_event=events.append) as group:
        async with group.room("a", livekit_egress=egress()) as room:
            somebody = AvatarSession(given)
            await somebody.init()
            service.faults.tokens = TokenFault(status=503)
            end_sessions(service)
            await until(lambda: group.get_stats()["total"]["connections_errors"])
            await somebody.start()
            service.faults.tokens = None
            await until(is_full)
            tries = group.get_stats()["total"]["connections_num"]
            with pytest.raises(PoolTimeout):
                async with room.borrow(timeout=0.5):
                    pass
            assert group.get_stats()["total"]["connections_num"] <= tries + 3
            await somebody.close()
            assert not (await say(room)).is_interrupted
            assert room.failure is None


async def test_a_room_is_not_swept_away_while_it_has_no_session(serve):
    service = await serve()
    async with group_of(service.config_factory()) as group:
        async with group.room("a", livekit_egress=egress()) as room:
            service.faults.tokens = TokenFault(status=503)
            end_sessions(service)
            await until(lambda: group.get_stats()["total"]["connections_errors"])
            group._sweep()
            group._sweep()
            service.faults.tokens = None
            assert not (await say(room)).is_interrupted


async def test_a_budget_that_grows_gives_a_room_no_second_session(serve):
    service = await serve()
    async with group_of(service.config_factory(), 1) as group:
        async with group.room("a", livekit_egress=egress()) as room:
            group.resize(5)
            async with asyncio.TaskGroup() as tasks:
                for _ in range(4):
                    tasks.create_task(say(room))
            assert group.get_stats()["used"] == 1


async def test_what_cannot_be_a_room_is_refused_at_once(serve):
    service = await serve()
    group = group_of(service.config_factory())
    with pytest.raises(PoolClosed):
        group.room("a", livekit_egress=egress())
    async with group:
        for wrong, why in (
            ({}, "livekit_egress or agora_egress is missing"),
            ({"livekit_egress": egress(), "sample_rate": 7}, "sample_rate 7"),
            ({"livekit_egress": egress(), "timeout": "soon"}, "timeout 'soon' must be a number"),
            ({"livekit_egress": egress(), "priority": None}, "priority None must be a number"),
            ({"livekit_egress": egress(), "on_playback": 3}, "on_playback 3 cannot be called"),
        ):
            with pytest.raises(ConfigurationError, match=why):
                group.room("a", **wrong)
        room = group.room("a", livekit_egress=egress())
        with pytest.raises(SessionStateError, match="is not open: use it with async with"):
            room.borrow()
        async with room:
            with pytest.raises(ConfigurationError, match="timeout 'soon' must be a number"):
                await room.played("r", timeout="soon")
            with pytest.raises(SessionStateError, match="was entered before"):
                await room.__aenter__()


async def test_a_rooms_secrets_are_nowhere_to_be_seen(serve, caplog):
    caplog.set_level(logging.DEBUG)
    service, events = await serve(), []
    async with group_of(service.config_factory(), on_event=events.append) as group:
        async with group.room("a", livekit_egress=egress()) as room:
            await say(room)
            end_sessions(service)
            await say(room)
            shown = [repr(room), repr(room.borrow()), repr(group), repr(group.pools)]
            shown += [str(group.get_stats()), repr(events), caplog.text]
    for secret in SECRETS:
        assert secret not in "".join(shown)


async def test_a_listener_that_fails_does_no_harm(caplog):
    stage = Stage()

    def fail(state):
        raise RuntimeError("no")

    async with peer(stage.behave) as given, group_of(given) as group:
        async with group.room("avatar", livekit_egress=egress(), on_playback=fail) as room:
            async with room.borrow() as conn:
                req_id = await conn.session.send_audio(SPEECH, end=True)
                await stage.tell(req_id, "ended", played_ms=100)
                assert not (await room.played(req_id, HANG)).is_interrupted
    assert "on_playback of room avatar/16000/room failed" in caplog.text


async def test_rooms_of_two_hosts_share_one_account(serve, shared_redis):
    service = await serve()
    name = "rooms"

    def budget():
        return RedisBudget(shared_redis.url, name=name, sessions=2, lease_ttl=15.0)

    store = Store(shared_redis.url, name, 15.0)
    await store.call("", Call(notice=Notice.INIT), 0)
    await store.disconnect()
    async with (
        group_of(service.config_factory(), budget=budget()) as one,
        group_of(service.config_factory(), budget=budget()) as other,
        one.room("a", livekit_egress=egress("first")) as first,
    ):
        async with other.room("a", livekit_egress=egress("second")) as second:
            for room in (first, second):
                assert not (await say(room)).is_interrupted
            with pytest.raises(PoolTimeout):
                async with one.room("a", livekit_egress=egress("third"), timeout=3.0):
                    pass
            assert service.counters.connections_open == 2
            for room in (first, second):
                assert not (await say(room)).is_interrupted
            assert one.get_stats()["total"]["connections_num"] == 1
        async with one.room("a", livekit_egress=egress("third")) as third:
            assert not (await say(third)).is_interrupted
        assert service.counters.connections_open <= 2
