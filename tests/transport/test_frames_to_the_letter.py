"""The client against every frame that a server may and may not send, in packets of any cut."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from frame_cases import MAX_MESSAGE_BYTES, Case, cases
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw_frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    RawPeer,
    at_once,
    byte_by_byte,
    close,
    split_at,
)
from raw_server import SWITCHING, Notes, answering

from avatarpool import AvatarSDKError, AvatarSDKErrorCode
from avatarpool.transport.connecting import connect
from avatarpool.transport.websocket import Ended, WebSocket


def message(number: int, size: int) -> bytes:
    return f"{number}:".encode().ljust(size, b"\xa5")


CASES = cases(message)


class Listener(Notes):
    """Notes what the client hands over; it may refuse something."""

    def __init__(self, refused: bytes = b"") -> None:
        super().__init__()
        self.refused = refused

    def message_received(self, data: bytes) -> None:
        assert not self.ended.done()
        if self.refused and data.startswith(self.refused):
            raise AvatarSDKError(AvatarSDKErrorCode.protocolError, "nobody can read this")
        super().message_received(data)

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(int(data.split(b":")[0]) for data in self.messages)


@asynccontextmanager
async def met(listener: Listener, first: bytes = b"") -> AsyncIterator[tuple[RawPeer, WebSocket]]:
    """A server and the client that has just upgraded to it; `first` comes with its answer."""
    answer = SWITCHING.replace("\n", "\r\n").encode() + first
    async with answering(answer) as (peer, url):
        websocket = await connect(
            url,
            listener,
            headers={},
            secret="secret",
            timeout=5.0,
            max_message_bytes=MAX_MESSAGE_BYTES,
            ping_interval=None,
            ping_timeout=1.0,
        )
        try:
            yield peer, websocket
        finally:
            websocket.abort()
            peer.hang_up()
            await listener.ended


class Diverting(Listener):
    """Has messages taken before it is handed any, whenever that can be."""

    def __init__(self) -> None:
        super().__init__()
        self.websocket: WebSocket
        self.alone: list[bool] = []  # of each that was taken

    def divert(self, websocket: WebSocket) -> None:
        self.websocket = websocket
        websocket.divert(self.take)

    def take(self, message: bytes, *, is_alone: bool) -> bool:
        self.alone.append(is_alone)
        super().message_received(message)
        return True

    def message_received(self, data: bytes) -> None:
        super().message_received(data)
        self.websocket.divert(self.take)


async def check(case: Case, peer: RawPeer, listener: Listener) -> None:
    """Compare what has come of a case with what should."""
    if case.code is None:
        await peer.say([Frame(PING, b"alive").encode(by_client=False)])
        await peer.until(lambda: Frame(PONG, b"alive") in peer.frames)
        pongs = [*case.pongs, b"alive"]
        assert not listener.ended.done()
    else:
        await peer.until(lambda: peer.closes)
        pongs = list(case.pongs)
        assert peer.closes == [case.code]
        peer.hang_up()
        ended = await listener.ended
        assert ended.is_violation is case.is_violation
        assert ended.reason or not case.is_violation
        assert ended.code == (None if case.is_violation else peer_code(case))
    assert listener.numbers == case.taken
    assert [frame.payload for frame in peer.frames if frame.opcode == PONG] == pongs
    assert {frame.opcode for frame in peer.frames} <= {PONG, CLOSE}


def peer_code(case: Case) -> int:
    """What the first close frame of a case said; 1005 stands for nothing."""
    payload = next(frame.payload for frame in case.sent if frame.opcode == CLOSE)
    return int.from_bytes(payload[:2]) if payload else 1005


def assert_quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Check that no fault of a peer's was logged as one of ours."""
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_what_is_sent_is_taken_by_the_letter(case: Case, caplog: pytest.LogCaptureFixture):
    data = case.encode(by_client=False)
    for pieces in (at_once(data), byte_by_byte(data)):
        listener = Listener()
        async with met(listener) as (peer, _):
            await peer.say(pieces)
            await check(case, peer, listener)
    listener = Listener()
    async with met(listener, data) as (peer, _):  # in the packet of the answer to the upgrade
        await check(case, peer, listener)
    assert_quiet(caplog)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_what_is_diverted_is_what_would_be_handed_over(case: Case):
    data = case.encode(by_client=False)
    for pieces in (at_once(data), byte_by_byte(data)):
        async with met(listener := Diverting()) as (peer, websocket):
            listener.divert(websocket)
            await peer.say(pieces)
            await check(case, peer, listener)
            is_first_whole = case.sent[0].opcode == BINARY and case.sent[0].is_final
            assert listener.alone or not (case.taken and is_first_whole)


async def test_a_taker_learns_whether_more_has_come():
    frames = [Frame(BINARY, message(number, 40)).encode(by_client=False) for number in range(4)]
    async with met(listener := Diverting()) as (peer, websocket):
        listener.divert(websocket)
        await peer.say([b"".join(frames[:3])])
        await peer.until(lambda: len(listener.alone) == 3)
        await peer.say(frames[3:])
        await peer.until(lambda: len(listener.alone) == 4)
    assert listener.alone == [False, False, True, True]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    case=st.sampled_from([case for case in CASES if sum(len(f.payload) for f in case.sent) < 9999]),
    places=st.lists(st.integers(0, 10_000), max_size=8),
)
async def test_where_the_packets_end_makes_no_difference(case: Case, places: list[int]):
    listener = Listener()
    async with met(listener) as (peer, _):
        await peer.say(split_at(case.encode(by_client=False), places))
        await check(case, peer, listener)


