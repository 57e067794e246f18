"""Speech in a body, its animation in the answer."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import struct
import time

import pytest
from served_gateway import (
    ADMIN,
    ONE,
    PATIENCE,
    TWO,
    client,
    has,
    is_idle,
    problem,
    served,
    settings_of,
    until,
)

from avatarpool.audio import OpusEncoder
from avatarpool.blendshapes import ARKIT, LOCAL, ROTATIONS, arkit, visemes, vrm
from avatarpool.gateway import gateway as gateway_module
from avatarpool.gateway import uploads
from avatarpool.gateway.settings import Budget
from avatarpool.protocol.codec import decode
from avatarpool.protocol.keyframes import Keyframe
from avatarpool.protocol.messages import AnimationFrame, ServerError
from avatarpool.service import SessionFault

SECOND = bytes(range(256)) * 125  # 32,000 bytes
PARAMETERS = [name for name in Keyframe.__slots__ if name != "time"]


def wav(samples: bytes, rate: int = 16000) -> bytes:
    form = struct.pack("<HHIIHH", 1, 1, rate, rate * 2, 2, 16)
    chunks = b"fmt \x10\0\0\0" + form + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WAVE" + chunks


def ask(http, gateway, body, *, key=ONE, avatar="a", accept=None, **query):
    headers = has(key) | {"Content-Type": query.pop("content_type", "audio/pcm;rate=16000")}
    headers |= query.pop("headers", {})
    if accept:
        headers["Accept"] = accept
    url = f"{gateway.url}/v1/animations"
    return http.post(url, params={"avatar": avatar, **query}, data=body, headers=headers)


async def lines(response) -> list[dict[str, object]]:
    assert response.status == 200, await response.text()
    return [json.loads(line) for line in (await response.text()).splitlines()]


async def test_raw_pcm_gives_keyframes_with_times_and_an_end(http, gateway):
    async with ask(http, gateway, SECOND) as response:
        assert response.content_type == "application/x-ndjson"
        told = await lines(response)
    assert [record["time"] for record in told[:-1]] == [n / 25 for n in range(25)]
    assert set(told[0]) == {"type", "time", *Keyframe.__slots__}
    assert told[-1] == {"type": "end", "records": 25}
    await until(lambda: is_idle(gateway.gateway))


@pytest.mark.parametrize(
    ("content_type", "query", "body"),
    [
        ("audio/wav", {}, wav(SECOND)),
        ("application/x-www-form-urlencoded", {}, wav(SECOND)),  # as curl has it
        ("audio/wav", {}, wav(SECOND[:16000], 8000)),
        ("audio/wav", {}, wav(SECOND[:24000], 12000)),
        ("audio/pcm;rate=12000", {}, SECOND[:24000]),
        ("audio/L16;rate=8000;channels=2", {}, SECOND),
        ("application/octet-stream", {"sample_rate": "8000"}, SECOND[:16000]),
    ],
    ids=["wav", "curl", "wav8k", "wav12k", "pcm12k", "l16", "query"],
)
async def test_a_second_of_any_kind_is_25_keyframes(http, gateway, content_type, query, body):
    async with ask(http, gateway, body, content_type=content_type, **query) as response:
        told = await lines(response)
    assert told[-1] == {"type": "end", "records": 25}


async def test_mono_ogg_opus_goes_up_as_it_is_and_other_kinds_are_decoded(http, gateway):
    opus = OpusEncoder(16000).encode(SECOND, end=True)
    async with ask(http, gateway, opus, content_type="audio/ogg") as response:
        told = await lines(response)
    assert told[-1]["type"] == "end"
    assert 25 <= told[-1]["records"] <= 27
    assert "a/16000/ogg_opus" in map(str, gateway.gateway.group.pools)

    aiff = b"FORM\0\0\x7d\x2eAIFFCOMM\0\0\0\x12\0\x01\0\0\x3e\x80\0\x10\x40\x0c\xfa" + bytes(7)
    aiff += b"SSND" + struct.pack(">III", 32008, 0, 0) + SECOND
    async with ask(http, gateway, aiff, content_type="audio/aiff") as response:
        assert (await lines(response))[-1] == {"type": "end", "records": 25}


async def test_the_first_frames_come_before_the_last_audio_goes(http, gateway):
    gate = asyncio.Event()

    async def body():
        yield SECOND
        await gate.wait()
        yield SECOND

    async with ask(http, gateway, body()) as response:
        first = json.loads(await response.content.readuntil(b"\n"))
        assert first["time"] == 0.0
        gate.set()
        rest = (await response.text()).splitlines()
    assert json.loads(rest[-1]) == {"type": "end", "records": 50}


async def test_server_sent_events_are_named_by_their_types(http, gateway):
    async with ask(http, gateway, SECOND, accept="text/event-stream") as response:
        assert response.content_type == "text/event-stream"
        events = (await response.text()).strip().split("\n\n")
    assert len(events) == 26
    assert events[0].startswith("event: keyframe\ndata: {")
    assert events[-1] == 'event: end\ndata: {"type":"end","records":25}'


def messages(data: bytes) -> list[object]:
    found = []
    while data:
        size = int.from_bytes(data[:4], "big")
        found.append(decode(data[4 : 4 + size]))
        data = data[4 + size :]
    return found


async def test_messages_have_the_gateways_ids_and_the_last_one_says_so(http, gateway):
    kind = "application/vnd.avatarpool.messages"
    async with ask(http, gateway, SECOND, accept=kind) as response:
        assert response.content_type == kind
        frames = messages(await response.read())
    assert all(isinstance(frame, AnimationFrame) for frame in frames)
    assert [frame.end for frame in frames] == [False] * (len(frames) - 1) + [True]
    assert len({(frame.connection_id, frame.req_id) for frame in frames}) == 1
    assert frames[0].connection_id.startswith("gateway-")

    async with ask(http, gateway, SECOND, frames="message") as response:
        told = await lines(response)
    inside = [decode(base64.b64decode(record["message"])) for record in told[:-1]]
    assert inside[0].connection_id.startswith("gateway-")
    assert [frame.animation for frame in inside] == [frame.animation for frame in frames]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/x-ndjson"),
        ("text/*", "text/event-stream"),
        ("text/html, application/xml;q=0.9, */*;q=0.8", "application/x-ndjson"),
        ("application/x-ndjson;q=0.1, text/event-stream;q=nonsense, application/*;q=0.5",
         "application/vnd.avatarpool.messages"),
    ],
)  # fmt: skip
async def test_the_kind_is_negotiated(http, gateway, accept, kind):
    async with ask(http, gateway, SECOND, accept=accept) as response:
        assert (response.status, response.content_type) == (200, kind)


REFUSED = [
    ({"accept": "image/png"}, 406, "notAcceptable"),
    ({"avatar": ""}, 400, "invalidRequest"),
    ({"avatar": "a\nb"}, 400, "invalidRequest"),
    ({"frames": "pixels"}, 400, "invalidRequest"),
    ({"frames": "flame", "accept": "application/vnd.avatarpool.messages"}, 400, "invalidRequest"),
    ({"sample_rate": "fast"}, 400, "invalidRequest"),
    ({"sample_rate": "1", "content_type": "application/octet-stream"}, 400, "invalidAudio"),
    ({"headers": {"Content-Encoding": "gzip"}}, 415, "unsupportedMediaType"),
    ({"avatar": "nobody"}, 404, "avatarNotFound"),
    ({"key": TWO}, 403, "avatarNotAllowed"),
    ({"key": "wrong"}, 401, "unauthorized"),
    ({"key": ADMIN}, 401, "unauthorized"),
    ({"body": b""}, 400, "invalidAudio"),
    ({"body": b"abc"}, 400, "invalidAudio"),
    ({"body": wav(SECOND)[:-1000], "content_type": "audio/wav"}, 400, "invalidAudio"),
    ({"body": b"<html>" * 9, "content_type": "text/html"}, 415, "unsupportedMediaType"),
    ({"body": b"<html>" * 99_999, "content_type": "text/html"}, 415, "unsupportedMediaType"),
    ({"body": b"fLaC\0\0\0\x22" + bytes(500), "content_type": "audio/flac"}, 400, "invalidAudio"),
]


@pytest.mark.parametrize(("asked", "status", "code"), REFUSED)
async def test_what_cannot_be_animated_is_a_problem(http, gateway, asked, status, code):
    asked = {"body": SECOND} | asked
    async with ask(http, gateway, **asked) as response:
        told = await problem(response)
    assert (told["status"], told["code"]) == (status, code)
    assert len(str(told["detail"])) < 300
    await until(lambda: is_idle(gateway.gateway))


async def test_a_gzip_bomb_is_not_unpacked(http, gateway):
    bomb = gzip.compress(bytes(50_000_000))
    headers = {"Content-Encoding": "gzip"}
    async with ask(http, gateway, bomb, headers=headers) as response:
        assert (await problem(response))["code"] == "unsupportedMediaType"
    # Nor where it does not say so: it is no audio.
    async with ask(http, gateway, bomb, content_type="audio/wav") as response:
        assert (await problem(response))["code"] == "unsupportedMediaType"


async def test_a_body_beyond_the_bound_is_refused(http, gateway, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_WHOLE_BYTES", 100_000)
    body = b"fLaC\0\0\0\x22" + bytes(200_000)
    async with ask(http, gateway, body, content_type="audio/flac") as response:
        assert (await problem(response))["code"] == "bodyTooLarge"


async def test_what_is_read_whole_is_bounded_for_each_client(upstream, http, monkeypatch):
    monkeypatch.setattr(uploads, "_MAX_HELD_BYTES", 400_000)
    gate = asyncio.Event()

    async def body():
        yield b"fLaC\0\0\0\x22" + bytes(80_000)
        await gate.wait()

    async with served(upstream, clients=(client("one", ONE), client("two", TWO))) as gateway:
        held = gateway.gateway._animations._held
        flac = {"content_type": "audio/flac"}
        async with asyncio.TaskGroup() as group:
            first = group.create_task(ask(http, gateway, body(), **flac).__aenter__())
            await until(lambda: held.total > 80_000)
            async with ask(http, gateway, b"fLaC\0\0\0\x22" + bytes(80_000), **flac) as response:
                assert (await problem(response))["code"] == "busy"
            async with ask(
                http, gateway, b"fLaC\0\0\0\x22" + bytes(80_000), key=TWO, **flac
            ) as response:
                assert (await problem(response))["code"] == "invalidAudio"
            gate.set()
            assert (await problem(await first))["code"] == "invalidAudio"
        await until(lambda: held.total == 0)


async def test_too_much_audio_is_refused_while_it_comes(upstream, http):
    short = client("one", ONE, max_audio_seconds=1.0)
    async with served(upstream, clients=(short,)) as gateway:

        async def body():
            for _ in range(1000):
                yield SECOND
                await asyncio.sleep(0)

        async with ask(http, gateway, body()) as response:
            told = (
                await problem(response)
                if response.status != 200
                else json.loads((await response.text()).splitlines()[-1])
            )
        assert told["code"] == "audioTooLong"
        await until(lambda: is_idle(gateway.gateway))


async def test_a_body_that_does_not_come_is_given_up(gateway, http):
    gateway.gateway._animations._patience = 0.2

    async def body():
        yield SECOND
        await asyncio.sleep(30)

    async with ask(http, gateway, body()) as response:
        last = json.loads((await response.text()).splitlines()[-1])
    assert (last["type"], last["code"]) == ("error", "bodyTimeout")
    await until(lambda: is_idle(gateway.gateway))


async def test_what_fails_amid_the_answer_closes_with_an_error(upstream, http, gateway):
    for accept in ("application/x-ndjson", "application/vnd.avatarpool.messages"):
        upstream.faults.sessions = SessionFault(after_frames=10, close_code=1011)
        async with ask(http, gateway, SECOND * 3, accept=accept) as response:
            assert response.status == 200
            data = await response.read()
        if accept.endswith("messages"):
            assert isinstance(messages(data)[-1], ServerError)
        else:
            last = json.loads(data.splitlines()[-1])
            assert (last["type"], last["code"]) == ("error", "upstreamLost")


async def test_a_paused_gateway_says_when_to_come_again(http, gateway):
    gateway.gateway.exchange.is_paused = True
    async with ask(http, gateway, SECOND) as response:
        assert response.headers["Retry-After"] == "5"
        assert (await problem(response))["code"] == "paused"


async def test_who_waits_too_long_for_a_session_is_told(upstream, http):
    hasty = client("one", ONE, queue_timeout=0.2)
    async with served(upstream, clients=(hasty,), budget=Budget(sessions=1)) as gateway:
        gate = asyncio.Event()

        async def body():
            yield SECOND
            await gate.wait()

        async with ask(http, gateway, body()) as first:
            await first.content.readuntil(b"\n")
            async with ask(http, gateway, SECOND) as second:
                assert (await problem(second))["code"] == "queueTimeout"
            gate.set()
            assert b'"end"' in (await first.read()).splitlines()[-1]


async def test_a_service_that_cannot_be_reached_is_not_a_queue_that_is_too_long(upstream, http):
    hasty = client("one", ONE, queue_timeout=1.0)
    async with served(upstream, clients=(hasty,)) as gateway:
        await upstream.close()
        async with ask(http, gateway, SECOND) as response:
            assert response.headers["Retry-After"] == "1"
            assert (await problem(response))["code"] == "upstreamUnavailable"


# --- clients that leave, and that do not read ---------------------------------------------------


async def raw(gateway, head_lines: str, body: bytes = b""):
    reader, writer = await asyncio.open_connection(*gateway.address)
    host = "{}:{}".format(*gateway.address)
    head = f"POST /v1/animations?avatar=a HTTP/1.1\r\nHost: {host}\r\nX-Api-Key: {ONE}\r\n"
    writer.write((head + head_lines + "\r\n\r\n").encode() + body)
    return reader, writer


PCM = "Content-Type: audio/pcm;rate=16000\r\n"
PHASES = {
    "in the head": ("Content-Type: au", b""),
    "before the body": (PCM + "Content-Length: 64000", b""),
    "amid the body": (PCM + "Content-Length: 64000", SECOND),
    "amid a chunk": (PCM + "Transfer-Encoding: chunked", b"ffff\r\n" + SECOND),
    "after the body": (PCM + f"Content-Length: {len(SECOND)}", SECOND),
    "amid a file": ("Content-Length: 64000", b"fLaC\0\0\0\x22" + bytes(999)),
}


@pytest.mark.parametrize("is_abrupt", [False, True])
@pytest.mark.parametrize("phase", PHASES)
async def test_who_leaves_interrupts_the_request_without_a_trace(
    gateway, http, caplog, phase, is_abrupt
):
    for _ in range(3):
        _, writer = await raw(gateway, *PHASES[phase])
        await writer.drain()
        await asyncio.sleep(0.02)
        if is_abrupt:
            writer.transport.abort()
        writer.close()
    await until(lambda: is_idle(gateway.gateway))
    await until(lambda: not gateway.gateway._animations._held.total)
    async with ask(http, gateway, SECOND) as response:
        assert (await lines(response))[-1]["records"] == 25
    assert not [record for record in caplog.records if record.exc_info or record.levelno > 20]


async def test_who_leaves_amid_the_answer_interrupts_the_request(gateway, http, caplog):
    reader, writer = await raw(gateway, PCM + "Content-Length: 6400000", SECOND * 4)
    async with asyncio.timeout(30):
        await reader.readuntil(b"keyframe")
    writer.transport.abort()
    await until(lambda: is_idle(gateway.gateway))
    assert not [record for record in caplog.records if record.exc_info]


async def test_who_never_reads_is_cut_and_nobody_else_waits(upstream, http):
    async with served(upstream, clients=(client("one", ONE, max_audio_seconds=3600),)) as gateway:
        runner = gateway.gateway._listener._runner
        runner._connection.keywords["send_timeout"] = 0.5
        reader, writer = await raw(gateway, PCM + "Content-Length: 64000000")
        reader._transport.pause_reading()

        async def flood():
            for _ in range(2000):
                writer.write(SECOND)
                await writer.drain()

        flooding = asyncio.create_task(flood())
        async with ask(http, gateway, SECOND) as response:
            assert (await lines(response))[-1]["records"] == 25
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(90):
                await flooding
                while True:
                    writer.write(b"\0")
                    await writer.drain()
                    await asyncio.sleep(0.05)
        await until(lambda: is_idle(gateway.gateway))
        writer.close()


async def test_garbled_chunks_are_a_problem(gateway, caplog):
    reader, writer = await raw(gateway, PCM + "Transfer-Encoding: chunked", b"zz\r\nnonsense")
    async with asyncio.timeout(30):
        assert b" 400 " in await reader.readline()
    writer.close()
    await until(lambda: is_idle(gateway.gateway))
    assert not [record for record in caplog.records if record.exc_info]


async def test_nothing_crosses_clients(upstream, http):
    """Each gets as many keyframes as its own audio has, all at once."""
    clients = (client("one", ONE, max_waiting=99), client("two", TWO, max_waiting=99))
    async with served(upstream, clients=clients) as gateway:

        async def one(number: int) -> None:
            seconds = 1 + number % 4
            key = (ONE, TWO)[number % 2]
            async with ask(http, gateway, SECOND * seconds, key=key) as response:
                assert (await lines(response))[-1] == {"type": "end", "records": 25 * seconds}

        await asyncio.gather(*map(one, range(24)))
        await until(lambda: is_idle(gateway.gateway))


async def test_a_session_token_is_as_good_as_a_key(http, gateway):
    async with http.post(
        f"{gateway.url}/v1/console/session-tokens",
        json={"expireAt": int(time.time()) + 60},
        headers=has(ONE),
    ) as response:
        token = (await response.json())["sessionToken"]
    url = f"{gateway.url}/v1/animations?avatar=a"
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "audio/pcm"}
    async with http.post(url, data=SECOND, headers=headers) as response:
        assert (await lines(response))[-1]["records"] == 25
    async with http.post(url, data=SECOND, headers=headers | has(TWO)) as response:
        assert (await problem(response))["detail"] == "the request has several credentials"


FACES = {"arkit": arkit, "visemes": visemes, "vrm": vrm}


@pytest.mark.parametrize("face", FACES)
async def test_an_answer_may_be_another_faces_weights(http, gateway, face):
    async with ask(http, gateway, SECOND) as response:
        poses = (await lines(response))[:-1]
    async with ask(http, gateway, SECOND, frames=face) as response:
        told = await lines(response)
    assert told[-1] == {"type": "end", "records": 25}
    for record, pose in zip(told[:-1], poses, strict=True):
        keyframe = Keyframe(**{name: tuple(pose[name]) for name in PARAMETERS})
        assert (record["type"], record["time"]) == (face, pose["time"])
        assert record["weights"] == pytest.approx(FACES[face](keyframe), abs=1e-5)


async def test_what_the_coefficients_mean_may_be_told(http, upstream, tmp_path):
    LOCAL.save(tmp_path / "basis.json")
    known = settings_of(upstream).upstream.model_copy(update={"basis": tmp_path / "basis.json"})
    async with (
        served(upstream, upstream=known) as gateway,
        ask(http, gateway, SECOND, frames="arkit") as response,
    ):
        told = await lines(response)
    assert set(told[0]["weights"]) == {*ARKIT, *ROTATIONS}


async def test_bodies_that_never_come_leave_connections_to_other_clients(
    http, upstream, monkeypatch
):
    monkeypatch.setattr(gateway_module, "places", lambda *_: 8)
    head = "POST /v1/animations?avatar=a HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    head += f"X-Api-Key: {ONE}\r\nContent-Length: 9\r\n\r\n"
    async with served(upstream) as running:
        links = [await asyncio.open_connection(*running.address) for _ in range(8)]
        for _, writer in links:
            writer.write(head.encode())
        heard = [asyncio.create_task(reader.readline()) for reader, _ in links]
        told, _ = await asyncio.wait(heard, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result().split()[1] for task in told] == [b"503"]
        async with ask(http, running, SECOND, key=TWO, avatar="b") as response:
            assert (await lines(response))[-1]["type"] == "end"
        for _, writer in links:
            writer.close()
        await asyncio.wait(heard)
        one = running.gateway.clients.by_app_id("one")
        await until(lambda: not one._admitted)
