"""What a server may answer to the upgrade, in packets of any cut, and what comes of it."""

from __future__ import annotations

import asyncio
import base64
import gc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw_frames import BINARY, Cut, Frame, at_once, byte_by_byte, close, split_at
from raw_server import (
    ACCEPT,
    FIRST,
    SWITCHING,
    UPGRADE,
    Notes,
    answering,
)

from avatarpool import AvatarSDKError, AvatarSDKErrorCode
from avatarpool.transport import upgrade
from avatarpool.transport.connecting import connect
from avatarpool.transport.websocket import Ended, WebSocket

SECRET = "the-session-key"


async def open_at(url: str, notes: Notes, *, timeout: float = 20.0) -> WebSocket:
    return await connect(
        url,
        notes,
        headers={"X-Session-Key": SECRET},
        secret=SECRET,
        timeout=timeout,
        max_message_bytes=100_000,
        ping_interval=None,
        ping_timeout=1.0,
    )


async def refused(
    answer: str | bytes, cut: Cut = at_once, *, hangs_up: bool = False, timeout: float = 20.0
) -> AvatarSDKError:
    """What the client makes of an answer; it leaves no connection."""
    async with answering(answer, cut, hangs_up=hangs_up) as (peer, url):
        with pytest.raises(AvatarSDKError) as caught:
            await open_at(url, Notes(), timeout=timeout)
        await peer.until(lambda: False)
        assert peer.is_gone
    error = caught.value
    assert error.phase == "websocket_connect"
    assert str(error).isprintable()
    assert SECRET not in f"{error} {error!r} {vars(error)} {error.__cause__!r}"
    return error


CUTS = pytest.mark.parametrize("cut", [at_once, byte_by_byte])


def with_connection(lines: str) -> str:
    return f"{FIRST}{UPGRADE}{lines}{ACCEPT}\n"


def test_the_request_is_picows_and_asks_for_nothing_more():
    async def request() -> bytes:
        async with answering(SWITCHING) as (peer, url):
            notes = Notes()
            (await open_at(url, notes)).abort()
            await notes.ended
            return peer.head

    first, *lines, _, _ = asyncio.run(request()).split(b"\r\n")
    headers = dict(line.split(b": ", 1) for line in lines)
    assert first == b"GET /a?b=c HTTP/1.1"
    assert len(base64.b64decode(headers.pop(b"Sec-WebSocket-Key"))) == 16
    assert headers.pop(b"Host").startswith(b"127.0.0.1:")
    assert headers == {
        b"Upgrade": b"websocket",
        b"Connection": b"Upgrade",
        b"Sec-WebSocket-Version": b"13",
        b"X-Session-Key": SECRET.encode(),
    }


# --- taken -------------------------------------------------------------------------------


@CUTS
@pytest.mark.parametrize(
    "answer",
    [
        SWITCHING,
        with_connection("Connection: keep-alive, Upgrade\n"),
        with_connection("Connection: keep-alive\nConnection: Upgrade\n"),
        with_connection("Connection: Upgrade\nConnection: keep-alive\n"),
        with_connection("connection:UPGRADE\n"),
        with_connection("Connection: ,\tfoo ,upgrade\t,\n"),
        with_connection("Connection: keep-alive,\n\t Upgrade\n"),
        SWITCHING.replace("Upgrade: websocket", "UPGRADE:\t WebSocket \t"),
        SWITCHING.replace(" Switching Protocols", ""),
        SWITCHING.replace("Switching Protocols", "G\xfcltig \xff"),
        SWITCHING.replace("Switching Protocols", ""),
        SWITCHING.replace("Upgrade: ", "Server: x\nSet-Cookie: a=b\nVia:\nX-Y: \xe4\nUpgrade: ", 1),
        SWITCHING.replace(
            "Upgrade: ", "Sec-WebSocket-Extensions: \nContent-Length: 0\nUpgrade: ", 1
        ),
        SWITCHING.replace("Upgrade: ", f"X: {'x' * 15_000}\nUpgrade: ", 1),
        f"HTTP/1.1 100 Continue\n\n{SWITCHING}",
        f"HTTP/1.1 103 Early Hints\nLink: </a>\n\nHTTP/1.1 102 Processing\n\n{SWITCHING}",
    ],
)
async def test_an_answer_that_switches_is_taken(answer: str, cut: Cut):
    async with answering(answer, cut) as (peer, url):
        notes = Notes()
        websocket = await open_at(url, notes)
        await peer.say([Frame(BINARY, b"hello").encode(by_client=False)])
        websocket.write(b"there")
        await peer.until(lambda: peer.frames)
        assert peer.frames == [Frame(BINARY, b"there")]
        await peer.say([close(1000).encode(by_client=False)])
        assert await notes.ended == Ended(1000)
        assert notes.messages == [b"hello"]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(places=st.lists(st.integers(0, 400), max_size=6))
