"""The console client against real HTTP: a console of our own, and the local service's."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone

import pytest
from aiohttp import web

from avatarpool.client.console import ConsoleClient
from avatarpool.config import SessionConfig
from avatarpool.exceptions import AvatarSDKErrorCode, SessionTokenError
from avatarpool.service import LocalAvatarService

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Console:
    """Answers every request as the test says, and remembers them."""

    config: SessionConfig
    answer: Answer
    requests: list[tuple[str, dict[str, str], object]] = field(default_factory=list)
    peers: set[object] = field(default_factory=set)
    is_asked: asyncio.Event = field(default_factory=asyncio.Event)
    is_leaving: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.path, dict(request.headers), await request.json()))
        assert request.transport is not None
        self.peers.add(request.transport.get_extra_info("peername"))
        self.is_asked.set()
        return await self.answer(request)

    async def say_nothing(self, request: web.Request) -> web.StreamResponse:
        """Answer with nothing as long as the test lasts."""
        await self.is_leaving.wait()
        return web.Response()

    def says(self, body: object, status: int = 200) -> None:
        """Answer this from now on: text as it is, anything else as JSON."""
        text = body if isinstance(body, str) else json.dumps(body)

        async def answer(request: web.Request) -> web.StreamResponse:
            return web.Response(text=text, status=status, content_type="application/json")

        self.answer = answer


async def granted(request: web.Request) -> web.StreamResponse:
    return web.json_response({"sessionToken": "token-1"})


@pytest.fixture
async def console() -> AsyncIterator[Console]:
    config = SessionConfig(
        avatar_id="avatar",
        api_key="hush-key",
        app_id="app",
        console_endpoint_url="",
        ingress_endpoint_url="ws://127.0.0.1:1",
        token_request_timeout=5.0,
    )
    console = Console(config, granted)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", console.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    console.config = replace(config, console_endpoint_url=f"http://{host}:{port}/v1/console/")
    yield console
    console.is_leaving.set()
    await runner.cleanup()


@pytest.fixture
async def client() -> AsyncIterator[ConsoleClient]:
    async with ConsoleClient() as client:
        yield client


async def refusal(client: ConsoleClient, config: SessionConfig) -> SessionTokenError:
    with pytest.raises(SessionTokenError) as caught:
        await client.request_token(config)
    error = caught.value
    assert error.phase == "session_token"
    assert "hush" not in str(error) + repr(error)
    return error


# --- granted -----------------------------------------------------------------------


async def test_the_local_service_grants_a_token(client: ConsoleClient, service: LocalAvatarService):
    config = service.config_factory()
    first, second = [await client.request_token(config) for _ in range(2)]
    assert first
    assert first != second


async def test_a_request_is_the_documented_one(client: ConsoleClient, console: Console):
    expire_at = datetime(2030, 1, 1, tzinfo=timezone.utc)
    assert await client.request_token(replace(console.config, expire_at=expire_at)) == "token-1"
    ((path, headers, body),) = console.requests
    assert path == "/v1/console/session-tokens"
    assert headers["X-Api-Key"] == "hush-key"
    assert headers["Content-Type"] == "application/json"
    assert body == {"expireAt": 1893456000}


@pytest.mark.parametrize(
    "expire_at",
    [datetime(2030, 1, 1), datetime(2030, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))],  # noqa: DTZ001
    ids=["naive is UTC", "any zone"],
)
async def test_an_expiry_is_told_in_unix_seconds(
    client: ConsoleClient, console: Console, expire_at: datetime
):
    await client.request_token(replace(console.config, expire_at=expire_at))
    assert console.requests[0][2] == {"expireAt": 1893456000}


async def test_a_token_expires_in_an_hour_unless_told_otherwise(
    client: ConsoleClient, console: Console
):
    before = datetime.now(timezone.utc).timestamp()
    await client.request_token(console.config)
    expire_at = console.requests[0][2]["expireAt"]  # type: ignore[index]
    assert isinstance(expire_at, int)
    assert 3599 <= expire_at - before <= 3660


@pytest.mark.parametrize(
    "body",
    [
        {"sessionToken": "token-1"},
        {"session_token": "token-1"},
        {"sessionToken": "token-1", "session_token": "token-2"},
        {"sessionToken": "token-1", "errors": []},
    ],
)
async def test_either_name_of_the_token_is_read(
    client: ConsoleClient, console: Console, body: object
):
    console.says(body)
    assert await client.request_token(console.config) == "token-1"


async def test_requests_share_a_connection(client: ConsoleClient, console: Console):
    for _ in range(3):
        await client.request_token(console.config)
    assert len(console.peers) == 1


async def test_a_closed_client_opens_anew(client: ConsoleClient, console: Console):
    await client.close()
    await client.close()
    assert await client.request_token(console.config) == "token-1"


# --- refused --------------------------------------------------------------------


async def test_a_refusal_carries_what_the_console_said(client: ConsoleClient, console: Console):
    said = {"status": 402, "code": "noCredits", "title": "No credits", "detail": "top up"}
    console.says({"errors": [said]}, status=402)
    error = await refusal(client, console.config)
    assert error.code is AvatarSDKErrorCode.billingRequired
    assert error.http_status == 402
    assert (error.server_code, error.server_title) == ("noCredits", "No credits")
    assert error.server_detail == "top up"
    assert error.raw_body == json.dumps({"errors": [said]})
    assert not error.retryable


async def test_a_key_that_a_refusal_repeats_is_hidden(client: ConsoleClient, console: Console):
    key = console.config.api_key
    console.says({"errors": [{"title": f"no key {key}", "detail": f"{key}?"}]}, status=401)
    error = await refusal(client, console.config)
    assert "[hidden]" in str(error)
    assert key not in f"{error!r} {error} {vars(error)}"


async def test_a_key_in_the_escapes_of_a_refusal_is_hidden(client: ConsoleClient, console: Console):
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in console.config.api_key)
    console.says(f'{{"errors": [{{"detail": "no key {escaped}"}}]}}', status=401)
    error = await refusal(client, console.config)
    assert error.server_detail == "no key [hidden]"
    assert escaped not in str(error.raw_body)


async def test_a_token_beside_errors_is_hidden(client: ConsoleClient, console: Console):
    console.says({"errors": [{"detail": "of hush-token"}], "sessionToken": "hush-token"})
    error = await refusal(client, console.config)
    assert error.server_detail == "of [hidden]"
    assert "hush-token" not in str(error.raw_body)


async def test_the_local_service_refuses_a_wrong_key(
    client: ConsoleClient, service: LocalAvatarService
):
    config = replace(service.config_factory(), api_key="hush-wrong")
    error = await refusal(client, config)
    assert error.http_status == 401
    assert error.code is AvatarSDKErrorCode.sessionTokenExpired


async def test_the_local_service_refuses_an_expiry_beyond_a_day(
    client: ConsoleClient, service: LocalAvatarService
):
    far = datetime.now(timezone.utc) + timedelta(days=2)
    error = await refusal(client, replace(service.config_factory(), expire_at=far))
    assert error.http_status == 400
    assert error.code is AvatarSDKErrorCode.invalidRequest


async def test_a_failing_console_may_be_asked_again(client: ConsoleClient, console: Console):
    console.says("<html>Bad gateway</html>", status=502)
    error = await refusal(client, console.config)
    assert error.code is AvatarSDKErrorCode.serverError
    assert error.server_detail == "<html>Bad gateway</html>"
    assert error.retryable


async def test_errors_beside_a_200_are_a_refusal(client: ConsoleClient, console: Console):
    console.says({"errors": [{"detail": "app id mismatch"}], "sessionToken": "hush-token"})
    error = await refusal(client, console.config)
    assert error.code is AvatarSDKErrorCode.appIDMismatch
    assert error.http_status == 200


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"sessionToken": ""},
        {"sessionToken": None},
        {"sessionToken": {"hush": 1}},
        ["hush-token"],
        "hush-token, in plain text",
        "",
        "[" * 60_000,
        '{"sessionToken": "hush' + "h" * 200_000 + '"}',
    ],
)
async def test_an_answer_without_a_token_is_a_protocol_error_that_shows_none_of_it(
    client: ConsoleClient, console: Console, body: object
):
    console.says(body)
    error = await refusal(client, console.config)
    assert error.code is AvatarSDKErrorCode.protocolError
    assert error.raw_body is None
    assert error.http_status == 200


async def test_a_body_without_end_is_not_read_to_its_end(client: ConsoleClient, console: Console):
    async def pour(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
        except ConnectionError:
            return response

    console.answer = pour
    error = await refusal(client, console.config)
    assert error.code is AvatarSDKErrorCode.protocolError


async def test_a_compressed_bomb_is_not_unpacked(client: ConsoleClient, console: Console):
    bomb = gzip.compress(bytes(50_000_000))

    async def explode(request: web.Request) -> web.StreamResponse:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    console.answer = explode
    error = await refusal(client, console.config)
    assert error.code is AvatarSDKErrorCode.protocolError


async def test_a_redirect_is_not_followed_with_the_key(client: ConsoleClient, console: Console):
    async def redirect(request: web.Request) -> web.StreamResponse:
        raise web.HTTPTemporaryRedirect("/elsewhere")

    console.answer = redirect
    error = await refusal(client, console.config)
    assert error.code is AvatarSDKErrorCode.protocolError
    assert error.http_status == 307
    assert len(console.requests) == 1


# --- not reached --------------------------------------------------------------------


async def test_a_console_that_is_not_there_cannot_be_reached(
    client: ConsoleClient, console: Console
):
    with socket.socket() as reserved:  # bound, and nobody listens
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        error = await refusal(client, replace(console.config, console_endpoint_url=url))
    assert error.code is AvatarSDKErrorCode.connectionFailed
    assert error.message.startswith("the console could not be reached: ")
    assert error.retryable


async def test_a_console_that_hangs_up_cannot_be_reached(client: ConsoleClient, console: Console):
    async def hang_up(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    console.answer = hang_up
    error = await refusal(client, console.config)
    assert error.code is AvatarSDKErrorCode.connectionFailed


async def test_an_answer_that_repeats_the_key_shows_in_no_traceback(
    client: ConsoleClient, console: Console
):
    async def repeat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        key = next(line for line in head.splitlines() if b"hush" in line)
        writer.write(b"HTTP/1.1 200 OK\r\n" + key.replace(b":", b" ") + b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(repeat, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        error = await refusal(client, replace(console.config, console_endpoint_url=url))
    assert error.message == "the console could not be reached: the answer is no HTTP"
    assert "hush" not in "".join(traceback.format_exception(error))


async def test_a_console_that_says_nothing_is_left_after_the_timeout(
    client: ConsoleClient, console: Console
):
    console.answer = console.say_nothing
    error = await refusal(client, replace(console.config, token_request_timeout=0.05))
    assert error.code is AvatarSDKErrorCode.connectionFailed
    assert error.message == "the console gave no token within 0.05 s"
    assert error.retryable


async def test_cancelling_drops_the_request(client: ConsoleClient, console: Console):
    console.answer = console.say_nothing
    asking = asyncio.create_task(client.request_token(console.config))
    await console.is_asked.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    console.answer = granted
    assert await client.request_token(console.config) == "token-1"
