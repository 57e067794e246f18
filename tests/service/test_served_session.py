from __future__ import annotations

import asyncio
import json
import logging
import threading
from base64 import urlsafe_b64encode
from contextlib import suppress
from copy import copy

import pytest
from aiohttp import ClientSession, WSMsgType, WSServerHandshakeError
from raw_client import PATIENCE, Client, ask_for_token, connected, frame, in_session
from shells import SHELLS, on_aiohttp

from avatarpool.protocol.codec import encode
from avatarpool.protocol.messages import (
    AudioInput,
    ConfigureSession,
    ConfirmSession,
    Interrupt,
    Pause,
    Resume,
    ServerError,
)
from avatarpool.protocol.settings import AgoraEgressConfig, AudioFormat, LiveKitEgressConfig
from avatarpool.service import ServiceLimits

PCM = AudioFormat.PCM_S16LE
# Of a type that does not exist, and one with an unknown field in a known message.
UNKNOWN_TYPE = b"\x08\x63"
UNKNOWN_FIELD = b"\x08\x09" + b"\x52\x00" + b"\xfa\x07\x01x"


@pytest.fixture(params=SHELLS)
def shell(request):
    return request.param


def jwt() -> str:
    parts = (json.dumps(part).encode() for part in ({"alg": "HS256"}, {"sub": "me"}))
    return ".".join(urlsafe_b64encode(part).decode().rstrip("=") for part in (*parts, b"sig"))


