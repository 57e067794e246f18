"""An egress client through the gateway has a session for itself, open before it is confirmed."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from peer import confirm, peer
from stage import Stage

from avatarpool import AvatarSDKError, AvatarSDKErrorCode, AvatarSession, LiveKitEgressConfig
from avatarpool.config import SessionConfig
from avatarpool.gateway.gateway import Gateway
from avatarpool.gateway.keys import key_hash
from avatarpool.gateway.queueing import OwnTurn
from avatarpool.gateway.rooms import Room
from avatarpool.gateway.settings import (
    Budget,
    ClientLimits,
    ClientSettings,
    GatewaySettings,
    Listen,
    Upstream,
)
from avatarpool.protocol.codec import encode
from avatarpool.protocol.messages import (
    AudioInput,
    ConfigureSession,
    Interrupt,
    PlaybackState,
    ServerError,
)

KEY = "key-of-the-client"


async def until(true):
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def through_a_gateway(behaviour, sessions=2, queue_timeout=10.0, **limits):
    async with peer(behaviour) as upstream:
        settings = GatewaySettings(
            listen=Listen(port=0, ingress_port=0, shutdown_timeout=0.0),
            upstream=Upstream(
                api_key="upstream-key",
                app_id="upstream-app",
                console_endpoint=upstream.console_endpoint_url,
                ingress_endpoint=upstream.ingress_endpoint_url,
            ),
            budget=Budget(sessions=sessions),
            clients=(
                ClientSettings(
                    name="agent",
                    app_id="agent",
                    key_hash=key_hash(KEY),
                    limits=ClientLimits(queue_timeout=queue_timeout, **limits),
                ),
            ),
        )
        async with Gateway(settings) as gateway:

            def config(room="room", **options):
                return SessionConfig(
                    avatar_id="avatar",
                    api_key=KEY,
                    app_id="agent",
                    console_endpoint_url=gateway.console_url,
                    ingress_endpoint_url=gateway.ingress_url,
                    livekit_egress=LiveKitEgressConfig(
                        url="wss://rooms.example",
                        room_name=room,
                        api_key="room-key",
                        api_secret="room-secret",
                        publisher_id="avatar",
                    ),
                    **options,
                )

            yield gateway, config


async def test_a_room_has_a_session_of_its_own_for_its_life():
    stage, played = Stage(), asyncio.Queue()
    async with through_a_gateway(stage.behave) as (gateway, config):
        async with AvatarSession(config(on_playback_state=played.put_nowait)) as session:
            [configured] = stage.configurations
            assert isinstance(configured, ConfigureSession)
            assert configured.livekit_egress == config().livekit_egress
            for _ in range(3):  # one after another, nothing comes back
                await session.send_audio(bytes(640))
                await session.send_audio(bytes(640), end=True)
            await stage.until(AudioInput, 6)
            audio = [message for message in stage.messages if isinstance(message, AudioInput)]
            assert [message.end for message in audio] == [False, True] * 3
            assert len({message.req_id for message in audio}) == 3
            await stage.sockets[0].send_bytes(encode(PlaybackState("r", "playing")))
            async with asyncio.timeout(30):
                state = await played.get()
            assert state.state == "playing"
        async with asyncio.timeout(30):
            while gateway.group.get_stats()["used"]:  # no other room could use it
                await asyncio.sleep(0.01)
        assert not gateway.exchange._rooms
        assert not gateway.exchange.queue.turns.running
        assert len(stage.configurations) == 1
        assert gateway.clients.by_app_id("agent").under_way == 0


async def test_an_interrupt_reaches_the_room():
    stage = Stage()
    async with (
        through_a_gateway(stage.behave) as (_, config),
        AvatarSession(config()) as session,
    ):
        await session.send_audio(bytes(6400))
        await stage.until(AudioInput)
        await session.interrupt()
        await stage.until(Interrupt)
        await session.send_audio(bytes(640), end=True)  # the next one
        async with asyncio.timeout(30):
            while len({m.req_id for m in stage.messages if isinstance(m, AudioInput)}) < 2:
                await asyncio.sleep(0.01)


async def test_a_room_that_cannot_be_had_is_refused_at_the_handshake():
    async def behave(websocket):
        await websocket.receive_bytes()
        error = ServerError(14, "egress client is not configured on server", "upstream")
        await websocket.send_bytes(encode(error))
        await websocket.close()

    async with through_a_gateway(behave) as (_, config):
        with pytest.raises(AvatarSDKError) as caught:
            async with AvatarSession(config()):
                pass
        assert caught.value.code is AvatarSDKErrorCode.egressUnavailable
        assert "room-secret" not in str(caught.value)


async def test_a_room_that_gets_no_session_in_time_is_refused_for_a_while():
    stage = Stage()
    async with through_a_gateway(stage.behave, 1, queue_timeout=1.0) as (_, config):
        async with AvatarSession(config("first")):
            with pytest.raises(AvatarSDKError) as caught:
                async with AvatarSession(config("second")):
                    pass
        assert caught.value.close_code == 4503
        assert caught.value.retryable
        async with AvatarSession(config("second")):  # there is one again
            pass


async def test_a_rooms_session_that_dies_is_replaced_at_the_next_request():
    stage = Stage()
    async with (
        through_a_gateway(stage.behave) as (_, config),
        AvatarSession(config()) as session,
    ):
        await session.send_audio(bytes(640), end=True)
        await stage.until(AudioInput)
        await stage.sockets[0].close()
        async with asyncio.timeout(30):
            while len(stage.configurations) < 2:
                await session.send_audio(bytes(640), end=True)
                await asyncio.sleep(0.05)
        assert stage.configurations[0] == stage.configurations[1]


async def test_a_rooms_session_that_dies_is_followed_by_another_though_nobody_speaks():
    stage = Stage()
    async with through_a_gateway(stage.behave) as (_, config), AvatarSession(config()):
        await stage.sockets[0].close()
        await stage.until_open(2)


async def test_a_session_without_credits_ends_its_client_and_is_not_opened_again():
    stage, ended = Stage(), asyncio.Queue()
    async with through_a_gateway(stage.behave) as (gateway, config):
        async with AvatarSession(config(on_error=ended.put_nowait)):
            await stage.sockets[0].close(code=4001)
            async with asyncio.timeout(30):
                error = await ended.get()
            assert error.code is AvatarSDKErrorCode.creditsExhausted
        await until(lambda: not gateway.group.get_stats()["used"])
    assert len(stage.sockets) == 1


async def test_what_a_room_plays_is_told_with_the_clients_own_ids():
    stage, played = Stage(), asyncio.Queue()
    async with (
        through_a_gateway(stage.behave) as (_, config),
        AvatarSession(config(on_playback_state=played.put_nowait)) as session,
    ):
        for count in (1, 2):  # one while it is sent, one that was
            req_id = await session.send_audio(bytes(640), end=count == 2)
            await stage.until(AudioInput, count)
            upstream = stage.of(AudioInput)[-1].req_id
            assert upstream != req_id
            await stage.tell(upstream, "playing", played_ms=20, connection_id="upstream-1")
            async with asyncio.timeout(30):
                state = await played.get()
            assert state == PlaybackState(req_id, "playing", 20, "", session.connection_id)


async def test_clients_of_one_room_hear_of_their_own_playback_alone():
    stage = Stage()
    first, second = asyncio.Queue(), asyncio.Queue()
    async with (
        through_a_gateway(stage.behave) as (_, config),
        AvatarSession(config(on_playback_state=first.put_nowait)),
        AvatarSession(config(on_playback_state=second.put_nowait)),
    ):
        assert stage.configurations[0] == stage.configurations[1]
        await stage.tell("second's", "playing")
        await stage.tell("first's", "playing", number=0)
        async with asyncio.timeout(30):
            assert (await first.get()).req_id == "first's"
            assert (await second.get()).req_id == "second's"
        assert first.empty()
        assert second.empty()


async def test_an_interrupt_reaches_the_room_though_all_audio_was_sent():
    stage = Stage()
    async with (
        through_a_gateway(stage.behave) as (_, config),
        AvatarSession(config()) as session,
    ):
        await session.send_audio(bytes(6400), end=True)
        await stage.until(AudioInput)
        await session.interrupt()
        await stage.until(Interrupt)
        [heard] = {message.req_id for message in stage.of(AudioInput)}
        assert stage.of(Interrupt)[0].req_id == heard


@pytest.mark.parametrize("reason", ["paused", "rate"])
async def test_a_client_gets_no_room_where_it_would_get_no_request(reason):
    stage = Stage()
    limits = {"requests_per_minute": 1} if reason == "rate" else {}
    async with through_a_gateway(stage.behave, **limits) as (gateway, config):
        async with AvatarSession(config("first")):
            gateway.exchange.is_paused = reason == "paused"
            with pytest.raises(AvatarSDKError) as caught:
                async with AvatarSession(config("second")):
                    pass
        assert caught.value.close_code == (4503 if reason == "paused" else 4003)
        assert len(stage.sockets) == 1
        assert gateway.clients.by_app_id("agent").under_way == 0


async def test_a_client_has_no_more_rooms_waiting_than_requests():
    stage = Stage()
    limits = {"max_concurrent": 1, "max_waiting": 0}
    async with through_a_gateway(stage.behave, 1, **limits) as (gateway, config):
        async with AvatarSession(config("first")):
            waiting = asyncio.create_task(AvatarSession(config("second")).__aenter__())
            client = gateway.clients.by_app_id("agent")
            await until(lambda: client.under_way)
            with pytest.raises(AvatarSDKError) as caught:
                async with AvatarSession(config("third")):
                    pass
            assert caught.value.close_code == 4003
        async with asyncio.timeout(30):
            await (await waiting).close()


async def test_plain_sessions_are_confirmed_before_there_is_one():
    opened = asyncio.Event()

    async def behave(websocket):
        await opened.wait()
        await confirm(websocket)

    async with through_a_gateway(behave) as (_, config):
        plain = config(room="")
        async with AvatarSession(
            SessionConfig(
                avatar_id="avatar",
                api_key=KEY,
                app_id="agent",
                console_endpoint_url=plain.console_endpoint_url,
                ingress_endpoint_url=plain.ingress_endpoint_url,
            )
        ) as session:
            assert session.is_open
        opened.set()


async def test_a_room_that_is_closed_before_it_began_is_settled_all_the_same():
    """Who configures a room and leaves in one breath would count as under way for ever."""
    settled = []
    room = Room(None, None, OwnTurn(), None, 10.0, settled=settled.append)
    room.close()
    await asyncio.wait([room.task])
    await asyncio.sleep(0)
    assert settled == [None]
