"""Our session: against the local service, and against peers that misbehave."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from peer import confirm, peer, slow_line, stop_reading
from proxying import Authority, port_of, tls_in_front_of
from raw_frames import Frame, close
from raw_server import SWITCHING, answering

from avatarpool import (
    AnimationFrame,
    AudioError,
    AudioFormat,
    AvatarConnectionPool,
    AvatarSDKError,
    AvatarSDKErrorCode,
    AvatarSession,
    ConfigurationError,
    LiveKitEgressConfig,
    OggOpusEncoderConfig,
    PlaybackState,
    PoolError,
    PoolEventKind,
    SessionConfig,
    SessionStateError,
    SessionTokenError,
    new_avatar_session,
)
from avatarpool.client.console import ConsoleClient
from avatarpool.client.outgoing import PIECE_BYTES, SLOW_PIECE_BYTES, ingress_target
from avatarpool.protocol.codec import decode, encode
from avatarpool.protocol.messages import AudioInput, ConfirmSession, Interrupt, ServerError
from avatarpool.service import LocalAvatarService

Code = AvatarSDKErrorCode
SILENCE = b"\0\0" * 640
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Heard:
    """A session's callbacks, and what they were told."""

    def __init__(self) -> None:
        self.frames: list[AnimationFrame] = []
        self.errors: list[Any] = []
        self.closed = asyncio.Event()
        self.ended = asyncio.Event()

    def wire(self, config: SessionConfig) -> SessionConfig:
        return replace(
            config, on_playback=self.frame, on_error=self.errors.append, on_close=self.closed.set
        )

    def frame(self, frame: AnimationFrame) -> None:
        self.frames.append(frame)
        if frame.end:
            self.ended.set()


@pytest.fixture
def heard() -> Heard:
    return Heard()


def open_sockets() -> set[str]:
    """This process's sockets, by inode."""
    links = set()
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208
        try:
            links.add(os.readlink(f"/proc/self/fd/{number}"))  # noqa: PTH115
        except OSError:
            continue
    return {link for link in links if link.startswith("socket:")}


@pytest.fixture
async def session(service: LocalAvatarService, heard: Heard) -> AsyncIterator[AvatarSession]:
    async with AvatarSession(heard.wire(service.config_factory())) as session:
        yield session


# --- the ordinary course ------------------------------------------------------------------


async def test_a_session_from_beginning_to_end(
    service: LocalAvatarService, speech: bytes, heard: Heard
):
    session = AvatarSession(heard.wire(service.config_factory()))
    assert repr(session) == "<AvatarSession None new>"
    await session.init()
    connection_id = await session.start()
    assert session.connection_id == connection_id
    assert session.capabilities == ()
    assert session.config.sample_rate == 16000
    assert repr(session) == f"<AvatarSession {connection_id} open>"
    req_id = await session.send_audio(speech, end=True)
    await heard.ended.wait()
    assert len(heard.frames) == 75
    assert {frame.req_id for frame in heard.frames} == {req_id}
    assert {frame.connection_id for frame in heard.frames} == {connection_id}
    await session.close()
    assert heard.closed.is_set()
    assert heard.errors == []
    await session.close()
    with pytest.raises(SessionStateError, match="closed"):
        await session.send_audio(SILENCE)


async def test_raw_messages_go_to_transport_frames(service: LocalAvatarService, speech: bytes):
    got: list[tuple[bytes, bool]] = []
    done = asyncio.Event()

    def take(data: bytes, is_last: bool) -> None:
        got.append((data, is_last))
        if is_last:
            done.set()

    async with new_avatar_session(**fields(service.config_factory()), transport_frames=take) as s:
        await s.send_audio(speech[:6400], end=True)
        await done.wait()
    assert [is_last for _, is_last in got] == [False] * 4 + [True]
    assert all(isinstance(decode(data), AnimationFrame) for data, _ in got)


async def test_a_borrowers_frames_are_the_very_messages_that_came(
    service: LocalAvatarService, speech: bytes
):
    got: list[bytes] = []
    played: list[AnimationFrame] = []

    def config() -> SessionConfig:
        return service.config_factory(
            transport_frames=lambda data, is_last: got.append(data), on_playback=played.append
        )

    async with AvatarConnectionPool(1, config) as pool, pool.borrow() as conn:
        for _ in range(2):
            await conn.session.send_audio(speech, end=True)
            frames = await conn.collector.wait()
            assert len(frames) == 75
            assert all(bytes(frame) is data for frame, data in zip(frames, got, strict=True))
            assert all(frame is other for frame, other in zip(frames, played, strict=True))
            got.clear()
            played.clear()


@pytest.mark.parametrize("is_ours", [True, False], ids=["given context", "SSL_CERT_FILE"])
async def test_an_answer_of_many_frames_comes_whole_over_tls(
    service: LocalAvatarService,
    speech: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_ours: bool,
):
    authority = Authority(tmp_path)
    context = authority.trusting() if is_ours else None
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    tls = authority.serving("127.0.0.1")
    async with (
        tls_in_front_of(port_of(service.ingress_url), tls) as port,
        AvatarConnectionPool(
            1,
            lambda: service.config_factory(
                ingress_endpoint_url=service.ingress_url.replace(
                    f"ws://127.0.0.1:{port_of(service.ingress_url)}", f"wss://127.0.0.1:{port}"
                ),
                ssl_context=context,
            ),
        ) as pool,
    ):
        async with pool.borrow() as conn:
            for _ in range(2):
                await conn.session.send_audio(speech * 20, end=True)
                frames = await conn.collector.wait()
                assert [frame.end for frame in frames] == [False] * 1494 + [True]
            await conn.session.send_audio(speech)
        async with pool.borrow() as conn:  # the same one, once its end was seen
            await conn.session.send_audio(speech, end=True)
            assert len(await conn.collector.wait()) == 75
        assert pool.get_stats()["connections_num"] == 1