async def test_empty_messages_are_messages():
    empty = [Frame(BINARY), Frame(BINARY, is_final=False), Frame(CONTINUATION)]
    listener = Listener()
    async with met(listener) as (peer, _):
        await peer.say([b"".join(frame.encode(by_client=False) for frame in empty)])
        await peer.say([close(1000).encode(by_client=False)])
        assert (await listener.ended).code == 1000
    assert listener.messages == [b"", b""]


@pytest.mark.parametrize("is_early", [True, False])
async def test_a_message_that_nobody_can_read_ends_it_with_the_reason(is_early: bool):
    listener = Listener(refused=b"1:")
    data = Frame(BINARY, message(1, 40)).encode(by_client=False)
    async with met(listener, data if is_early else b"") as (peer, _):
        await peer.say([] if is_early else [data])
        await peer.until(lambda: peer.closes)
        assert peer.frames == [close(1002, b"nobody can read this")]
        peer.hang_up()
        assert await listener.ended == Ended(None, "nobody can read this", is_violation=True)
    assert listener.messages == []


async def test_what_a_handler_fails_at_is_our_fault_and_told_as_that(
    caplog: pytest.LogCaptureFixture,
):
    class Broken(Listener):
        def message_received(self, data: bytes) -> None:
            raise ZeroDivisionError

    listener = Broken()
    async with met(listener) as (peer, _):
        await peer.say([Frame(BINARY, b"x").encode(by_client=False)])
        await peer.until(lambda: peer.closes)
        assert peer.closes == [1011]
        ended = await listener.ended
    assert (ended.reason, ended.is_violation) == ("a message could not be dealt with here", False)
    assert "on_ws_frame" in caplog.text


@pytest.mark.parametrize("sent", [10, 125, 126, 127, 128, 65535, 65536, 200_000])
async def test_what_the_client_sends_is_masked_and_whole(sent: int):
    async with met(Listener()) as (peer, websocket):
        data = bytes(range(256)) * (sent // 256) + bytes(range(sent % 256))
        websocket.write(data[:7], memoryview(data)[7:])
        websocket.write(data)
        await peer.until(lambda: len(peer.frames) == 2)  # decoded() looks at masks and lengths
        assert peer.frames == [Frame(BINARY, data)] * 2


@pytest.mark.parametrize("by", ["close", "fail"])
async def test_a_close_reason_is_cut_between_characters(by: str):
    async with met(listener := Listener()) as (peer, websocket):
        closing = None
        if by == "close":
            closing = asyncio.ensure_future(websocket.close(4000, "\N{SNOWMAN}" * 50, timeout=5.0))
        else:
            websocket.fail(4000, "x" + "\N{SNOWMAN}" * 50 + "\ud800")
        await peer.until(lambda: peer.closes)
        (frame,) = peer.frames
        said = frame.payload[2:].decode()
        assert said == ("\N{SNOWMAN}" * 41 if by == "close" else "x" + "\N{SNOWMAN}" * 40)
        peer.hang_up()
        await listener.ended
        if closing:
            await closing


@pytest.mark.parametrize(
    ("answer", "ended"),
    [
        ([close(1000, b"bye")], Ended(1000, "bye", is_local=True)),
        ([close(1000), close(1000)], Ended(1000, is_local=True)),
        ([close(1000), Frame(3)], Ended(1000, is_local=True)),
        ([close()], Ended(1005, is_local=True)),
        ([Frame(BINARY, b"1:"), close(4001)], Ended(4001, is_local=True)),
        ([], Ended(is_local=True)),
    ],
)
async def test_who_closes_first_hears_how_it_was_answered(answer: list[Frame], ended: Ended):
    async with met(listener := Listener()) as (peer, websocket):
        closing = asyncio.ensure_future(websocket.close(timeout=5.0))
        await peer.until(lambda: peer.closes)
        await peer.say([b"".join(frame.encode(by_client=False) for frame in answer)])
        if not answer:
            peer.hang_up()
        await closing
        assert await listener.ended == ended
        assert peer.closes == [1000]


async def test_a_violation_while_closing_is_told_and_not_answered_again():
    async with met(listener := Listener()) as (peer, websocket):
        closing = asyncio.ensure_future(websocket.close(timeout=5.0))
        await peer.until(lambda: peer.closes)
        await peer.say([Frame(3).encode(by_client=False)])
        await closing
        ended = await listener.ended
        assert (ended.is_violation, ended.is_local) == (True, True)
        assert peer.closes == [1000]


async def test_who_goes_on_after_a_violation_is_read_and_not_heard():
    async with met(listener := Listener()) as (peer, _):
        await peer.say([Frame(TEXT, b"no").encode(by_client=False)])
        await peer.until(lambda: peer.closes)
        for number in range(2, 40):
            await peer.say([Frame(BINARY, message(number, 60_000)).encode(by_client=False)])
        assert peer.transport.get_write_buffer_size() == 0
        assert not listener.ended.done()
        await peer.say([close(1000).encode(by_client=False)])
        peer.hang_up()
        assert (await listener.ended).is_violation
    assert listener.messages == []
