"""Host mode, as the demo server's clients speak it."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import socket
import time
from contextlib import asynccontextmanager

import aiohttp
import pytest
from served_gateway import ADMIN, ONE, PATIENCE, TWO, client, has, is_idle, problem, served, until

from avatarpool.gateway.settings import Budget, Listen
from avatarpool.protocol.codec import decode
from avatarpool.service import SessionFault

SECOND = bytes(range(256)) * 125


class Demo:
    """A host-mode client."""

    def __init__(self, socket) -> None:
        self.socket = socket

    async def start(self, **options) -> dict[str, object]:
        await self.socket.send_str(json.dumps({"action": "start", **options}))
        kind, _, told = await self.receive()
        assert kind == 3, told
        return told

    async def say(self, audio: bytes, *, last: bool = False) -> None:
        await self.socket.send_bytes(bytes((1, last)) + audio)

    async def receive(self):
        async with asyncio.timeout(PATIENCE):
            message = await self.socket.receive()
        assert message.type is aiohttp.WSMsgType.BINARY, message
        data = message.data
        kind, flags, payload = data[0], data[1], data[2:]
        if kind != 2:
            return kind, flags, json.loads(payload)
        count, frames, payload = int.from_bytes(payload[:4], "big"), [], payload[4:]
        for _ in range(count):
            size = int.from_bytes(payload[:4], "big")
            frames.append(decode(payload[4 : 4 + size]))
            payload = payload[4 + size :]
        assert not payload
        return kind, flags, frames

    async def frames(self):
        """Those of a speech, to its last."""
        found, flags = [], 0
        while not flags:
            kind, flags, frames = await self.receive()
            assert kind == 2, frames
            found += frames
        return found

    async def closed(self) -> tuple[int | None, list[object]]:
        said = []
        async with asyncio.timeout(PATIENCE):
            while True:
                message = await self.socket.receive()
                if message.type is not aiohttp.WSMsgType.BINARY:
                    return self.socket.close_code, said
                if message.data[0] == 4:
                    said.append(json.loads(message.data[2:]))


@asynccontextmanager
async def demo(http, gateway, key=ONE, query="", **options):
    headers = has(key) | options.pop("headers", {})
    url = f"{gateway.url}/v1/host{query}"
    async with http.ws_connect(url, headers=headers, **options) as opened:
        yield Demo(opened)


def seconds(frames) -> float:
    return sum(len(frame.keyframes) for frame in frames) / 25


@pytest.mark.parametrize("face", ["arkit", "visemes", "vrm", "flame"])
async def test_frames_may_be_another_faces(http, gateway, face):
    async with demo(http, gateway, query=f"?frames={face}") as one:
        await one.start(avatar_id="a")
        for _ in range(2):
            await one.say(SECOND, last=True)
            told, flags = [], 0
            while not flags:
                kind, flags, records = await one.receive()
                assert kind == 5, records
                told += records
            kinds = {"keyframe"} if face == "flame" else {face}
            assert {record["type"] for record in told} == kinds
            assert [record["time"] for record in told] == [n / 25 for n in range(25)]
        await one.say(SECOND)
        await one.socket.send_str('{"action": "interrupt"}')
        while not flags or kind != 5 or records:
            kind, flags, records = await one.receive()


async def test_frames_of_no_kind_are_refused_at_the_upgrade(http, gateway):
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        async with demo(http, gateway, query="?frames=puppet"):
            pass
    assert caught.value.status == 400


async def test_several_speeches_on_one_connection(http, gateway):
    async with demo(http, gateway) as one:
        told = await one.start(avatar_id="a", sample_rate=16000)
        assert told == {
            "sample_rate": 16000,
            "channels": 1,
            "avatar_id": "a",
            "connection_id": told["connection_id"],
        }
        ids = set()
        for length in (1, 2):
            await one.say(SECOND)
            await one.say(SECOND * (length - 1), last=True)
            frames = await one.frames()
            assert seconds(frames) == length
            assert {frame.connection_id for frame in frames} == {told["connection_id"]}
            ids.update(frame.req_id for frame in frames)
        assert len(ids) == 2
        await one.start(avatar_id="b", sample_rate=8000)
        await one.say(SECOND, last=True)
        assert seconds(await one.frames()) == 2
    await until(lambda: is_idle(gateway.gateway))


async def test_frames_come_before_the_last_audio_goes(http, gateway):
    async with demo(http, gateway) as one:
        await one.start(avatar_id="a")
        await one.say(SECOND)
        _, flags, frames = await one.receive()
        assert frames
        assert not flags
        await one.say(b"", last=True)
        assert seconds(frames + await one.frames()) == 1


async def test_an_interrupt_stops_at_once_and_the_next_speech_is_clean(http, gateway, upstream):
    async with demo(http, gateway) as one:
        await one.start(avatar_id="a")
        for _ in range(3):
            await one.say(SECOND * 20)
            await one.receive()
            await one.socket.send_str('{"action": "interrupt"}')
            await one.frames()  # to the empty one that is the last
            await one.say(SECOND, last=True)
            assert seconds(await one.frames()) == 1
        await one.socket.send_str('{"action": "interrupt"}')  # of nothing
        await one.say(SECOND, last=True)
        assert seconds(await one.frames()) == 1
    await until(lambda: is_idle(gateway.gateway))


async def test_an_avatar_may_be_left_out_where_the_client_has_one(http, gateway):
    async with demo(http, gateway, TWO) as two:
        assert (await two.start())["avatar_id"] == "b"
    async with demo(http, gateway) as one:
        await one.socket.send_str('{"action": "start"}')
        assert await one.closed() == (
            1008,
            [{"error": "start names no avatar_id", "code": "invalidRequest"}],
        )


async def test_another_clients_avatar_is_refused_and_its_own_one_served(http, gateway):
    async with demo(http, gateway, TWO) as two:
        await two.socket.send_str('{"action": "start", "avatar_id": "a"}')
        kind, _, told = await two.receive()
        assert (kind, told["code"]) == (4, "avatarNotAllowed")
        await two.start(avatar_id="b")
        await two.say(SECOND, last=True)
        assert seconds(await two.frames()) == 1


async def token(http, gateway, key=ONE) -> str:
    async with http.post(
        f"{gateway.url}/v1/console/session-tokens",
        json={"expireAt": int(time.time()) + 60},
        headers=has(key),
    ) as response:
        return (await response.json())["sessionToken"]


@pytest.mark.parametrize(
    "offers",
    [[f"avatarpool.{ONE}"], [f"other, avatarpool.{ONE}"], [f"avatarpool.{ONE}", "avatarpool"]],
)
async def test_a_key_among_subprotocols_of_which_none_is_ours_is_not_logged(
    http, gateway, caplog, offers
):
    caplog.set_level(logging.DEBUG)
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    headers = [*upgrade.items(), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")]
    headers += [("Sec-WebSocket-Protocol", each) for each in offers]
    async with http.get(f"{gateway.url}/v1/host", headers=headers) as response:
        told = await problem(response)
    assert (told["status"], told["code"]) == (400, "invalidRequest")
    assert ONE not in caplog.text
    assert ONE not in json.dumps(told)


@pytest.mark.parametrize("is_token", [False, True])
@pytest.mark.parametrize("way", ["X-Api-Key", "Bearer", "query", "subprotocol"])
async def test_credentials_come_in_any_way(http, gateway, way, is_token):
    secret = await token(http, gateway) if is_token else ONE
    headers, protocols, query = {}, (), ""
    match way:
        case "X-Api-Key":
            headers = has(secret)
        case "Bearer":
            headers = {"Authorization": f"Bearer {secret}"}
        case "query":
            query = f"?{'token' if is_token else 'api_key'}={secret}"
        case _:
            protocols = ("avatarpool", f"avatarpool.{secret}")
    async with http.ws_connect(
        f"{gateway.url}/v1/host{query}", headers=headers, protocols=protocols
    ) as opened:
        assert opened.protocol == ("avatarpool" if protocols else None)
        assert secret not in str(opened._response.headers)
        await Demo(opened).start(avatar_id="a")


@pytest.mark.parametrize(
    ("headers", "query", "code"),
    [
        ({}, "", "unauthorized"),
        (has("wrong"), "", "unauthorized"),
        (has(ADMIN), "", "unauthorized"),
        (has(ONE), f"?api_key={TWO}", "invalidRequest"),
        ({}, f"?api_key={ONE}&token={TWO}", "invalidRequest"),
        ({"Sec-WebSocket-Protocol": f"avatarpool.{ONE[:-1]}"}, "", "unauthorized"),
        (has(ONE) | {"Origin": "https://elsewhere.example"}, "", "foreignOrigin"),
        (has(ONE) | {"Host": "elsewhere.example"}, "", "foreignOrigin"),
    ],
)
async def test_who_may_not_is_told_before_the_upgrade(http, gateway, headers, query, code):
    upgrade = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
    }
    async with http.get(f"{gateway.url}/v1/host{query}", headers=upgrade | headers) as response:
        told = await problem(response)
    assert told["code"] == code
    assert ONE not in str(told)


async def test_no_upgrade_is_told_what_to_upgrade_to(http, gateway):
    async with http.get(f"{gateway.url}/v1/host", headers=has(ONE)) as response:
        assert response.headers["Upgrade"] == "websocket"
        assert (await problem(response))["code"] == "upgradeRequired"


async def test_a_speech_that_fails_is_told_and_the_next_one_goes_on(http, gateway, upstream):
    async with demo(http, gateway) as one:
        await one.start(avatar_id="a")
        upstream.faults.sessions = SessionFault(after_frames=5, close_code=1011)
        await one.say(SECOND * 3)
        kind = 2
        while kind == 2:
            kind, _, told = await one.receive()
        assert (kind, told["code"]) == (4, "upstreamLost")
        upstream.faults.sessions = None
        await one.say(SECOND)  # the rest of what has failed
        await one.say(SECOND, last=True)
        await one.say(SECOND, last=True)
        assert seconds(await one.frames()) == 1


async def test_who_waits_too_long_is_told_so(http, upstream):
    hasty = client("one", ONE, queue_timeout=0.2)
    async with served(upstream, clients=(hasty,), budget=Budget(sessions=1)) as gateway:
        async with demo(http, gateway) as one, demo(http, gateway) as other:
            await one.start(avatar_id="a")
            await one.say(SECOND)
            await one.receive()
            await other.start(avatar_id="a")
            await other.say(SECOND, last=True)
            kind, _, told = await other.receive()
            assert (kind, told["code"]) == (4, "queueTimeout")
            await one.say(b"", last=True)
            await one.frames()
            await other.say(SECOND, last=True)
            assert seconds(await other.frames()) == 1


async def test_an_idle_connection_is_ended(http, upstream):
    listen = Listen(port=0, ingress_port=0, idle_timeout=0.3)
    async with served(upstream, listen=listen) as gateway, demo(http, gateway) as one:
        await one.start(avatar_id="a")
        assert await one.closed() == (
            1000,
            [{"error": "no audio input for 0.3 s", "code": "invalidRequest"}],
        )
        await until(lambda: not gateway.gateway.host.connections)


async def test_closing_lets_a_speech_end_and_then_says_goodbye(http, upstream):
    async with served(upstream) as gateway:
        async with demo(http, gateway) as one:
            await one.start(avatar_id="a")
            await one.say(SECOND)
            await one.receive()
            closing = asyncio.create_task(gateway.gateway.close())
            await until(lambda: gateway.gateway.exchange.is_draining)
            await one.say(SECOND, last=True)
            assert (await one.frames())[-1].end
            assert (await one.closed())[0] == 1001
            await closing


# --- clients that mean no good ------------------------------------------------------------------


NONSENSE = [
    b"",
    b"\x01",
    b"\x01\x02ab",
    b"\x01\0abc",
    b"\x02\0\0\0\0\0",
    b"\x07\0",
    bytes(70_000),
    "",
    "start",
    "[]",
    "{}",
    '{"action": "stop"}',
    '{"action": "start", "avatar_id": 7}',
    '{"action": "start", "avatar_id": "a", "sample_rate": 1}',
    '{"action": "start", "avatar_id": "a", "sample_rate": [16000]}',
    '{"action": "start", "avatar_id": "a\\u0000"}',
    '{"action": ' * 3000,
    "x" * 70_000,
]


async def test_hundreds_of_malformed_messages_end_their_connections_and_no_other(
    http, gateway, caplog
):
    dice = random.Random(7)

    async def hostile(count: int) -> None:
        for _ in range(count):
            async with demo(http, gateway, TWO) as bad:
                if dice.random() < 0.5:
                    await bad.start(avatar_id="b")
                nonsense = dice.choice(NONSENSE)
                if dice.random() < 0.2:
                    nonsense = dice.randbytes(dice.randint(0, 60)).replace(b"\x01", b"\x09")
                try:
                    if isinstance(nonsense, str):
                        await bad.socket.send_str(nonsense)
                    else:
                        await bad.socket.send_bytes(nonsense)
                except ConnectionError:
                    continue
                code, said = await bad.closed()
                assert code in (1002, 1006, 1008, 1009), (nonsense, code, said)

    async with demo(http, gateway) as good:
        await good.start(avatar_id="a")
        hostility = asyncio.gather(*(hostile(25) for _ in range(20)))
        while not hostility.done():
            await good.say(SECOND, last=True)
            assert seconds(await good.frames()) == 1
        await hostility
    await until(lambda: not gateway.gateway.host.connections)
    assert is_idle(gateway.gateway)
    assert not [record for record in caplog.records if record.exc_info or record.levelno > 20]


@pytest.mark.parametrize(
    "order",
    [
        ["audio"],
        ["start", "last", "audio"],
        ["start", "last", "start"],
        ["start", "audio", "start"],
    ],
)
async def test_what_comes_out_of_order_ends_the_connection(http, gateway, upstream, order):
    upstream.faults.sessions = SessionFault(delay=5.0)  # or the speech would be over
    async with demo(http, gateway) as one:
        for step in order:
            if step == "start":
                await one.socket.send_str('{"action": "start", "avatar_id": "a"}')
            else:
                await one.say(SECOND, last=step == "last")
        code, said = await one.closed()
    assert code == 1008
    assert len(said) == 1
    await until(lambda: not gateway.gateway.host.connections)


async def test_a_speech_without_audio_is_told_and_nothing_else_happens(http, gateway):
    async with demo(http, gateway) as one:
        await one.start(avatar_id="a")
        await one.say(b"", last=True)
        kind, _, told = await one.receive()
        assert (kind, told["code"]) == (4, "invalidAudio")
        await one.say(b"RIFF\0\0\0\0WAVE" + SECOND, last=True)
        kind, _, told = await one.receive()
        assert (kind, told["code"]) == (4, "invalidRequest")
        assert "WAV" in told["error"]
        await one.say(SECOND, last=True)
        assert seconds(await one.frames()) == 1


@pytest.mark.parametrize("phase", ["upgraded", "started", "amid audio", "amid frames", "after"])
async def test_who_leaves_interrupts_its_speech_without_a_trace(http, gateway, caplog, phase):
    for is_abrupt in (False, True):
        async with demo(http, gateway) as one:
            if phase != "upgraded":
                await one.start(avatar_id="a")
            if phase in ("amid audio", "amid frames", "after"):
                await one.say(SECOND * 10, last=phase == "after")
            if phase == "amid frames":
                await one.receive()
            if is_abrupt:
                one.socket._response.connection.transport.abort()
    await until(lambda: not gateway.gateway.host.connections)
    await until(lambda: is_idle(gateway.gateway))
    assert not [record for record in caplog.records if record.exc_info or record.levelno > 30]


async def test_who_never_reads_is_cut_and_others_are_served(http, upstream):
    long = client("one", ONE, max_audio_seconds=86_400)
    async with served(upstream, clients=(long, client("two", TWO))) as gateway:
        object.__setattr__(gateway.gateway.host._limits, "send_timeout", 0.5)
        async with demo(http, gateway) as one, demo(http, gateway, TWO) as two:
            await one.start(avatar_id="a")
            transport = one.socket._response.connection.transport
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            transport.pause_reading()
            flooding = asyncio.create_task(flood(one))
            await two.start(avatar_id="b")
            await two.say(SECOND, last=True)
            assert seconds(await two.frames()) == 1
            await until(lambda: len(gateway.gateway.host.connections) == 1)
            with pytest.raises(ConnectionError):
                await flooding
        await until(lambda: is_idle(gateway.gateway))


async def flood(one: Demo) -> None:
    while True:
        await one.say(SECOND * 10)