async def test_fields_of_a_later_version_are_kept_in_a_frames_bytes(heard: Heard):
    sent: list[bytes] = []

    async def serve(websocket: web.WebSocketResponse) -> None:
        await confirm(websocket)
        audio = decode(await websocket.receive_bytes())
        assert isinstance(audio, AudioInput)
        for end in (False, False, False, True):
            sent.append(encode(AnimationFrame(audio.req_id, end, b"12")) + b"\x7a\x05hello")
            await websocket.send_bytes(sent[-1])
        await heard.closed.wait()

    async with peer(serve) as config, AvatarSession(heard.wire(config)) as session:
        await session.send_audio(SILENCE, end=True)
        await heard.ended.wait()
    assert [bytes(frame) for frame in heard.frames] == sent


def fields(config: SessionConfig) -> dict[str, object]:
    names = ("avatar_id", "api_key", "app_id", "console_endpoint_url", "ingress_endpoint_url")
    return {name: getattr(config, name) for name in names}


async def test_audio_of_any_size_leaves_in_pieces_and_arrives_whole():
    audio = bytes(range(256)) * 700  # 179,200 bytes
    got: list[AudioInput] = []

    async def behave(websocket: web.WebSocketResponse) -> None:
        await confirm(websocket)
        while not got or not got[-1].end:
            message = decode(await websocket.receive_bytes())
            assert isinstance(message, AudioInput)
            got.append(message)
        await websocket.send_bytes(encode(AnimationFrame(got[0].req_id, end=True)))

    async with peer(behave) as config:
        ended = asyncio.Event()
        async with AvatarSession(replace(config, on_playback=lambda frame: ended.set())) as session:
            await session.send_audio(audio, end=True)
            await ended.wait()
    assert b"".join(message.audio for message in got) == audio
    assert max(len(message.audio) for message in got) == PIECE_BYTES
    assert [message.end for message in got] == [False] * (len(audio) // PIECE_BYTES) + [True]
    assert len({message.req_id for message in got}) == 1


async def test_an_end_without_audio_ends_a_request_that_has_some(
    session: AvatarSession, heard: Heard
):
    first = await session.send_audio(SILENCE)
    assert await session.send_audio(b"") == first
    assert await session.send_audio(b"", end=True) == first
    await heard.ended.wait()
    assert len(heard.frames) == 1


async def test_an_interrupted_request_gives_way_to_the_next(
    session: AvatarSession, heard: Heard, speech: bytes
):
    first = await session.send_audio(speech, end=True)
    assert await session.interrupt() == first
    second = await session.send_audio(SILENCE, end=True)
    await heard.ended.wait()
    assert {frame.req_id for frame in heard.frames if frame.end} == {second}


async def test_there_must_be_a_request_to_interrupt(session: AvatarSession):
    with pytest.raises(SessionStateError, match="no request to interrupt"):
        await session.interrupt()


@pytest.mark.parametrize("audio", [b"", b"\0", b"RIFF\0\0\0\0WAVE", "text"])
async def test_wrong_audio_is_refused_and_nothing_is_sent(session: AvatarSession, audio: Any):
    with pytest.raises(AudioError):
        await session.send_audio(audio, end=True)
    assert session.requests.last is None


async def test_trace_context_goes_with_the_first_audio():
    got: list[AudioInput] = []

    async def behave(websocket: web.WebSocketResponse) -> None:
        await confirm(websocket)
        for _ in range(3):
            message = decode(await websocket.receive_bytes())
            assert isinstance(message, AudioInput)
            got.append(message)
            if message.end:
                await websocket.send_bytes(encode(AnimationFrame(message.req_id, end=True)))

    traces = iter([{"traceparent": "00-a", "tracestate": "x=1"}, {}])
    async with peer(behave) as there:
        ended = asyncio.Event()
        config = replace(
            there, trace_context=lambda: next(traces), on_playback=lambda f: ended.set()
        )
        async with AvatarSession(config) as session:
            await session.send_audio(SILENCE)
            await session.send_audio(SILENCE, end=True)
            await ended.wait()
            await session.send_audio(SILENCE)
            await session.abandon()
    assert [message.traceparent for message in got] == ["00-a", "", ""]
    assert [message.tracestate for message in got] == ["x=1", "", ""]


@pytest.mark.parametrize("piece_ms", [10, 125])  # less than an Opus frame, and more
async def test_pcm_is_encoded_for_an_ogg_opus_session(
    service: LocalAvatarService, speech: bytes, heard: Heard, piece_ms: int
):
    encoded: list[tuple[str, bytes]] = []
    config = service.config_factory(
        audio_format=AudioFormat.OGG_OPUS,
        ogg_opus_encoder=OggOpusEncoderConfig(),
        on_encoded_audio=lambda req_id, data: encoded.append((req_id, data)),
    )
    async with AvatarSession(heard.wire(config)) as session:
        size = piece_ms * 32
        req_ids = {
            await session.send_audio(speech[start : start + size])
            for start in range(0, len(speech), size)
        }
        await session.send_audio(b"", end=True)
        await heard.ended.wait()
    assert len(heard.frames) == 75
    [(of, ogg)] = encoded
    assert req_ids == {of}
    assert ogg.startswith(b"OggS")
    assert len(ogg) < len(speech) / 3


async def test_a_request_has_one_encoder_though_the_one_before_still_drains(
    service: LocalAvatarService, speech: bytes
):
    encoded: dict[str, bytes] = {}
    config = service.config_factory(
        audio_format=AudioFormat.OGG_OPUS,
        ogg_opus_encoder=OggOpusEncoderConfig(),
        on_encoded_audio=encoded.__setitem__,
    )
    async with AvatarSession(config) as session:
        assert session._websocket is not None
        session._websocket.pause_writing()  # as if the peer were slow
        async with asyncio.TaskGroup() as group:
            interrupted = asyncio.create_task(session.send_audio(speech, end=True))
            group.create_task(session.interrupt())
            group.create_task(session.send_audio(speech))
            await asyncio.sleep(0)
            session._websocket.resume_writing()
        with pytest.raises(SessionStateError, match="was interrupted"):
            await interrupted
        req_id = await session.send_audio(speech, end=True)
    assert list(encoded) == [req_id]
    assert encoded[req_id].count(b"OpusHead") == 1


async def test_callbacks_that_raise_are_logged_and_change_nothing(
    service: LocalAvatarService, caplog: pytest.LogCaptureFixture
):
    done = asyncio.Event()

    def raising(frame: AnimationFrame) -> None:
        done.set()
        raise RuntimeError("in a callback")

    async with AvatarSession(service.config_factory(on_playback=raising)) as session:
        await session.send_audio(SILENCE, end=True)
        await done.wait()
        assert session.is_open
    assert "in a callback" in caplog.text


class Outcome(BaseException):
    """No `Exception`, as pytest's outcomes are none."""


CALLBACKS = ("transport_frames", "on_playback", "on_error", "on_close")


@pytest.mark.parametrize(
    "kind", [asyncio.CancelledError, Outcome, StopIteration], ids=lambda kind: kind.__name__
)
@pytest.mark.parametrize("name", CALLBACKS)
async def test_whatever_a_callback_raises_its_session_goes_on(
    name: str,
    kind: type[BaseException],
    service: LocalAvatarService,
    caplog: pytest.LogCaptureFixture,
):
    def raising(*_: object) -> None:
        raise kind

    async with AvatarConnectionPool(1, lambda: service.config_factory(**{name: raising})) as pool:
        for _ in range(2):
            async with pool.borrow() as conn:
                await conn.session.send_audio(SILENCE, end=True)
                assert len(await conn.collector.wait(5.0)) == 1
        assert pool.get_stats()["connections_lost"] == 0
        if name == "on_error":  # nothing but its end has one to tell
            assert service._ingress is not None
            [session] = service._ingress._sessions
            session._socket.transport.abort()
            async with asyncio.timeout(20):
                while not pool.get_stats()["connections_lost"]:
                    await asyncio.sleep(0.002)
    assert "failed" in caplog.text
    assert "raising" in caplog.text


@pytest.mark.parametrize(
    "kind", [LookupError, asyncio.CancelledError, Outcome], ids=lambda kind: kind.__name__
)
async def test_borrowers_learn_of_a_trace_context_that_raises_by_an_error_of_ours(
    kind: type[BaseException], service: LocalAvatarService
):
    failing = [True]

    def trace_context() -> dict[str, str]:
        if failing:
            raise kind("no span")
        return {}

    config = partial(service.config_factory, trace_context=trace_context)
    async with AvatarConnectionPool(1, config) as pool, pool.borrow() as conn:
        with pytest.raises(PoolError, match="send_audio failed") as caught:
            await conn.session.send_audio(SILENCE, end=True)
        cause = caught.value.__cause__
        assert kind in (type(cause), type(cause and cause.__cause__))
        failing.clear()
        await conn.session.send_audio(SILENCE, end=True)
        assert len(await conn.collector.wait(5.0)) == 1


@pytest.mark.parametrize("given", [{"traceparent": 7}, {"tracestate": None}, ["traceparent"]])
async def test_a_trace_context_of_nonsense_begins_no_request(
    given: Any, service: LocalAvatarService
):
    async with AvatarSession(service.config_factory(trace_context=lambda: given)) as session:
        with pytest.raises(TypeError):
            await session.send_audio(SILENCE)
        assert session.requests.is_settled


async def test_abandon_ends_whatever_is_open():
    got: list[object] = []
    closed = asyncio.Event()

    async def behave(websocket: web.WebSocketResponse) -> None:
        await confirm(websocket)
        got.extend([decode(message.data) async for message in websocket])
        closed.set()

    async with peer(behave) as config:
        async with AvatarSession(config) as session:
            await session.abandon()
            req_id = await session.send_audio(SILENCE)
            await session.abandon()
        await closed.wait()
    assert got == [
        AudioInput(req_id, SILENCE),
        AudioInput(req_id, b"", end=True),
        Interrupt(req_id),
    ]


async def test_abandoning_a_request_leaves_the_next_one_alone(heard: Heard):
    got: list[object] = []
    closed = asyncio.Event()

    async def behave(websocket: web.WebSocketResponse) -> None:
        await confirm(websocket)
        got.append(decode(await websocket.receive_bytes()))
        await websocket.send_bytes(encode(ServerError(13, "driven server request failed")))
        got.extend([decode(message.data) async for message in websocket])
        closed.set()

    async with peer(behave) as config:
        async with AvatarSession(heard.wire(config)) as session:
            failed = await session.send_audio(SILENCE)
            while not heard.errors:
                await asyncio.sleep(0)
            assert session._websocket is not None
            session._websocket.pause_writing()  # as if the peer were slow
            async with asyncio.TaskGroup() as group:
                group.create_task(session.abandon())
                sending = group.create_task(session.send_audio(SILENCE, end=True))
                await asyncio.sleep(0)
                session._websocket.resume_writing()
        await closed.wait()
    assert got == [
        AudioInput(failed, SILENCE),
        AudioInput(failed, b"", end=True),
        AudioInput(sending.result(), SILENCE, end=True),
    ]


# --- opening ----------------------------------------------------------------------------------


async def test_a_session_is_opened_in_order_and_once(service: LocalAvatarService):
    session = AvatarSession(service.config_factory())
    with pytest.raises(SessionStateError, match="no token yet"):
        await session.start()
    with pytest.raises(SessionStateError, match="the session is new"):
        await session.send_audio(SILENCE)
    await session.init()
    await session.start()
    for call in (session.init(), session.start()):
        with pytest.raises(SessionStateError):
            await call
    await session.close()


def test_a_configuration_that_cannot_work_is_refused_at_once():
    with pytest.raises(ConfigurationError, match="avatar_id is missing"):
        new_avatar_session(api_key="k")


async def test_a_wrong_key_is_a_token_error(service: LocalAvatarService):
    session = AvatarSession(service.config_factory(api_key="wrong"))
    with pytest.raises(SessionTokenError) as caught:
        await session.init()
    assert caught.value.http_status == 401
    assert caught.value.phase == "session_token"


async def test_an_unreachable_ingress_is_connection_failed(service: LocalAvatarService):
    config = service.config_factory(ingress_endpoint_url="ws://127.0.0.1:1")
    with pytest.raises(AvatarSDKError) as caught:
        async with AvatarSession(config):
            pass
    assert caught.value.code is Code.connectionFailed
    assert caught.value.phase == "websocket_connect"
    assert caught.value.retryable


async def test_a_service_that_never_confirms_is_given_up():
    async def behave(websocket: web.WebSocketResponse) -> None:
        await websocket.receive_bytes()
        await websocket.receive()

    async with peer(behave) as config:
        session = AvatarSession(replace(config, handshake_timeout=0.05))
        await session.init()
        with pytest.raises(
            AvatarSDKError, match=r"did not confirm the session within 0\.05 s"
        ) as caught:
            await session.start()
        assert caught.value.phase == "websocket_handshake"
        assert not session.is_open


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (encode(ServerError(4003, "too many concurrent connections")), Code.concurrencyLimit),
        (encode(ServerError(3, "unsupported sample rate: 1")), Code.unsupportedSampleRate),
        (encode(ConfirmSession("")), Code.protocolError),
        (encode(AnimationFrame("r")), Code.protocolError),
        (b"\xff\xff\xff", Code.protocolError),
        ("text", Code.protocolError),
    ],
)
async def test_a_handshake_that_is_answered_wrongly_fails(answer: Any, code: Code):
    async def behave(websocket: web.WebSocketResponse) -> None:
        await websocket.receive_bytes()
        send = websocket.send_str if isinstance(answer, str) else websocket.send_bytes
        await send(answer)
        await websocket.receive()

    heard = Heard()
    async with peer(behave) as config:
        session = AvatarSession(heard.wire(config))
        await session.init()
        with pytest.raises(AvatarSDKError) as caught:
            await session.start()
        assert caught.value.code is code
        assert caught.value.phase in ("websocket_handshake", "websocket_runtime")
    assert heard.errors == []  # start() raised it


