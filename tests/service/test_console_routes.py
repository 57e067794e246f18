from __future__ import annotations

import asyncio
import json
import logging
import time

import aiohttp
import pytest
from shells import SHELLS

from avatarpool.service import ServiceLimits

KEY = "console-test-key"


@pytest.fixture(params=SHELLS)
def shell(request):
    return request.param


@pytest.fixture
async def service(shell):
    limits = ServiceLimits(max_token_request_bytes=200)
    async with shell(api_key=KEY, limits=limits) as running:
        yield running


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


def urls(service):
    origin = service.console_url.removesuffix("/v1/console")
    return f"{service.console_url}/session-tokens", f"{origin}/v1/auth/session-token"


async def refusal(answer):
    assert answer.content_type == "application/json"
    (error,) = (await answer.json())["errors"]
    assert error.keys() == {"status", "code", "title", "detail"}
    assert error["status"] == answer.status
    return answer.status, error["code"], error["detail"]


async def test_both_routes_give_a_token_under_both_names(service, http):
    for url in urls(service):
        body = {"expireAt": int(time.time()) + 60}
        async with http.post(url, json=body, headers={"X-Api-Key": KEY}) as answer:
            assert answer.status == 200
            data = await answer.json()
            assert data["sessionToken"] == data["session_token"]
    assert service.counters.tokens_issued == 2


@pytest.mark.parametrize("headers", [{}, {"X-Api-Key": ""}, {"X-Api-Key": "console-test-keY"}])
async def test_a_wrong_key_is_401_whatever_the_body(service, http, headers):
    async with http.post(urls(service)[0], data=b"{", headers=headers) as answer:
        assert await refusal(answer) == (
            401,
            "invalidApiKey",
            "this service does not know the API key",
        )


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "the body is no JSON"),
        (b"{", "the body is no JSON"),
        (b"[" * 150, "the body is no JSON"),
        (b"\xff", "the body is no JSON"),
        (b"[]", "expireAt is no whole number of Unix seconds"),
        (b"{}", "expireAt is no whole number of Unix seconds"),
        (b'{"expireAt": true}', "expireAt is no whole number of Unix seconds"),
        (b'{"expireAt": "2"}', "expireAt is no whole number of Unix seconds"),
        (b'{"expireAt": 1.5}', "expireAt is no whole number of Unix seconds"),
        (b'{"expireAt": NaN}', "expireAt is no whole number of Unix seconds"),
        (b'{"expireAt": 1e999}', "expireAt is no whole number of Unix seconds"),
        (b'{"expireAt": -5}', "expireAt is not within the next 24 h"),
        (b'{"expireAt": ' + b"9" * 100 + b"}", "expireAt is not within the next 24 h"),
        (b" " * 201, "the body is too large"),
    ],
)
async def test_a_malformed_body_is_400(service, http, body, detail):
    async with http.post(urls(service)[0], data=body, headers={"X-Api-Key": KEY}) as answer:
        assert await refusal(answer) == (400, "invalidRequest", detail)


@pytest.mark.parametrize(("ahead", "status"), [(0, 400), (1, 200), (86399, 200), (86400, 400)])
async def test_a_token_expires_within_a_day(shell, http, ahead, status):
    async with (
        shell(api_key=KEY, wall_clock=lambda: 1000.0) as service,
        http.post(
            urls(service)[0], json={"expireAt": 1000 + ahead}, headers={"X-Api-Key": KEY}
        ) as answer,
    ):
        assert answer.status == status


async def test_a_body_that_never_comes_is_given_up(shell):
    limits = ServiceLimits(handshake_timeout=0.02)
    async with shell(api_key=KEY, limits=limits) as service:
        host, port = urls(service)[0].split("/")[2].split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"POST /v1/console/session-tokens HTTP/1.1\r\nHost: x\r\n"
            b"X-Api-Key: " + KEY.encode() + b"\r\nContent-Length: 10\r\n\r\n{"
        )
        answer = await reader.read()  # to the end: the connection is closed as well
        writer.close()

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"the body did not arrive" in answer


async def test_no_key_and_no_token_is_logged(service, http, caplog):
    caplog.set_level("DEBUG")
    body = json.dumps({"expireAt": int(time.time()) + 60})
    async with http.post(urls(service)[0], data=body, headers={"X-Api-Key": KEY}) as answer:
        token = (await answer.json())["sessionToken"]
    query = {"id": "nobody", "appId": service.app_id, "sessionKey": token}
    async with http.get(f"{service.ingress_url}/websocket".replace("ws:", "http:"), params=query):
        pass

    assert KEY not in caplog.text
    assert token not in caplog.text


SECRET = "a-key-or-a-token"


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(f"POST / HTTP/1.1\r\nX-Api-Key : {SECRET}\r\n\r\n", id="space"),
        pytest.param(f"POST / HTTP/1.1\r\nX-Api-Key\t{SECRET}\r\n\r\n", id="no colon"),
        pytest.param(f"GET / HTTP/1.1\r\nX-Session-Key: {SECRET}\x01\r\n\r\n", id="control"),
        pytest.param(f"GET /?sessionKey={SECRET}\0 HTTP/1.1\r\n\r\n", id="query"),
        pytest.param(f"GET /?sessionKey={SECRET} HTTP/x\r\n\r\n", id="version"),
        pytest.param(f"GET / HTTP/1.1\r\nX-Api-Key: {SECRET * 600}\r\n\r\n", id="long header"),
        pytest.param(f"GET /?sessionKey={SECRET * 600} HTTP/1.1\r\n\r\n", id="long query"),
    ],
)
async def test_no_key_and_no_token_of_a_request_that_is_none_is_logged(service, caplog, head):
    caplog.set_level(1)
    host, port = urls(service)[0].split("/")[2].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.encode())
    answer = await reader.readline()
    writer.close()
    await service.close()

    assert answer.startswith(b"HTTP/1.0 400 ")
    assert [record for record in caplog.records if record.name == "avatarpool.service.http"]
    assert all(record.levelno < logging.WARNING for record in caplog.records)
    for record in caplog.records:
        assert SECRET not in logging.Formatter().format(record)
        assert SECRET not in repr(vars(record))


async def test_a_client_that_goes_amid_its_request_is_no_error(service, caplog):
    host, port = urls(service)[0].split("/")[2].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST /v1/auth/session-token HTTP/1.1\r\nHost: a\r\nX-Api-Key: {KEY}\r\n"
        "Expect: 100-continue\r\nContent-Length: 10\r\n\r\n".encode()
    )
    assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"  # it waits for the body now
    writer.close()
    await writer.wait_closed()
    await service.close()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