def errors(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


async def ended(client: Client) -> tuple[int, str, int | None]:
    """The error that ends the session, and the close code."""
    error = await client.error()
    assert error.connection_id
    assert error.req_id == ""
    return error.code, error.message, await client.close_code()


async def all_are_closed(service, patience: float = PATIENCE) -> None:
    """Wait until the service has no connection any more."""
    async with asyncio.timeout(patience):
        while service.counters.connections_open:
            await asyncio.sleep(0.01)


async def test_every_session_gets_an_id_of_its_own_and_no_capabilities(service):
    async with connected(service) as one, connected(service) as two:
        confirms = [await one.configure(), await two.configure()]

    assert all(confirm.connection_id for confirm in confirms)
    assert confirms[0].connection_id != confirms[1].connection_id
    assert all(confirm.capabilities == () for confirm in confirms)


@pytest.mark.parametrize(
    "message", [AudioInput("r", b"\0\0"), Interrupt("r"), ConfirmSession("c"), UNKNOWN_TYPE]
)
async def test_a_wrong_first_message_ends_the_session(service, message):
    async with connected(service) as client:
        await client.socket.send_bytes(message if isinstance(message, bytes) else encode(message))
        code, text, close_code = await ended(client)

    assert (code, close_code) == (0, 1008)
    assert text.startswith("unexpected message type: expected ClientConfigureSession message, got")


@pytest.mark.parametrize("sample_rate", [0, -1, 11025, 12000, 96000])
async def test_an_unsupported_rate_ends_the_session(service, sample_rate):
    async with connected(service) as client:
        await client.send(ConfigureSession(sample_rate, PCM))
        code, text, close_code = await ended(client)

    assert (code, close_code) == (0, 1008)
    assert text.startswith(f"unsupported sample rate {sample_rate}: none of 8000, 16000")


async def test_opus_has_rates_of_its_own(service):
    async with connected(service) as client:
        await client.configure(12000, AudioFormat.OGG_OPUS)
    async with connected(service) as client:
        await client.send(ConfigureSession(44100, AudioFormat.OGG_OPUS))
        assert (await client.error()).message.startswith("unsupported sample rate 44100")


async def test_opus_without_its_extra_is_refused_with_the_way_to_get_it(service, monkeypatch):
    monkeypatch.setattr("avatarpool.service.opus.is_available", lambda: False)
    async with connected(service) as client:
        await client.send(ConfigureSession(16000, AudioFormat.OGG_OPUS))
        code, text, close_code = await ended(client)

    assert (code, close_code) == (3, 1008)
    assert "pip install av" in text


ROOM = {"url": "wss://rooms.example", "room_name": "room"}


@pytest.mark.parametrize(
    ("egress", "code", "text"),
    [
        ({"livekit_egress": LiveKitEgressConfig(**ROOM, api_token="no.jwt")}, 16, "unauthorized"),
        ({"livekit_egress": LiveKitEgressConfig(**ROOM, api_token="a.b.c")}, 16, "unauthorized"),
        (
            {"livekit_egress": LiveKitEgressConfig(**ROOM, api_token=jwt())},
            14,
            "egress client is not configured on server",
        ),
        (
            {"livekit_egress": LiveKitEgressConfig(**ROOM, api_key="k", api_secret="s")},
            14,
            "egress client is not configured on server",
        ),
        (
            {"livekit_egress": LiveKitEgressConfig(**ROOM)},
            3,
            "invalid egress configuration: missing LiveKit credentials",
        ),
        (
            {"livekit_egress": LiveKitEgressConfig(api_token=jwt())},
            3,
            "invalid egress configuration: livekit_egress.url is missing; livekit_egress.room_name",
        ),
        (
            {"livekit_egress": LiveKitEgressConfig(**ROOM, api_token=jwt(), idle_timeout=-1)},
            3,
            "invalid egress configuration: livekit_egress.idle_timeout",
        ),
        (
            {"agora_egress": AgoraEgressConfig()},
            3,
            "invalid egress configuration: agora_egress.channel_name",
        ),
        (
            {"agora_egress": AgoraEgressConfig(channel_name="c", token="t")},
            14,
            "egress client is not configured on server",
        ),
    ],
)
async def test_egress_is_refused_for_what_it_is(service, egress, code, text):
    async with connected(service) as client:
        await client.send(ConfigureSession(16000, PCM, **egress))
        said = await ended(client)

    assert (said[0], said[2]) == (code, 1008)
    assert said[1].startswith(text)


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize("data", [b"\xff", b"\x08", b"\x08\x03", b"\x08\x03\x22\x03\x0a\x01\xff"])
async def test_malformed_protobuf_ends_the_session(service, is_open, data):
    async with connected(service) as client:
        if is_open:
            await client.configure()
        await client.socket.send_bytes(data)
        code, text, close_code = await ended(client)

    assert (code, close_code) == (0, 1007)
    what = "unexpected message type" if is_open else "failed to unmarshal initial message"
    assert text.startswith(f"{what}: message of ")


@pytest.mark.parametrize("is_open", [False, True])
async def test_a_text_message_ends_the_session(service, is_open):
    async with connected(service) as client:
        if is_open:
            await client.configure()
        await client.socket.send_str("hello")
        code, text, close_code = await ended(client)

    assert (code, close_code) == (0, 1003)
    assert "binary protobuf" in text


def configuration_of(size: int) -> bytes:
    """A valid configuration with an unknown field that makes it this large."""
    known = encode(ConfigureSession(16000, PCM))
    tag, length = b"\xfa\x07", size - len(known) - 5  # field 127; the length takes 3 bytes
    assert 1 << 14 <= length < 1 << 21
    varint = bytes((length & 127 | 128, length >> 7 & 127 | 128, length >> 14))
    return known + tag + varint + bytes(length)


async def test_a_configuration_larger_than_allowed_ends_the_session(service):
    limit = service.limits.max_configuration_bytes
    async with connected(service) as client:
        await client.socket.send_bytes(configuration_of(limit + 1))

        assert await ended(client) == (3, f"first message is larger than {limit} bytes", 1009)


async def test_a_configuration_as_large_as_allowed_opens_the_session(service, speech):
    limit = service.limits.max_configuration_bytes
    assert len(speech) > limit
    async with connected(service) as client:
        await client.socket.send_bytes(configuration_of(limit))
        assert isinstance(await client.receive(), ConfirmSession)

        await client.audio("r", speech, end=True)  # later messages may be larger
        assert len(await client.frames("r")) == 75


async def test_an_oversized_message_ends_the_session(shell):
    limits = ServiceLimits(max_message_bytes=2000)
    async with shell(limits=limits) as service, in_session(service) as client:
        await client.audio("r", bytes(2000))

        assert await client.close_code() == 1009


@pytest.mark.parametrize("message", [ConfigureSession(16000, PCM), ServerError(3, "no")])
async def test_a_message_out_of_place_ends_the_session(service, message):
    async with in_session(service) as client:
        await client.send(message)
        code, text, close_code = await ended(client)

    assert (code, close_code) == (0, 1008)
    assert text == f"unexpected message type: {type(message).__name__}"


async def test_what_is_unknown_or_of_no_use_is_ignored(service, syllable):
    async with in_session(service) as client:
        for data in (UNKNOWN_TYPE, UNKNOWN_FIELD, encode(Pause("r")), encode(Resume("r"))):
            await client.socket.send_bytes(data)
        await client.audio("r", syllable, end=True)

        assert len(await client.frames("r")) == 7


async def test_pings_are_answered(service):
    async with in_session(service) as client:
        client.socket._autoping = False
        await client.socket.ping(b"there?")
        message = await client.socket.receive(timeout=5)

    assert message.type.name == "PONG"
    assert message.data == b"there?"


FLOOD = 6400  # messages: some hundred turns of the session that is flooded
FLOODS = {
    "pings": [frame(b"%d" % i, WSMsgType.PING) for i in range(FLOOD)],
    "pongs": [frame(b"%d" % i, WSMsgType.PONG) for i in range(FLOOD)],
    "interrupts": [frame(encode(Interrupt(str(i)))) for i in range(FLOOD)],
    "messages without audio": [frame(encode(AudioInput("r", b"", end=False)))] * FLOOD,
}


@on_aiohttp  # which hands out one message after another; picows has done with them in no time
@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_in_one_session_lets_the_others_move_on(service, kind):
    async with in_session(service) as flooded, in_session(service) as other:

        async def flood_is_over() -> None:
            while (await flooded.receive()).req_id != "over":
                pass

        reading = asyncio.create_task(flood_is_over())
        flooded.transport.write(b"".join(FLOODS[kind]) + frame(encode(Interrupt("over"))))
        for i in range(3):
            await other.send(Interrupt(f"o{i}"))
            await other.frames(f"o{i}")
        for _ in range(10):  # what the server has written may still be on its way
            await asyncio.sleep(0)

        assert not reading.done()
        async with asyncio.timeout(PATIENCE):
            await reading


async def test_every_ping_of_a_flood_is_answered_with_its_payload(service):
    async with in_session(service) as client:
        client.socket._autoping = False
        client.transport.write(b"".join(FLOODS["pings"]))
        async with asyncio.timeout(PATIENCE):
            pongs = [await client.socket.receive() for _ in range(FLOOD)]

    assert {pong.type for pong in pongs} == {WSMsgType.PONG}
    assert [pong.data for pong in pongs] == [b"%d" % i for i in range(FLOOD)]


async def test_a_peer_that_leaves_in_a_flood_of_pings_is_no_fault(service, caplog):
    async with in_session(service) as client:
        client.transport.write(b"".join(FLOODS["pings"]))
        client.transport.abort()
        await all_are_closed(service)

    assert errors(caplog) == []


async def test_a_client_that_says_nothing_is_sent_away(shell):
    limits = ServiceLimits(handshake_timeout=0.5)  # enough to ask for a token
    async with shell(limits=limits) as service, connected(service) as client:
        assert await ended(client) == (
            0,
            "expected ClientConfigureSession message within 0.5 s",
            1008,
        )


async def test_an_idle_session_ends_with_the_reason_and_a_normal_closure(shell):
    limits = ServiceLimits(idle_timeout=0.05)
    async with shell(limits=limits) as service, in_session(service) as client:
        assert await ended(client) == (0, "no audio input for 0.05 s", 1000)


async def test_a_session_in_which_nothing_but_pings_come_is_idle(shell):
    limits = ServiceLimits(idle_timeout=0.5)
    async with shell(limits=limits) as service, in_session(service) as client:
        for _ in range(5):
            await client.socket.ping()
            await client.audio("r", b"")  # a message without audio is no audio

        assert (await ended(client))[2] == 1000


async def test_a_session_lasts_so_long_and_no_longer(shell, syllable):
    limits = ServiceLimits(max_session_duration=0.5)
    async with shell(limits=limits) as service, in_session(service) as client:
        await client.audio("r", syllable)

        assert await ended(client) == (4002, "maximum session duration of 0.5 s reached", 4002)
    assert service.counters.requests_open == 0


async def test_one_session_too_many_is_4003_until_a_slot_is_free(shell):
    async with shell(limits=ServiceLimits(max_connections=1)) as service:
        async with in_session(service), connected(service) as second:
            await second.send(ConfigureSession(16000, PCM))
            assert await ended(second) == (
                4003,
                "too many concurrent connections: the limit is 1",
                4003,
            )
        async with in_session(service):
            assert service.counters.connections_open == 1


async def test_connections_beside_the_sessions_are_bounded_too(shell):
    limits = ServiceLimits(max_connections=1, max_handshakes=1)
    async with shell(limits=limits) as service:
        async with in_session(service), connected(service):
            with pytest.raises(WSServerHandshakeError) as refused:
                async with connected(service):
                    pass
            assert refused.value.status == 503
            assert service.counters.upgrades_refused == 1
        async with connected(service), connected(service) as second:
            await second.configure()


async def test_applications_have_slots_of_their_own(shell):
    limits = ServiceLimits(max_connections=1)
    async with shell(limits=limits, other_apps={"b": "kb"}) as service:
        async with ClientSession() as http:
            token = await ask_for_token(http, service, "kb")
        async with in_session(service):
            service_b = copy(service)
            service_b.app_id = "b"
            async with connected(service_b, token=token) as other:
                await other.configure()


async def test_credits_that_run_out_end_the_session(shell, speech):
    limits = ServiceLimits(credits=1.0)
    async with shell(limits=limits) as service, in_session(service) as client:
        await client.audio("r", speech, end=True)

        assert await ended(client) == (4001, "credits exhausted", 4001)
    assert 1.0 <= service.counters.audio_seconds < 1.2
    assert service.counters.requests_open == 0


async def test_credits_that_run_out_while_audio_streams_in_are_no_fault(shell, speech, caplog):
    limits = ServiceLimits(credits=0.2)
    async with shell(limits=limits) as service, in_session(service) as client:
        small = [speech[i : i + 64] for i in range(0, len(speech), 64)] * 10
        pieces = [frame(encode(AudioInput("r", audio, end=False))) for audio in small]
        client.transport.write(b"".join(pieces))

        assert await ended(client) == (4001, "credits exhausted", 4001)
    assert service.counters.requests_open == 0
    assert errors(caplog) == []


async def test_a_request_that_uses_all_credits_is_served(shell, speech):
    limits = ServiceLimits(credits=1.0)
    async with shell(limits=limits) as service, in_session(service) as client:
        await client.audio("r", speech[:32000], end=True)

        assert len(await client.frames("r")) == 25


async def test_a_peer_that_reads_nothing_is_cut(shell, speech):
    limits = ServiceLimits(send_timeout=0.2)
    async with shell(limits=limits) as service, in_session(service) as client:
        transport = client.transport
        transport.pause_reading()
        with suppress(ConnectionError):  # on a slow machine it is cut while it still sends
            for i in range(8):
                await client.audio(f"r{i}", speech * 30, end=True)
        await all_are_closed(service, patience=20)

        assert service.counters.requests_served < 8
        assert service.counters.requests_open == 0
        transport.abort()


async def test_closing_the_service_tells_every_session(shell, speech):
    service = shell(limits=ServiceLimits(close_timeout=60.0))  # longer than this test may take
    await service.start()
    async with in_session(service) as busy, in_session(service) as idle, connected(service) as new:
        await busy.audio("r", speech * 20, end=True)
        await busy.receive()
        closing = asyncio.ensure_future(service.close())
        assert await idle.close_code() == 1001
        assert await new.close_code() == 1001
        while not busy.socket.closed:
            await busy.socket.receive()
        assert busy.socket.close_code == 1001
        async with asyncio.timeout(PATIENCE):
            await closing

    assert service.counters.connections_open == service.counters.requests_open == 0


async def test_a_second_close_waits_for_the_first(shell):
    service = shell(limits=ServiceLimits(close_timeout=0.1))
    await service.start()
    async with in_session(service) as client:
        client.transport.pause_reading()  # so that closing takes its time
        first = asyncio.create_task(service.close())
        await asyncio.sleep(0)  # until it waits for the session
        assert not first.done()
        await service.close()

        assert service.counters.connections_open == 0
        assert not [t for t in threading.enumerate() if t.name.startswith("avatarpool-lipsync")]
        await first
        client.transport.abort()


async def test_closing_the_service_does_not_wait_for_who_does_not_answer(shell, speech):
    limits = ServiceLimits(close_timeout=0.1)
    service = shell(limits=limits)
    await service.start()
    async with in_session(service) as client:
        transport = client.transport
        transport.pause_reading()
        await client.audio("r", speech * 40, end=True)
        async with asyncio.timeout(PATIENCE):
            await service.close()
        transport.abort()

    assert service.counters.connections_open == 0