@pytest.mark.parametrize(
    ("close_code", "code"), [(4010, "sessionTokenInvalid"), (1011, "connectionClosed")]
)
async def test_a_connection_that_closes_in_the_handshake_says_why(close_code: int, code: str):
    async def behave(websocket: web.WebSocketResponse) -> None:
        await websocket.receive_bytes()
        await websocket.close(code=close_code, message=b"because")

    async with peer(behave) as config:
        with pytest.raises(AvatarSDKError, match="because") as caught:
            async with AvatarSession(config):
                pass
        assert caught.value.code.value == code
        assert caught.value.close_code == close_code


async def test_messages_right_behind_the_confirmation_are_not_lost(heard: Heard):
    async def behave(websocket: web.WebSocketResponse) -> None:
        await confirm(websocket)
        await websocket.send_bytes(encode(ServerError(4002, "maximum session duration")))
        await websocket.close(code=4002)

    async with peer(behave) as config:
        session = AvatarSession(heard.wire(config))
        await session.init()
        await session.start()
        await heard.closed.wait()
    assert {error.code for error in heard.errors} == {Code.sessionDurationExceeded}


@asynccontextmanager
async def raw_ingress(serve: Serve) -> AsyncIterator[SessionConfig]:
    """Give out tokens as usual, and have ``serve`` take what comes to the ingress."""

    async def nothing(websocket: web.WebSocketResponse) -> None:
        raise AssertionError

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with listening, peer(nothing) as there:
        yield replace(there, ingress_endpoint_url=f"ws://127.0.0.1:{port}")