async def test_where_the_packets_end_makes_no_difference(places: list[int]):
    data = Frame(BINARY, b"with it").encode(by_client=False) + close(4001).encode(by_client=False)
    answer = with_connection("Connection: keep-alive\nConnection: Upgrade\n").replace("\n", "\r\n")
    async with answering(answer.encode() + data, lambda raw: split_at(raw, places)) as (_, url):
        notes = Notes()
        await open_at(url, notes)
        assert await notes.ended == Ended(4001)
        assert notes.messages == [b"with it"]


async def test_much_may_come_in_the_packet_of_the_answer():
    messages = [bytes([n]) * (n * 300) for n in range(1, 40)]
    frames = b"".join(Frame(BINARY, data).encode(by_client=False) for data in messages)
    data = frames + close(1000).encode(by_client=False)
    async with answering(SWITCHING.replace("\n", "\r\n").encode() + data) as (_, url):
        notes = Notes()
        await open_at(url, notes)
        assert await notes.ended == Ended(1000)
        assert notes.messages == messages


async def test_nothing_of_the_upgrade_stays_with_an_open_connection():
    gc.collect()  # those of other tests
    async with answering(SWITCHING) as (_, url):
        notes = Notes()
        websocket = await open_at(url, notes)
        await asyncio.sleep(0)
        left = [it for it in gc.get_objects() if type(it) in {upgrade.Upgrade, upgrade.Head}]
        websocket.abort()
        await notes.ended
    assert left == []


# --- not taken ---------------------------------------------------------------------------


@CUTS
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (SWITCHING.replace(UPGRADE, ""), "its Upgrade is missing and not 'websocket'"),
        (SWITCHING.replace(UPGRADE, "Upgrade: h2c\n"), "its Upgrade is 'h2c' and not 'websocket'"),
        (SWITCHING.replace(UPGRADE, UPGRADE * 2), "its Upgrade is 'websocket, websocket' and not"),
        (with_connection(""), "its Connection is missing and names no 'Upgrade'"),
        (with_connection("Connection: keep-alive\n"), "its Connection is 'keep-alive' and names"),
        (with_connection("Connection: not-upgrade\n"), "its Connection is 'not-upgrade' and names"),
        (with_connection("Connection: up grade\n"), "its Connection is 'up grade' and names no"),
        (SWITCHING.replace(ACCEPT, ""), "its Sec-WebSocket-Accept is missing: of another key"),
        (SWITCHING.replace("ACCEPT", "bm9uc2Vuc2U="), "is 'bm9uc2Vuc2U=': of another key"),
        (SWITCHING.replace(ACCEPT, ACCEPT * 2), "=': of another key"),
        *(
            (SWITCHING.replace(ACCEPT, f"{ACCEPT}{header}\n"), why)
            for header, why in (
                ("Sec-WebSocket-Extensions: permessage-deflate", "chose the extension 'permessage"),
                ("sec-websocket-extensions: x; a=b, y", "the extension 'x; a=b, y', which nobody"),
                ("Sec-WebSocket-Protocol: chat", "the subprotocol 'chat', which nobody asked for"),
                (f"Sec-WebSocket-Protocol: {SECRET}", "the subprotocol '[hidden]', which nobody"),
                (f"Sec-WebSocket-Protocol: {'z' * 50}{SECRET}", f"'{'z' * 50}[hidden]', which"),
                ("Sec-WebSocket-Protocol: \x1b[31m\xff", "the subprotocol '\\x1b[31m\xff', which"),
                (f"Sec-WebSocket-Protocol: {'y' * 500}", f"'{'y' * 60}...', which nobody asked"),
                ("Transfer-Encoding: chunked", "it has a body"),
                ("Content-Length: 5", "it has a body"),
            )
        ),
        (SWITCHING.replace("HTTP/1.1", "HTTP/1.0"), "it is of HTTP/1.0"),
    ],
)
async def test_a_101_that_is_wrong_says_what_is_wrong(answer: str, why: str, cut: Cut):
    error = await refused(answer, cut)
    assert error.message.startswith("the peer's 101 opens no such WebSocket: ")
    assert why in error.message
    assert (error.code, error.http_status) == (AvatarSDKErrorCode.protocolError, 101)


