"""Faults are set over HTTP where the service was told to allow it."""

from __future__ import annotations

import asyncio
from base64 import b64encode, urlsafe_b64decode
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import aiohttp
import pytest

from avatarpool.service import (
    Faults,
    LocalAvatarService,
    ServiceLimits,
    SessionFault,
    Step,
    TokenFault,
)


@pytest.fixture
async def service() -> AsyncIterator[LocalAvatarService]:
    async with LocalAvatarService(api_key="the-key", has_admin=True) as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"X-Api-Key": "the-key"}) as client:
        yield client


async def test_there_is_no_admin_unless_it_is_asked_for(client: aiohttp.ClientSession):
    async with LocalAvatarService(api_key="the-key") as service:
        async with client.get(service.admin_url) as response:
            assert response.status == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_nobody_gets_in_without_the_key(service: LocalAvatarService, method: str):
    service.faults.tokens = TokenFault(status=500)
    async with aiohttp.ClientSession(headers={"X-Api-Key": "another"}) as stranger:
        async with stranger.request(method, service.admin_url, json={}) as response:
            assert response.status == 401
    assert service.faults == Faults(tokens=TokenFault(status=500))


async def test_no_other_application_s_key_opens_it(client: aiohttp.ClientSession):
    others = {"another-app": "another-key"}
    async with LocalAvatarService(api_key="k", other_apps=others, has_admin=True) as service:
        theirs = {"X-Api-Key": "another-key"}
        async with client.put(service.admin_url, json={}, headers=theirs) as response:
            assert response.status == 401


async def test_a_body_that_never_comes_is_given_up():
    limits = ServiceLimits(handshake_timeout=0.05)
    async with LocalAvatarService(api_key="k", has_admin=True, limits=limits) as service:
        host, port = urlsplit(service.admin_url).netloc.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"PUT /admin/faults HTTP/1.1\r\nHost: h\r\nX-Api-Key: k\r\nContent-Length: 9\r\n\r\n"
        )
        async with asyncio.timeout(10):
            assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
        writer.close()


async def test_faults_are_set_shown_and_taken_back(
    service: LocalAvatarService, client: aiohttp.ClientSession
):
    faults = {
        "tokens": {"status": 503},
        "sessions": {"stalls_at": "last_frame"},
        "next_sessions": [{"garbage": b64encode(b"\xff\x00").decode(), "after_frames": 2}],
    }
    async with client.put(service.admin_url, json=faults) as response:
        assert response.status == 200
    assert service.faults.tokens == TokenFault(status=503)
    assert service.faults.sessions == SessionFault(stalls_at=Step.LAST_FRAME)
    assert [*service.faults.next_sessions] == [SessionFault(garbage=b"\xff\x00", after_frames=2)]
    async with client.get(service.admin_url) as response:
        shown = await response.json()
    assert urlsafe_b64decode(shown["next_sessions"][0]["garbage"]) == b"\xff\x00"
    async with client.put(service.admin_url, json=shown) as response:
        assert await response.json() == shown  # what is shown can be set again
    async with client.delete(service.admin_url):
        assert service.faults == Faults()


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"{", "the body: invalid json: eof while parsing an object at line 1 column 1"),
        (b'{"session": {}}', "session: unexpected keyword argument"),
        (b'{"tokens": {"status": "x"}}', "tokens.status: input should be a valid integer"),
        (b'{"sessions": {"stalls_at": "lunch"}}', "sessions.stalls_at: input should be 'upgrade'"),
        (b'{"tokens": {"status": 200}}', "tokens: value error, the token fault cannot be made: "),
        (b'{"next_tokens": [{"delay": -1}]}', "next_tokens.0: value error, the token fault cannot"),
        (b'{"sessions": {"close_code": 1005}}', "sessions: value error, the session fault cannot"),
    ],
)
async def test_what_is_no_fault_is_refused_in_a_sentence(
    service: LocalAvatarService, client: aiohttp.ClientSession, body: bytes, sentence: str
):
    async with client.put(service.admin_url, data=body) as response:
        assert response.status == 400
        assert (await response.json())["error"].startswith(sentence)
    assert service.faults == Faults()