async def test_secrets_that_a_refusal_repeats_are_hidden():
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        [key] = [line[15:] for line in request.split(b"\r\n") if line.startswith(b"X-Session-Key")]
        body = b'{"message": "bad token ' + key + b' of a%2Fkey"}'
        head = b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n" % len(body)
        writer.write(head + body)
        writer.close()

    async with raw_ingress(serve) as config:
        with pytest.raises(AvatarSDKError, match=r"bad token \[hidden\] of \[hidden\]"):
            async with AvatarSession(replace(config, api_key="a/key")):
                pass


@pytest.mark.parametrize("is_confirmed", [False, True])
@pytest.mark.parametrize("is_close", [False, True])
async def test_secrets_that_the_service_repeats_are_hidden(
    is_close: bool, is_confirmed: bool, heard: Heard, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(0, "avatarpool")
    words = "credits exhausted: a-token of a-key in a-room's-secret"

    async def behave(websocket: web.WebSocketResponse) -> None:
        await (confirm(websocket) if is_confirmed else websocket.receive())
        if is_close:
            await websocket.close(code=4001, message=words.encode())
        else:
            await websocket.send_bytes(encode(ServerError(13, words)))
        await websocket.receive()

    room = LiveKitEgressConfig("wss://livekit", "room-key", "a-room's-secret", "room", "face")
    async with peer(behave) as there:
        config = replace(there, api_key="a-key", livekit_egress=room)
        try:
            async with AvatarSession(heard.wire(config)):
                while not heard.errors:
                    await asyncio.sleep(0.01)
        except AvatarSDKError as error:
            heard.errors.append(error)
    error = heard.errors[0]
    assert str(error).endswith("credits exhausted: [hidden] of [hidden] in [hidden]")
    assert error.code is Code.creditsExhausted
    for secret in ("a-token", "a-key", "a-room's-secret"):
        assert secret not in f"{error!r} {vars(error)} {caplog.text}"


async def test_a_peer_that_hangs_up_in_the_upgrade_is_connection_failed():
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with raw_ingress(serve) as config:
        with pytest.raises(AvatarSDKError, match="during the upgrade") as caught:
            async with AvatarSession(config):
                pass
    assert caught.value.code is Code.connectionFailed


async def test_a_close_right_behind_the_upgrade_says_why():
    async def behave(websocket: web.WebSocketResponse) -> None:
        await websocket.close(code=4003, message=b"too many concurrent connections")

    async with peer(behave) as config:
        with pytest.raises(AvatarSDKError) as caught:
            async with AvatarSession(config):
                pass
    assert caught.value.code is Code.concurrencyLimit


async def test_a_session_that_is_ended_as_soon_as_it_is_confirmed_says_why():
    async def behave(websocket: web.WebSocketResponse) -> None:
        await confirm(websocket)
        await websocket.close(code=4001, message=b"credits exhausted")

    async with peer(behave) as config:
        pool = AvatarConnectionPool(1, lambda: config)
        with pytest.raises(PoolError, match="creditsExhausted"):
            await pool.initialize()


async def test_a_trace_context_that_raises_begins_no_request(service: LocalAvatarService):
    def raising() -> dict[str, str]:
        raise LookupError("no span")

    async with AvatarSession(service.config_factory(trace_context=raising)) as session:
        for _ in range(2):
            with pytest.raises(LookupError):
                await session.send_audio(SILENCE)
        assert session.requests.is_settled


async def hanging(websocket: web.WebSocketResponse) -> None:
    """Take the configuration and answer nothing until the peer is gone."""
    await websocket.receive_bytes()
    await websocket.receive()


async def test_every_step_of_opening_can_be_cancelled_and_leaves_no_socket():
    async def behave(websocket: web.WebSocketResponse) -> None:
        await confirm(websocket)
        await websocket.receive()

    async with peer(behave) as config:
        before = open_sockets()

        async def opened() -> None:
            async with AvatarSession(config):
                await asyncio.sleep(5)

        for steps in range(60):
            task = asyncio.create_task(opened())
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
        async with asyncio.timeout(20):
            while open_sockets() - before:
                await asyncio.sleep(0.005)


async def test_closing_while_it_opens_ends_the_opening():
    async with peer(hanging) as config:
        session = AvatarSession(config)
        await session.init()
        starting = asyncio.create_task(session.start())
        async with asyncio.timeout(20):
            while session._confirmed is None:
                await asyncio.sleep(0)
        await session.close()
        with pytest.raises(SessionStateError, match="closed while it opened"):
            await starting
        session = AvatarSession(config)
        await session.init()
        starting = asyncio.create_task(session.start())
        await asyncio.sleep(0)  # not connected yet
        await session.close()
        with pytest.raises(SessionStateError, match="closed while it opened"):
            await starting


async def test_credentials_go_into_the_query_where_headers_cannot():
    async def behave(websocket: web.WebSocketResponse) -> None:
        await confirm(websocket)
        await websocket.receive()

    async with peer(behave) as there:
        config = replace(
            there,
            use_query_auth=True,
            ingress_endpoint_url=there.ingress_endpoint_url + "/?region=eu&id=other",
        )
        url, headers = ingress_target(config, "t k")
        async with AvatarSession(config) as session:
            assert session.is_open
    assert headers == {}
    assert url.endswith("/websocket?region=eu&id=avatar&appId=app&sessionKey=t+k")


@pytest.mark.parametrize("connection_id", ["c" * 257, "c-1\n2026-01-01 forged"])
async def test_a_connection_id_that_no_log_should_have_is_a_protocol_error(connection_id: str):
    async def behave(websocket: web.WebSocketResponse) -> None:
        await confirm(websocket, connection_id)
        await websocket.receive()

    async with peer(behave) as config:
        session = AvatarSession(config)
        await session.init()
        with pytest.raises(AvatarSDKError, match="connection id is not of 1 to 256"):
            await session.start()


async def test_a_confirmation_that_comes_before_the_settings_is_a_protocol_error():
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        key = request.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
        digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()  # noqa: S324
        data = encode(ConfirmSession("too early"))
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: "
            + base64.b64encode(digest)
            + b"\r\n\r\n\x82"
            + bytes([len(data)])
            + data
        )
        await reader.read()
        writer.close()

    async with raw_ingress(serve) as config:
        session = AvatarSession(config)
        await session.init()
        with pytest.raises(AvatarSDKError, match="without its settings") as caught:
            await session.start()
    assert caught.value.code is Code.protocolError
    assert not session.is_open


