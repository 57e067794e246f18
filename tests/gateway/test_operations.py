"""What watches the gateway, what its administrator does, and how it says no."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from served_gateway import (
    ADMIN,
    ONE,
    TWO,
    client,
    has,
    is_idle,
    problem,
    served,
    settings_of,
    until,
)

import avatarpool.gateway
from avatarpool.endpoint.pages import face_files, page_files
from avatarpool.gateway import health, openapi
from avatarpool.gateway.gateway import Gateway
from avatarpool.gateway.settings import Admin, Budget, Listen, Upstream
from avatarpool.service import SessionFault

SECOND = bytes(32_000)


async def animate(http, gateway, key=ONE, avatar="a", body=SECOND):
    url = f"{gateway.url}/v1/animations?avatar={avatar}"
    headers = has(key) | {"Content-Type": "audio/pcm"}
    async with http.post(url, data=body, headers=headers) as response:
        return response.status, await response.read()


async def told(http, gateway, path, key="", method="GET", **options):
    headers = has(key) if key else {}
    async with http.request(method, gateway.url + path, headers=headers, **options) as response:
        if response.status >= 400:
            return response.status, (await problem(response))["code"]
        return response.status, await response.text()


async def test_a_gateway_is_ready_until_it_is_paused_and_again_once_it_goes_on(http, gateway):
    assert await told(http, gateway, "/healthz") == (200, '{"status": "ok"}')
    assert await told(http, gateway, "/readyz") == (200, '{"status": "ready"}')
    assert await told(http, gateway, "/v1/admin/pause", ADMIN, "POST") == (204, "")
    assert await told(http, gateway, "/readyz") == (503, "paused")
    assert (await told(http, gateway, "/healthz"))[0] == 200
    assert (await animate(http, gateway))[0] == 503
    assert await told(http, gateway, "/v1/admin/resume", ADMIN, "POST") == (204, "")
    assert (await told(http, gateway, "/readyz"))[0] == 200
    assert (await animate(http, gateway))[0] == 200


async def test_a_pause_lets_what_is_under_way_go_on(http, gateway):
    gate = asyncio.Event()

    async def body():
        yield SECOND
        await gate.wait()
        yield SECOND

    under_way = asyncio.create_task(animate(http, gateway, body=body()))
    await until(lambda: gateway.gateway.exchange._relays)
    await told(http, gateway, "/v1/admin/pause", ADMIN, "POST")
    gate.set()
    status, data = await under_way
    assert (status, json.loads(data.splitlines()[-1])["records"]) == (200, 50)


async def test_draining_is_not_ready(http, gateway):
    gateway.gateway.exchange.is_draining = True
    assert await told(http, gateway, "/readyz") == (503, "closing")


async def test_an_account_that_is_refused_for_good_is_not_ready(http, upstream):
    wrong = settings_of(upstream).upstream.model_dump() | {"app_id": "another"}
    async with served(upstream, upstream=Upstream(**wrong)) as gateway:
        assert (await told(http, gateway, "/readyz"))[0] == 200
        assert (await animate(http, gateway))[0] == 503
        assert await told(http, gateway, "/readyz") == (503, "upstreamUnavailable")


async def test_an_avatar_that_is_unknown_says_nothing_of_the_account(http, gateway):
    assert (await animate(http, gateway, avatar="nobody"))[0] == 404
    assert (await told(http, gateway, "/readyz"))[0] == 200


async def test_drain_replaces_the_sessions(http, gateway):
    await animate(http, gateway)
    assert await told(http, gateway, "/v1/admin/drain", ADMIN, "POST") == (204, "")
    await until(lambda: gateway.gateway.group.get_stats()["total"]["connections_retired"] == 1)


async def test_resize_changes_the_budget(http, gateway):
    resize = "/v1/admin/resize"
    assert (await told(http, gateway, resize, ADMIN, "POST", json={"sessions": 7}))[0] == 204
    assert gateway.gateway.group.get_stats()["budget"] == 7


@pytest.mark.parametrize(
    "body",
    [b"", b"7", b"{}", b'{"sessions": "7"}', b'{"sessions": true}', b'{"sessions": 0}',
     b'{"sessions": -1}', b'{"sessions": 1e3}', b'{"sessions": 10000000}', b"[" * 1000, b"\xff"],
)  # fmt: skip
async def test_no_number_of_sessions_changes_nothing(http, gateway, body):
    answer = await told(http, gateway, "/v1/admin/resize", ADMIN, "POST", data=body)
    assert answer == (400, "invalidRequest")
    assert gateway.gateway.group.get_stats()["budget"] == 3
    answer = await told(http, gateway, "/v1/admin/resize", ADMIN, "POST", data=bytes(9999))
    assert answer == (413, "bodyTooLarge")


@pytest.mark.parametrize("verb", ["pause", "resume", "drain", "resize"])
async def test_admin_verbs_are_for_the_administrator_and_off_without_one(http, upstream, verb):
    path = f"/v1/admin/{verb}"
    async with served(upstream) as gateway:
        for key in ("", ONE, ADMIN + "x"):
            assert await told(http, gateway, path, key, "POST") == (401, "unauthorized")
        assert await told(http, gateway, path, ADMIN) == (405, "methodNotAllowed")
        assert not gateway.gateway.exchange.is_paused
    async with served(upstream, admin=Admin()) as gateway:
        assert await told(http, gateway, path, ADMIN, "POST") == (404, "adminOff")


# --- metrics --------------------------------------------------------------------------------------


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_metrics_count_what_happens(http, gateway, upstream):
    await animate(http, gateway)
    await animate(http, gateway, key="wrong")
    await animate(http, gateway, TWO, avatar="a")
    upstream.faults.sessions = SessionFault(after_frames=5, close_code=1011)
    await animate(http, gateway, body=SECOND * 3)
    await until(lambda: is_idle(gateway.gateway))
    _, text = await told(http, gateway, "/metrics")
    found = samples(text)
    name = "avatarpool_gateway_"
    assert found[name + "requests_total", "one"] == 2
    assert found[name + "requests_total", "two"] == 0
    assert found[name + "audio_seconds_total", "one"] == 4.0
    assert found[name + "requests_refused_total", "one", "upstreamLost"] == 1
    assert found[name + "requests_refused_total", "two", "avatarNotAllowed"] == 1
    assert found[name + "problems_total", "unauthorized"] == 1
    assert found[name + "requests_running", "one"] == 0
    assert found[name + "connections", "host"] == 0
    assert found[name + "requests_resent_total",] == 0
    # Both sessions were opened for one pool of the group, whose numbers are there too.
    assert any(key[0] == "avatarpool_request_begun_total" for key in found)
    for secret in (ONE, TWO, ADMIN, upstream.environment["AVATAR_API_KEY"]):
        assert secret not in text


async def test_upgrades_that_are_refused_are_counted(http, gateway):
    ingress = gateway.gateway.ingress_url.replace("ws://", "http://") + "/websocket"
    async with http.get(ingress) as response:
        assert response.status == 426
    _, text = await told(http, gateway, "/metrics")
    assert samples(text)["avatarpool_gateway_upgrades_refused_total", "426"] == 1


async def test_without_prometheus_there_is_a_sentence(http, upstream, monkeypatch):
    monkeypatch.setattr(health, "_HAS_PROMETHEUS", False)
    async with served(upstream) as gateway:
        assert await told(http, gateway, "/metrics") == (501, "notInstalled")


async def test_off_loopback_metrics_need_the_admin_key_and_are_off_without_one(http, upstream):
    # What is reached through something else is off loopback, too.
    public = {"public_console": "http://gw.example/v1", "public_ingress": "ws://gw.example/v2"}
    for listen in (
        Listen(host="0.0.0.0", port=0, ingress_port=0),  # noqa: S104
        Listen(port=0, ingress_port=0, **public),
    ):
        async with served(upstream, listen=listen) as gateway:
            assert await told(http, gateway, "/metrics") == (401, "unauthorized")
            assert (await told(http, gateway, "/metrics", ADMIN))[0] == 200
            assert (await told(http, gateway, "/healthz"))[0] == 200
        async with served(upstream, listen=listen, admin=Admin()) as gateway:
            assert await told(http, gateway, "/metrics", ADMIN) == (404, "adminOff")


# --- problems -------------------------------------------------------------------------------------


async def test_what_is_not_there_is_a_problem_too(http, gateway):
    assert await told(http, gateway, "/v1/nothing") == (404, "notFound")
    async with http.delete(f"{gateway.url}/v1/animations") as response:
        assert response.headers["Allow"] == "POST"
        assert (await problem(response))["code"] == "methodNotAllowed"
    async with http.get(f"{gateway.url}/healthz", headers={"Host": "rebound.example"}) as response:
        assert (await problem(response))["code"] == "foreignOrigin"


async def test_wrong_keys_are_slowed_down_wherever_they_come(http, gateway, monkeypatch):
    slept = []
    sleep = asyncio.sleep

    async def counted(seconds, *args):
        slept.append(seconds)
        await sleep(0, *args)

    monkeypatch.setattr("avatarpool.endpoint.guessing.asyncio.sleep", counted)
    for number in range(40):
        path = ("/v1/animations?avatar=a", "/v1/admin/pause", "/v1/console/session-tokens")
        async with http.post(gateway.url + path[number % 3], headers=has("wrong")) as response:
            assert response.status == 401
            assert response.headers["Connection"] == "close"
    assert 0.25 in slept


PAUSE = "POST /v1/admin/pause HTTP/1.1\r\nHost: {host}\r\n"
SMUGGLED = [
    "GET /healthz HTTP/1.1\r\nHost: {host}\r\nHost: evil.example\r\n\r\n",
    "GET /healthz HTTP/1.1\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHost : {host}\r\n\r\n",
    PAUSE
    + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    PAUSE + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
    PAUSE + "Content-Length: +4\r\n\r\nabcd",
    PAUSE + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    PAUSE + "X-Api-Key: a\nX-Api-Key: {key}\r\n\r\n",
    PAUSE + "X-Api-Key: a\r\nX-Api-Key: {key}\r\n\r\n",
    PAUSE + "X-Api-Key: {key}\r\nOrigin: null\r\n\r\n",
    PAUSE + "X: " + "x" * 9000 + "\r\n\r\n",
    "GET http://evil.example/healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n",
]


@pytest.mark.parametrize("request_text", SMUGGLED)
async def test_what_could_be_read_in_two_ways_is_refused(gateway, caplog, request_text):
    caplog.set_level(logging.DEBUG)
    host = "{}:{}".format(*gateway.address)
    reader, writer = await asyncio.open_connection(*gateway.address)
    writer.write(request_text.format(host=host, key=ADMIN).encode())
    async with asyncio.timeout(40):
        status = await reader.readline()
    writer.close()
    assert re.match(rb"HTTP/1\.[01] 4\d\d ", status), status
    assert not gateway.gateway.exchange.is_paused
    assert ADMIN not in caplog.text


async def test_pages_of_allowed_origins_and_no_others_may_read_answers(http, upstream):
    listen = Listen(port=0, ingress_port=0, allowed_origins=("https://app.example",))
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "X-Api-Key"}
    async with served(upstream, listen=listen) as gateway:
        url = f"{gateway.url}/v1/animations?avatar=a"
        for origin, status in (("https://app.example", 204), ("https://evil.example", 403)):
            async with http.options(url, headers=asks | {"Origin": origin}) as response:
                assert response.status == status
                may = response.headers.get("Access-Control-Allow-Origin")
                assert may == (origin if status == 204 else None)
        headers = has(ONE) | {"Origin": "https://app.example", "Content-Type": "audio/pcm"}
        async with http.post(url, data=SECOND, headers=headers) as response:
            assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"
            assert response.status == 200


# --- the description ------------------------------------------------------------------------------


def source() -> str:
    return "".join(path.read_text() for path in Path(avatarpool.gateway.__path__[0]).glob("*.py"))


async def test_every_code_that_the_gateway_knows_is_described(http, gateway):
    named = set(re.findall(r'(?:Failure|refused)\(\s*"(\w+)"', source()))
    named |= set(re.findall(r'\d{3}: \("(\w+)",', source())) | {"unsupportedMediaType"}
    assert named - set(openapi.PROBLEMS) == set()
    _, text = await told(http, gateway, "/openapi.json")
    document = json.loads(text)
    assert document["openapi"] == "3.1.0"
    assert set(document["x-problems"]) == set(openapi.PROBLEMS)


async def test_every_route_is_described_and_nothing_else(gateway):
    app = gateway.gateway._listener._runner.app
    served_ones = {
        (route.resource.canonical, route.method.lower())
        for route in app.router.routes()
        if route.method != "HEAD"
    }
    described = {
        (path, method) for path, methods in openapi.DOCUMENT["paths"].items() for method in methods
    }
    # Of the page, and for people's own.
    files = {(path, "get") for path in page_files("gateway") | face_files()}
    assert served_ones == described | files


async def test_a_gateway_starts_anew_after_it_was_closed(upstream, http):
    settings = settings_of(upstream, clients=(client("one", ONE),), budget=Budget(sessions=1))
    for _ in range(2):
        async with Gateway(settings) as gateway:
            url = gateway.page_url + "healthz"
            async with http.get(url) as response:
                assert response.status == 200