@CUTS
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("SSH-2.0-OpenSSH_9.6\n", "it began with 'S"),
        ("<html>", "it began with '<"),
        (f"{FIRST}{SECRET}\n\n", "one of its headers is '[hidden]'"),
        ("\n\nHTTP/1.1 101 x\n\n", "it began with '"),
        ("HTTP/2 101\n\n", "it began with 'HTTP/2"),
        ("HTTP/1.1 1O1 Switching\n\n", "it began with 'HTTP/1.1 1O1 Switching'"),
        ("HTTP/1.1 99\n\n", "it began with 'HTTP/1.1 99'"),
        ("HTTP/1.1  101 Switching\n\n", "it began with 'HTTP/1.1  101 Switching'"),
        (f"{FIRST}no header\n\n", "one of its headers is 'no header'"),
        (f"{FIRST}Connection : Upgrade\n\n", "one of its headers is 'Connection : Upgrade'"),
        (f"{FIRST}: x\n\n", "one of its headers is ': x'"),
        (f"{FIRST}X: a\rb\n\n", "one of its headers is 'X: a\\rb'"),
        (f"{FIRST}X: {'x' * 17_000}\n\n", "its headers are over 16384 bytes"),
        (f"{FIRST}X: {'x' * 17_000}", "its headers are over 16384 bytes"),
    ],
)
async def test_what_is_no_http_is_told_as_that(answer: str, why: str, cut: Cut):
    error = await refused(answer, cut)
    assert error.message.startswith("the peer did not answer as a WebSocket server: ")
    assert why in error.message
    assert (error.code, error.http_status) == (AvatarSDKErrorCode.connectionFailed, None)


@pytest.mark.parametrize("answer", ["", "HTTP", FIRST, f"{FIRST}{UPGRADE}"])
async def test_a_peer_that_hangs_up_before_it_has_answered_is_told_as_one(answer: str):
    error = await refused(answer, hangs_up=True)
    assert error.message == "the peer closed the connection during the upgrade"
    assert error.code is AvatarSDKErrorCode.connectionFailed


# --- refused -----------------------------------------------------------------------------

SENTENCE = '{"message":"Avatar not found: x"}'
HEX = f"{len(SENTENCE):x}"
REST = f"{len(SENTENCE) - 5:X}\n{SENTENCE[5:]}"