async def test_a_service_that_ends_each_session_it_took_is_not_hammered():
    opened = 0

    async def behave(websocket: web.WebSocketResponse) -> None:
        nonlocal opened
        opened += 1
        await confirm(websocket)
        await asyncio.sleep(0.005)
        await websocket.close(code=4001, message=b"credits exhausted")

    ended = asyncio.Event()
    async with (
        peer(behave) as config,
        AvatarConnectionPool(
            1,
            lambda: config,
            on_event=lambda event: event.kind is PoolEventKind.BREAKER_OPEN and ended.set(),
        ) as pool,
    ):
        await ended.wait()
        with pytest.raises(AvatarSDKError, match="creditsExhausted"):
            async with pool.borrow():
                pass
        assert opened == 1


# --- running -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [b"\xff\xff\xff", encode(ConfirmSession("again")), "text"],
    ids=["garbage", "second confirmation", "text"],
)
async def test_a_peer_that_breaks_the_protocol_is_left(data: Any, heard: Heard):
    async def behave(websocket: web.WebSocketResponse) -> None:
        await confirm(websocket)
        await (websocket.send_str if isinstance(data, str) else websocket.send_bytes)(data)
        message = await websocket.receive()
        assert message.type is WSMsgType.CLOSE

    async with peer(behave) as config:
        session = AvatarSession(heard.wire(config))
        await session.init()
        await session.start()
        await heard.closed.wait()
    assert [error.code for error in heard.errors] == [Code.protocolError]


