"""An upgrade is read to the letter: what could be read in two ways is refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avatarpool.gateway.heads import BadRequest, for_picows, read_request, refusal

KEY = "AAAAAAAAAAAAAAAAAAAAAA=="
UPGRADE = {
    "Host": "gateway.example:8781",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


def raw(target="/path?id=a%20b&id=c", version="1.1", method="GET", more=(), **changed):
    fields = {**UPGRADE, **{name.replace("_", "-"): value for name, value in changed.items()}}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([f"{method} {target} HTTP/{version}", *lines, *more]).encode()


def test_a_request_is_read():
    head = read_request(raw(X_App_ID="app\t "))
    assert (head.method, head.path, head.query) == ("GET", "/path", {"id": "c"})
    assert head.headers["x-app-id"] == "app"
    assert head.websocket_key == KEY


@pytest.mark.parametrize(
    "connection", ["Upgrade", "keep-alive, Upgrade", "upgrade", "keep-alive ,\tUpgrade , x"]
)
def test_a_connection_may_have_other_options_beside_upgrade(connection):
    assert read_request(raw(Connection=connection)).websocket_key == KEY


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "POST"},
        {"Upgrade": "h2c"},
        {"Upgrade": None},
        {"Connection": "keep-alive"},
        {"Connection": "upgraded"},
        {"Sec_WebSocket_Version": "12"},
        {"Sec_WebSocket_Version": None},
        {"Sec_WebSocket_Key": None},
        {"Sec_WebSocket_Key": "short"},
        {"Sec_WebSocket_Key": "no base64 at all!!!!!!!="},
    ],
)
def test_what_is_no_upgrade_has_no_key(changed):
    assert read_request(raw(**changed)).websocket_key == ""


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"GET /\r\nHost: a",
        b"GET / HTTP/1.1 \r\nHost: a",
        b"\x16\x03\x01\x02\x00\x01",
        raw(version="1.0"),
        raw(version="2"),
        raw(target="http://elsewhere/path"),
        raw(target="*"),
        raw(target="/" + "a" * 9000),
        raw(target="/?" + "&".join(f"a{i}=1" for i in range(60))),
        raw(Host=None),
        raw(Content_Length="1"),
        raw(Content_Length="+0"),
        raw(Transfer_Encoding="chunked"),
        raw(Transfer_Encoding="identity"),
        raw(more=["Host: other"]),
        raw(more=["Content-Length: 0", "Content-Length: 0"]),
        raw(more=["X-Session-Key: a", "x-session-key: b"]),
        raw(more=[f"Sec-WebSocket-Key: {KEY}"]),
        raw(more=["Origin: http://a", "Origin: http://b"]),
        raw(more=["No-Colon"]),
        raw(more=["Space : before"]),
        raw(more=[" folded: line"]),
        raw(more=["Nul: a\0b"]),
        raw(more=["Bare: a\nHost: other"]),
        raw(more=[f"X{i}: 1" for i in range(120)]),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(request_):
    with pytest.raises(BadRequest):
        read_request(request_)


@given(st.binary(max_size=300))
def test_whatever_comes_is_read_or_refused(data):
    with contextlib.suppress(BadRequest):
        read_request(b"GET / HTTP/1.1\r\nHost: a\r\n" + data)


def test_picows_gets_no_token():
    head = read_request(raw(target="/p?sessionKey=secret", X_Session_Key="secret", Cookie="secret"))
    assert b"secret" not in for_picows(head)
    assert read_request(for_picows(head)[:-4]).websocket_key == KEY


def test_an_answer_says_that_the_connection_is_over():
    said = refusal(426, "Upgrade Required", {"Upgrade": "websocket"}, b"why")
    assert said.endswith(b"Content-Length: 3\r\nConnection: Upgrade, close\r\n\r\nwhy")