@CUTS
@pytest.mark.parametrize(
    "answer",
    [
        f"HTTP/1.1 404 Not Found\nContent-Length: {len(SENTENCE)}\n\n{SENTENCE}",
        f"HTTP/1.1 404 Not Found\nContent-Length: {len(SENTENCE)}\n\n{SENTENCE}and more",
        f"HTTP/1.1 404\nTransfer-Encoding: chunked\n\n{HEX}\n{SENTENCE}\n0\n\n",
        f"HTTP/1.1 404\nTransfer-Encoding: chunked\n\n5;x=y\n{SENTENCE[:5]}\n{REST}\n0\nX: y\n\n",
        f"HTTP/1.1 100 Continue\n\nHTTP/1.1 404 x\nContent-Length: {len(SENTENCE)}\n\n{SENTENCE}",
    ],
)
async def test_a_refusal_is_read_to_its_end_though_the_connection_stays(
    answer: str, cut: Cut, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(upgrade, "_BODY_SECONDS", 60.0)
    error = await refused(answer, cut)
    assert (error.code, error.http_status) == (AvatarSDKErrorCode.avatarNotFound, 404)
    assert error.server_detail == "Avatar not found: x"


@CUTS
@pytest.mark.parametrize("head", ["HTTP/1.1 404 x\n", "HTTP/1.0 404 x\nContent-Length: nine\n"])
async def test_a_refusal_of_unknown_length_ends_with_the_connection(
    head: str, cut: Cut, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(upgrade, "_BODY_SECONDS", 60.0)
    error = await refused(f"{head}\n{SENTENCE}", cut, hangs_up=True)
    assert (error.http_status, error.server_detail) == (404, "Avatar not found: x")


@pytest.mark.parametrize(
    ("head", "code"),
    [
        ("HTTP/1.1 401 Unauthorized", AvatarSDKErrorCode.sessionTokenExpired),
        ("HTTP/1.1 302 Found\nLocation: ws://127.0.0.1:1/", AvatarSDKErrorCode.protocolError),
        ("HTTP/1.1 200 OK", AvatarSDKErrorCode.protocolError),
        ("HTTP/1.1 503 Service Unavailable", AvatarSDKErrorCode.serverError),
        ("HTTP/1.1 520 of a status that nobody lists", AvatarSDKErrorCode.serverError),
        ("HTTP/1.1 999 likewise", AvatarSDKErrorCode.serverError),
    ],
)
async def test_whatever_its_status_says_is_kept(head: str, code: AvatarSDKErrorCode):
    error = await refused(f"{head}\nContent-Length: 0\n\n")
    assert error.code is code
    assert error.http_status == int(head[9:12])


async def test_a_refusal_without_a_body_is_waited_for_no_longer():
    assert (await refused("HTTP/1.1 204 No Content\n\n")).http_status == 204


async def test_a_secret_that_a_refusal_repeats_is_hidden():
    error = await refused(f"HTTP/1.1 400 x\nContent-Length: 40\n\n{SECRET:<40}")
    assert error.server_detail == "[hidden]"


@pytest.mark.parametrize("head", ["", "Transfer-Encoding: chunked\n", "Content-Length: 999999\n"])
async def test_a_refusal_that_never_ends_is_cut_in_size(head: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(upgrade, "_BODY_SECONDS", 60.0)
    page = f"ffffff\n{'<p>' * 100_000}"
    error = await refused(f"HTTP/1.1 502 Bad Gateway\n{head}\n{page}")
    assert error.http_status == 502
    assert "<p><p>" in (error.raw_body or "")


@pytest.mark.parametrize("head", ["HTTP/1.1 404 x\n", "HTTP/1.1 404 x\nContent-Length: 999\n"])
async def test_and_in_time(head: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(upgrade, "_BODY_SECONDS", 0.05)
    error = await refused(f"{head}\n{SENTENCE}")
    assert (error.http_status, error.server_detail) == (404, "Avatar not found: x")


async def test_a_refusal_that_is_on_its_way_when_the_time_is_up_is_the_reason():
    error = await refused(f"HTTP/1.1 404 x\n\n{SENTENCE}", timeout=0.9)
    assert (error.http_status, error.server_detail) == (404, "Avatar not found: x")


# --- cancelled ---------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["", "HTTP/1.1 101 x\nUpg", "HTTP/1.1 404 x\n\nthe", SWITCHING])
async def test_whoever_is_cancelled_leaves_no_socket(answer: str):
    async with answering(answer) as (peer, url):
        opening = asyncio.ensure_future(open_at(url, Notes()))
        await peer.until(lambda: peer.head)
        if answer != SWITCHING:
            for _ in range(20):
                await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await peer.until(lambda: False)
        assert peer.is_gone


async def test_a_head_that_never_ends_is_given_up_in_time():
    error = await refused(FIRST, timeout=0.05)
    assert error.message == "no WebSocket connection within 0.05 s"