async def test_audio_for_a_connection_that_is_being_closed_fails_with_its_error():
    async def behave(websocket: web.WebSocketResponse) -> None:
        await confirm(websocket)
        await websocket.send_bytes(b"\xff\xff\xff")
        transport = stop_reading(websocket)  # so that the closing lasts
        await gate.wait()
        transport.abort()

    gate = asyncio.Event()
    async with peer(behave) as config:
        session = AvatarSession(config)
        await session.init()
        await session.start()
        while session.is_open:
            await asyncio.sleep(0)
        with pytest.raises(AvatarSDKError) as caught:
            await session.send_audio(SILENCE)
        assert caught.value.code is Code.connectionClosed
        gate.set()
        await session.close()


async def test_errors_of_a_request_end_it_and_not_the_session(heard: Heard):
    async def behave(websocket: web.WebSocketResponse) -> None:
        await confirm(websocket)
        audio = decode(await websocket.receive_bytes())
        assert isinstance(audio, AudioInput)
        await websocket.send_bytes(encode(ServerError(13, "driven server request failed")))
        await websocket.send_bytes(encode(AnimationFrame(audio.req_id, end=True)))
        audio = decode(await websocket.receive_bytes())
        assert isinstance(audio, AudioInput)
        await websocket.send_bytes(encode(PlaybackState(audio.req_id, "playing")))
        await websocket.send_bytes(encode(AnimationFrame(audio.req_id, end=True)))

    states: list[PlaybackState] = []
    failed = asyncio.Event()

    def on_error(error: Exception) -> None:
        heard.errors.append(error)
        failed.set()

    async with peer(behave) as there:
        config = replace(heard.wire(there), on_playback_state=states.append, on_error=on_error)
        session = AvatarSession(config)
        await session.init()
        await session.start()
        await session.send_audio(SILENCE, end=True)
        await failed.wait()
        second = await session.send_audio(SILENCE, end=True)
        await heard.ended.wait()
        await session.close()
    assert heard.errors[0].code is Code.upstreamError
    assert [frame.req_id for frame in heard.frames] == [second]
    assert [(state.req_id, state.state) for state in states] == [(second, "playing")]


async def test_a_lost_connection_says_so_to_every_later_call(heard: Heard):
    async def behave(websocket: web.WebSocketResponse) -> None:
        await confirm(websocket)
        await websocket.close(code=4002, message=b"maximum session duration")

    async with peer(behave) as config:
        session = AvatarSession(heard.wire(config))
        await session.init()
        await session.start()
        await heard.closed.wait()
        for call in (session.send_audio(SILENCE), session.interrupt()):
            with pytest.raises(AvatarSDKError) as caught:
                await call
            assert caught.value.code is Code.sessionDurationExceeded
            assert caught.value.phase == "websocket_send"
            assert caught.value.close_code == 4002
    assert len(heard.errors) == 1


async def test_a_peer_that_takes_no_data_holds_the_sender_and_then_costs_the_session():
    stop = asyncio.Event()

    async def behave(websocket: web.WebSocketResponse) -> None:
        await confirm(websocket)
        transport = stop_reading(websocket)
        await stop.wait()
        transport.abort()

    async with peer(behave) as config:
        async with AvatarSession(replace(config, send_timeout=0.1)) as session:
            with pytest.raises(AvatarSDKError, match=r"took no data for 0\.10 s") as caught:
                while True:
                    await session.send_audio(bytes(1 << 20))
            assert caught.value.phase == "websocket_send"
            assert not session.is_open
            with pytest.raises(AvatarSDKError, match="took no data"):
                await session.interrupt()
        stop.set()


def takes_all(got: list[object]) -> Callable[[web.WebSocketResponse], Awaitable[None]]:
    """Confirm, take every message, and answer each request once its audio has ended."""

    async def behave(websocket: web.WebSocketResponse) -> None:
        await confirm(websocket)
        async for data in websocket:
            message = decode(data.data)
            got.append(message)
            if isinstance(message, AudioInput) and message.end:
                await websocket.send_bytes(encode(AnimationFrame(message.req_id, end=True)))

    return behave


async def test_a_peer_that_steadily_takes_audio_is_slow_and_not_cut(heard: Heard):
    got: list[object] = []
    audio = bytes(170_000)
    async with peer(takes_all(got)) as there, slow_line(there, 60_000) as slow:
        # Less than the first piece takes alone, and than a ping behind it takes.
        config = replace(slow, send_timeout=1.4, ping_interval=1.6, ping_timeout=1.6)
        async with AvatarSession(heard.wire(config)) as session:
            await session.send_audio(audio, end=True)
            await heard.ended.wait()
            assert session.is_open
    assert heard.errors == []
    pieces = [message.audio for message in got if isinstance(message, AudioInput)]
    assert b"".join(pieces) == audio
    # An interrupt would wait for the rest of a piece: a slow peer gets smaller ones.
    assert [len(piece) for piece in pieces[:3]] == [PIECE_BYTES, SLOW_PIECE_BYTES, SLOW_PIECE_BYTES]


