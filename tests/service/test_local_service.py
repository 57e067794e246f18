from __future__ import annotations

import asyncio
import logging

import pytest
from raw_client import PATIENCE

from avatarpool.exceptions import ConfigurationError
from avatarpool.service import LocalAvatarService, ServiceLimits


async def test_a_service_says_where_it_is(service):
    port = service.console_url.split(":")[2].split("/")[0]

    assert service.console_url == f"http://127.0.0.1:{port}/v1/console"
    assert service.ingress_url == f"ws://127.0.0.1:{port}/v2/driveningress"
    assert port != "0"


async def test_its_environment_points_a_program_to_it(service):
    environment = service.environment

    assert list(environment) == [
        "AVATAR_API_KEY",
        "AVATAR_APP_ID",
        "AVATAR_CONSOLE_ENDPOINT",
        "AVATAR_INGRESS_ENDPOINT",
        "AVATAR_SESSION_AVATAR_ID",
    ]
    assert environment["AVATAR_CONSOLE_ENDPOINT"] == service.console_url
    assert len(environment["AVATAR_API_KEY"]) >= 32


async def test_its_configurations_are_valid_and_can_be_changed(service):
    config = service.config_factory(object(), sample_rate=24000, use_query_auth=True)

    config.validate()
    assert config.sample_rate == 24000
    assert config.use_query_auth
    assert config.api_key == service.environment["AVATAR_API_KEY"]
    assert config.transport_frames is None


async def test_its_key_is_random_and_never_shown(service, caplog):
    caplog.set_level(logging.DEBUG)
    async with LocalAvatarService() as other:
        key = other.environment["AVATAR_API_KEY"]
        assert key != service.environment["AVATAR_API_KEY"]
        assert key not in repr(other)
        assert key not in repr(other.config_factory())
    assert key not in caplog.text


async def test_its_repr_tells_its_state():
    service = LocalAvatarService(port=0)
    assert repr(service) == "<LocalAvatarService 127.0.0.1:0 new, 0 connections, 0 requests>"
    await service.start()
    assert " listening, 0 connections" in repr(service)
    await service.close()
    assert " closed, 0 connections" in repr(service)


async def test_it_starts_once():
    async with LocalAvatarService() as service:
        with pytest.raises(RuntimeError, match="was started before"):
            await service.start()
    await service.close()  # again: nothing
    with pytest.raises(RuntimeError, match="was started before"):
        await service.start()


async def test_a_port_in_use_is_an_error_and_leaves_nothing(service):
    port = int(service.console_url.split(":")[2].split("/")[0])
    second = LocalAvatarService(port=port)

    with pytest.raises(OSError, match="in use"):
        await second.start()
    assert second._listener is None


async def test_a_closed_service_listens_no_more():
    async with LocalAvatarService() as service:
        port = int(service.console_url.split(":")[2].split("/")[0])

    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nX: "])
async def test_a_connection_without_a_whole_request_is_closed(sent):
    limits = ServiceLimits(http_idle_timeout=0.05)
    async with LocalAvatarService(limits=limits) as service:
        port = int(service.console_url.split(":")[2].split("/")[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b""
        writer.close()


async def test_a_service_that_listens_everywhere_is_reached_by_loopback():
    async with LocalAvatarService(host="0.0.0.0") as service:  # noqa: S104
        assert service.console_url.startswith("http://127.0.0.1:")


def test_topping_up_an_unknown_application_is_an_error():
    with pytest.raises(KeyError):
        LocalAvatarService().top_up(1.0, "nobody")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"api_key": ""}, "an API key is empty"),
        ({"app_id": ""}, "an app id or"),
        ({"avatar_ids": ()}, "avatar_ids is empty"),
        ({"workers": 0}, "workers 0"),
        ({"api_key": "k", "other_apps": {"b": "k"}}, "the same API key"),
    ],
)
def test_options_that_cannot_work_are_refused(options, complaint):
    with pytest.raises(ConfigurationError, match=complaint):
        LocalAvatarService(**options)


def test_limits_that_let_nothing_through_are_refused_all_at_once():
    with pytest.raises(ConfigurationError) as caught:
        ServiceLimits(idle_timeout=0, max_connections=-1, credits=-1)

    assert caught.value.problems == (
        "max_connections -1 is not above 0",
        "idle_timeout 0 is not above 0",
        "credits -1 is below 0",
    )
