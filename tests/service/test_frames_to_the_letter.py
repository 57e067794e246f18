"""The local service, and the gateway, against every frame of a client, and its upgrade."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence

import pytest
from frame_cases import MAX_MESSAGE_BYTES, Case, cases
from gateway_service import GatewayService
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw_frames import (
    BINARY,
    CLOSE,
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
from raw_upgrades import ACCEPT, CONFIGURATION, KEY, UPGRADE, met, upgrading

from avatarpool.endpoint import refusals
from avatarpool.protocol.codec import decode, encode
from avatarpool.protocol.messages import (
    AnimationFrame,
    ConfirmSession,
    Interrupt,
)
from avatarpool.service import LocalAvatarService, ServiceLimits


def message(number: int, size: int) -> bytes:
    """An interrupt, which is answered with a last frame, made up to so many bytes."""
    said = encode(Interrupt(f"m{number}"))
    field = b"\xfa\x3f"  # number 1023, which nobody knows, of so many bytes
    for digits in (1, 2, 3):
        left = size - len(said) - len(field) - digits
        if 0 <= left < 1 << 7 * digits:
            length = [left >> 7 * i & 0x7F | 0x80 * (i < digits - 1) for i in range(digits)]
            return said + field + bytes(length) + bytes(left)
    raise AssertionError(size)


CASES = cases(message)


@pytest.fixture(params=[LocalAvatarService, GatewayService])
async def service(request: pytest.FixtureRequest) -> AsyncIterator[LocalAvatarService]:
    limits = ServiceLimits(
        max_message_bytes=MAX_MESSAGE_BYTES, max_overhead_bytes=MAX_MESSAGE_BYTES
    )
    async with request.param(limits=limits) as running:
        yield running


def answered(peer: RawPeer) -> tuple[int, ...]:
    """The numbers of the messages that were answered, in this order."""
    heard = [decode(frame.payload) for frame in peer.frames if frame.opcode == BINARY]
    return tuple(int(said.req_id[1:]) for said in heard if isinstance(said, AnimationFrame))


async def check(case: Case, peer: RawPeer) -> None:
    """Compare what has come of a case with what should."""
    if case.code is None:
        await peer.say([Frame(PING, b"alive").encode(by_client=True)])
        await peer.until(lambda: Frame(PONG, b"alive") in peer.frames)
        pongs = [*case.pongs, b"alive"]
        assert not peer.is_gone
        assert peer.closes == []
    else:
        await peer.until(lambda: peer.closes)
        await peer.until(lambda: len(answered(peer)) >= len(case.taken))
        pongs = list(case.pongs)
        assert peer.closes == [case.code]
    assert answered(peer) == case.taken
    assert [frame.payload for frame in peer.frames if frame.opcode == PONG] == pongs


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_what_is_sent_is_taken_by_the_letter(
    service: LocalAvatarService, case: Case, caplog: pytest.LogCaptureFixture
):
    data = case.encode(by_client=True)
    for pieces in (at_once(data), byte_by_byte(data)):
        async with met(service) as peer:
            await peer.say(pieces)
            await check(case, peer)
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    case=st.sampled_from([case for case in CASES if sum(len(f.payload) for f in case.sent) < 9999]),
    places=st.lists(st.integers(0, 10_000), max_size=8),
)
async def test_where_the_packets_end_makes_no_difference(
    service: LocalAvatarService, case: Case, places: list[int]
):
    async with met(service) as peer:
        await peer.say(split_at(case.encode(by_client=True), places))
        await check(case, peer)


@pytest.mark.parametrize("code", [1000, 4999, None])
async def test_a_close_frame_before_the_session_is_answered_likewise(
    service: LocalAvatarService, code: int | None
):
    async with upgrading(service, UPGRADE) as peer:
        await peer.say([close(code).encode(by_client=True)])
        await peer.until(lambda: peer.closes)
        assert [frame.opcode for frame in peer.frames] == [CLOSE]
        assert peer.closes == [code or 1000]


async def test_a_close_reason_is_cut_between_characters(
    service: LocalAvatarService, monkeypatch: pytest.MonkeyPatch
):
    long = refusals.Ending(1003, None, "x" + "\N{SNOWMAN}" * 50)
    monkeypatch.setattr(refusals, "TEXT_MESSAGE", long)
    async with met(service) as peer:
        await peer.say([Frame(TEXT, b"no").encode(by_client=True)])
        await peer.until(lambda: peer.closes)
        assert peer.frames[-1].payload[2:].decode() == "x" + "\N{SNOWMAN}" * 40


# --- the upgrade -------------------------------------------------------------------------


def with_connection(*lines: str) -> list[str]:
    others = [line for line in UPGRADE if not line.startswith("Connection")]
    return [*others, *(f"Connection: {line}" for line in lines)]


@pytest.mark.parametrize(
    "lines",
    [
        UPGRADE,
        with_connection("keep-alive, Upgrade"),  # Firefox
        with_connection("keep-alive", "Upgrade"),
        with_connection("Upgrade", "keep-alive"),
        with_connection("UPGRADE"),
        with_connection("foo ,\tupgrade"),
        [line.replace("websocket", "WebSocket") for line in UPGRADE],
        [line.upper() if line.startswith("Host") else line for line in UPGRADE],
        [*UPGRADE, "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"],
        [*UPGRADE, "Sec-WebSocket-Protocol: chat, superchat"],
        [*UPGRADE, "Origin: http://127.0.0.1"],
    ],
)
async def test_an_upgrade_is_answered_with_nothing_that_was_not_asked_for(
    service: LocalAvatarService, lines: Sequence[str]
):
    async with upgrading(service, lines) as peer:
        first, *headers, _, _ = peer.head.split(b"\r\n")
        assert first == b"HTTP/1.1 101 Switching Protocols"
        said = {name.lower(): value for name, _, value in (h.partition(b": ") for h in headers)}
        assert said[b"sec-websocket-accept"] == ACCEPT
        assert said[b"upgrade"].lower() == b"websocket"
        assert said[b"connection"].lower() == b"upgrade"
        assert said.keys().isdisjoint({b"sec-websocket-extensions", b"sec-websocket-protocol"})
        await peer.say([CONFIGURATION.encode(by_client=True)])
        await peer.until(lambda: peer.frames)
        assert isinstance(decode(peer.frames[0].payload), ConfirmSession)


@pytest.mark.parametrize(
    "lines",
    [
        with_connection("keep-alive"),
        with_connection("close"),
        with_connection(),
        [line for line in UPGRADE if not line.startswith("Upgrade")],
        [line.replace("websocket", "h2c") for line in UPGRADE],
        [line.replace("13", "12") for line in UPGRADE],
        [line for line in UPGRADE if "Version" not in line],
        [line for line in UPGRADE if "Key" not in line],
        [line.replace(KEY.decode(), "c2hvcnQ=") for line in UPGRADE],
        [line.replace(KEY.decode(), "*") for line in UPGRADE],
    ],
)
async def test_what_is_no_upgrade_is_told_so(service: LocalAvatarService, lines: Sequence[str]):
    async with upgrading(service, lines) as peer:
        first, *headers = peer.head.split(b"\r\n")
        assert first.startswith(b"HTTP/1.1 426 ")
        assert {b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"} <= set(headers)