async def test_an_interrupt_overtakes_the_audio_that_has_not_left(heard: Heard):
    got: list[object] = []
    async with peer(takes_all(got)) as there, slow_line(there, 400_000) as slow:
        async with AvatarSession(heard.wire(slow)) as session:
            sending = asyncio.create_task(session.send_audio(bytes(8_000_000), end=True))
            while not (session._websocket and session._websocket.is_held_back):
                await asyncio.sleep(0)
            interrupted = await session.interrupt()
            with pytest.raises(SessionStateError, match="interrupted while its audio was being"):
                await sending
            followed_by = await session.send_audio(SILENCE, end=True)
            while not heard.frames:
                await asyncio.sleep(0.001)
    assert got == [
        AudioInput(interrupted, bytes(PIECE_BYTES)),
        AudioInput(interrupted, b"", end=True),
        Interrupt(interrupted),
        AudioInput(followed_by, SILENCE, end=True),
    ]
    assert {frame.req_id for frame in heard.frames} == {followed_by}


async def test_an_interrupt_waits_for_nothing_though_the_peer_takes_nothing():
    stop = asyncio.Event()

    async def behave(websocket: web.WebSocketResponse) -> None:
        await confirm(websocket)
        transport = stop_reading(websocket)
        await stop.wait()
        transport.abort()

    async with peer(behave) as config, AvatarSession(config) as session:
        sending = asyncio.create_task(session.send_audio(bytes(64 << 20), end=True))
        async with asyncio.timeout(10):
            while not (session._websocket and session._websocket.is_held_back):
                await asyncio.sleep(0)
        with pytest.raises(StopIteration):
            session.interrupt().send(None)
        stop.set()
        with pytest.raises((AvatarSDKError, SessionStateError)):
            await sending


async def test_an_interrupt_of_audio_that_has_all_been_sent_says_no_second_end():
    got: list[object] = []
    async with peer(takes_all(got)) as config, AvatarSession(config) as session:
        req_id = await session.send_audio(SILENCE, end=True)
        await session.interrupt()
        while len(got) < 2:
            await asyncio.sleep(0.001)
    assert got == [AudioInput(req_id, SILENCE, end=True), Interrupt(req_id)]


async def test_encoding_gives_others_their_turn(service: LocalAvatarService, speech: bytes):
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    config = service.config_factory(
        audio_format=AudioFormat.OGG_OPUS, ogg_opus_encoder=OggOpusEncoderConfig()
    )
    async with AvatarSession(config) as session:
        others = asyncio.create_task(take_turns())
        await asyncio.sleep(0)
        turns = 0
        await session.send_audio(speech)
        assert turns >= len(speech) // 16000  # one for each half second of it
        others.cancel()
        await asyncio.wait([others])


async def test_cancelling_a_send_leaves_whole_messages():
    resume = asyncio.Event()
    got: list[AudioInput] = []
    done = asyncio.Event()

    async def behave(websocket: web.WebSocketResponse) -> None:
        await confirm(websocket)
        transport = stop_reading(websocket)
        await resume.wait()
        transport.resume_reading()
        while not got or not got[-1].end:
            message = decode(await websocket.receive_bytes())
            assert isinstance(message, AudioInput)
            got.append(message)
        done.set()
        await websocket.receive()

    async with peer(behave) as config, AvatarSession(config) as session:
        sending = asyncio.create_task(session.send_audio(bytes(64 << 20), end=True))
        async with asyncio.timeout(10):
            while not (session._websocket and session._websocket._writable):
                await asyncio.sleep(0)
        sending.cancel()
        await asyncio.wait([sending])
        assert session.requests.is_half_sent
        resume.set()
        await session.send_audio(b"", end=True)
        await done.wait()
    assert len({message.req_id for message in got}) == 1
    assert all(len(message.audio) == PIECE_BYTES for message in got[:-1])


@asynccontextmanager
async def slow_reader() -> AsyncIterator[tuple[SessionConfig, asyncio.Event, list[AudioInput]]]:
    """A peer that reads nothing until it is told to, and what it then got."""
    resume, got = asyncio.Event(), []

    async def behave(websocket: web.WebSocketResponse) -> None:
        await confirm(websocket)
        transport = stop_reading(websocket)
        await resume.wait()
        transport.resume_reading()
        while (received := await websocket.receive()).type is WSMsgType.BINARY:
            message = decode(received.data)
            if isinstance(message, AudioInput):
                got.append(message)

    async with peer(behave) as config:
        yield config, resume, got


async def held_back(session: AvatarSession) -> None:
    async with asyncio.timeout(10):
        while not (session._websocket and session._websocket._writable):
            await asyncio.sleep(0)


async def test_sends_side_by_side_follow_each_other_each_whole():
    async with slow_reader() as (config, resume, got), AvatarSession(config) as session:
        parts = [bytes([number]) * (3 << 20) for number in range(1, 4)]
        sending = [asyncio.create_task(session.send_audio(part)) for part in parts]
        await held_back(session)
        resume.set()
        assert len(set(await asyncio.gather(*sending))) == 1
        await session.send_audio(b"", end=True)
        async with asyncio.timeout(10):
            while not (got and got[-1].end):
                await asyncio.sleep(0.002)
        assert b"".join(bytes(message.audio) for message in got) == b"".join(parts)
        assert [message.end for message in got] == [False] * (len(got) - 1) + [True]


async def test_of_two_whole_requests_side_by_side_the_second_is_refused_with_a_sentence():
    async with slow_reader() as (config, resume, _), AvatarSession(config) as session:
        first = asyncio.create_task(session.send_audio(bytes(8 << 20), end=True))
        await held_back(session)
        second = asyncio.create_task(session.send_audio(SILENCE, end=True))
        await asyncio.sleep(0)
        resume.set()
        req_id = await first
        with pytest.raises(SessionStateError, match=f"request {req_id} is still being answered"):
            await second


async def test_audio_that_waits_behind_an_interrupted_send_becomes_no_request_of_its_own():
    async with slow_reader() as (config, resume, _), AvatarSession(config) as session:
        first = asyncio.create_task(session.send_audio(bytes(8 << 20)))
        await held_back(session)
        second = asyncio.create_task(session.send_audio(SILENCE, end=True))
        await asyncio.sleep(0)
        req_id = await session.interrupt()
        resume.set()
        with pytest.raises(SessionStateError, match="interrupted while its audio was being sent"):
            await first
        with pytest.raises(SessionStateError, match=f"request {req_id} was over before more"):
            await second
        assert session.requests.last == req_id
        assert await session.send_audio(SILENCE, end=True) != req_id


async def test_an_interrupt_from_another_task_stops_the_sending():
    stop = asyncio.Event()

    async def behave(websocket: web.WebSocketResponse) -> None:
        await confirm(websocket)
        transport = stop_reading(websocket)
        await stop.wait()
        transport.resume_reading()
        while (await websocket.receive()).type is WSMsgType.BINARY:
            pass

    async with peer(behave) as config, AvatarSession(config) as session:
        sending = asyncio.create_task(session.send_audio(bytes(64 << 20), end=True))
        async with asyncio.timeout(10):
            while not (session._websocket and session._websocket._writable):
                await asyncio.sleep(0)
        interrupting = asyncio.create_task(session.interrupt())
        await asyncio.sleep(0)
        stop.set()
        with pytest.raises(SessionStateError, match="interrupted while its audio was being sent"):
            await sending
        await interrupting


async def test_an_unanswered_ping_ends_the_session(heard: Heard):
    stop = asyncio.Event()

    async def behave(websocket: web.WebSocketResponse) -> None:
        await confirm(websocket)
        await stop.wait()  # nobody reads, so nobody answers the ping

    async with peer(behave, autoping=False) as there:
        config = replace(heard.wire(there), ping_interval=0.3, ping_timeout=0.3)
        session = AvatarSession(config)
        await session.init()
        await session.start()
        await heard.closed.wait()
        assert heard.errors[0].code is Code.connectionClosed
        assert "ping" in heard.errors[0].message
        assert heard.errors[0].retryable
        stop.set()


async def test_a_service_that_answers_a_ping_proves_that_it_lives(service: LocalAvatarService):
    session = AvatarSession(service.config_factory(ping_interval=None))
    assert not await session.proves_alive(5.0)
    async with session:
        assert await session.proves_alive(5.0)
        assert await session.proves_alive(5.0)
    assert not await session.proves_alive(5.0)


async def test_a_service_that_answers_no_ping_does_not_prove_that_it_lives():
    stop = asyncio.Event()

    async def behave(websocket: web.WebSocketResponse) -> None:
        await confirm(websocket)
        await stop.wait()  # nobody reads

    async with peer(behave, autoping=False) as config, AvatarSession(config) as session:
        assert not await session.proves_alive(0.05)
        assert session.is_open  # who asked decides what follows
        stop.set()


async def test_an_answered_ping_keeps_the_session(service: LocalAvatarService):
    config = service.config_factory(ping_interval=1.0, ping_timeout=1.0)
    async with AvatarSession(config) as session:
        assert session._websocket is not None
        pulse = session._websocket._pulse
        async with asyncio.timeout(20):
            while pulse._pinged < 2:  # the first was answered, or there would be no second
                await asyncio.sleep(0.01)
        assert session.is_open


def test_nothing_secret_is_shown(caplog: pytest.LogCaptureFixture):
    caplog.set_level(0)

    async def run() -> None:
        async with LocalAvatarService(api_key="secret-api-key") as service:
            for query in (True, False):
                config = service.config_factory(use_query_auth=query)
                tokens: list[str] = []
                session = AvatarSession(config)
                await session.init()
                tokens.append(session._token or "")
                await session.start()
                shown = f"{session!r} {config!r} {service!r} {session.__getstate__()}"
                await session.close()
                for secret in ("secret-api-key", *tokens):
                    assert secret not in caplog.text
                    assert secret not in shown.replace(repr(config.api_key), "")

    asyncio.run(run())


class WithToken(ConsoleClient):
    """Gives a token without asking anybody."""

    async def request_token(self, config: SessionConfig) -> str:
        return "token"


@pytest.mark.parametrize(
    ("frames", "code", "sentence"),
    [
        ([Frame(2, b"abc")], Code.protocolError, "(?i)message"),
        ([Frame(2, b"abc"), Frame(2, b"abc")], Code.protocolError, "(?i)message"),
        ([Frame(2, encode(Interrupt("r")))], Code.protocolError, "answered with Interrupt"),
        ([Frame(2, encode(ConfirmSession("c")))], Code.protocolError, "without its settings"),
        (
            [Frame(2, encode(ServerError(4001, "credits exhausted", "c"))), close(4001)],
            Code.creditsExhausted,
            "credits exhausted",
        ),
        ([close(4003, b"too many")], Code.concurrencyLimit, "with code 4003: too many"),
        ([close(1006)], Code.protocolError, "the code 1006|close code: 1006"),
        ([Frame(1, b"hello")], Code.protocolError, "text message"),
        ([Frame(2, b"abc", reserved=4)], Code.protocolError, "a reserved bit"),
        ([Frame(3)], Code.protocolError, "invalid opcode"),
        ([Frame(2, announced=1 << 40)], Code.protocolError, "exceeding max"),
    ],
)
async def test_what_comes_in_the_packet_of_the_answer_is_told_with_its_sentence(
    frames: list[Frame], code: Code, sentence: str
):
    said = b"".join(frame.encode(by_client=False) for frame in frames)
    async with answering(SWITCHING.replace("\n", "\r\n").encode() + said) as (raw_peer, url):
        config = SessionConfig(
            api_key="k",
            app_id="a",
            avatar_id="a",
            console_endpoint_url="http://127.0.0.1:1",
            ingress_endpoint_url=url.split("?")[0],
        )
        session = AvatarSession(config, console=WithToken())
        await session.init()
        starting = asyncio.ensure_future(session.start())
        await raw_peer.until(lambda: raw_peer.closes or starting.done())
        raw_peer.hang_up()
        with pytest.raises(AvatarSDKError, match=sentence) as caught:
            await starting
        assert caught.value.code is code
