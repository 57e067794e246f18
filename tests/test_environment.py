"""The environment as settings."""

import pytest

from avatarpool.environment import read_settings
from avatarpool.exceptions import ConfigurationError

COMPLETE = {
    "AVATAR_API_KEY": "key-that-stays-hidden",
    "AVATAR_APP_ID": "app",
    "AVATAR_CONSOLE_ENDPOINT": "http://127.0.0.1:1/v1/console",
    "AVATAR_INGRESS_ENDPOINT": "ws://127.0.0.1:1",
    "AVATAR_SESSION_AVATAR_ID": "avatar",
}


@pytest.fixture
def environ(monkeypatch):
    for name in (*COMPLETE, "AVATAR_USE_QUERY_AUTH"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch.setenv


def test_no_variable_at_all_means_a_local_service(environ):
    assert read_settings().is_empty


def test_empty_variables_count_as_not_set(environ):
    for name in COMPLETE:
        environ(name, "")
    assert read_settings().is_empty


def test_the_five_variables_describe_a_session(environ):
    for name, value in COMPLETE.items():
        environ(name, value)
    config = read_settings().session_config()
    assert config.api_key == "key-that-stays-hidden"
    assert config.app_id == "app"
    assert config.console_endpoint_url == "http://127.0.0.1:1/v1/console"
    assert config.ingress_endpoint_url == "ws://127.0.0.1:1"
    assert config.avatar_id == "avatar"
    assert config.use_query_auth is False


@pytest.mark.parametrize(("text", "expected"), [("true", True), ("false", False), ("", False)])
def test_query_authentication_is_optional(environ, text, expected):
    for name, value in COMPLETE.items():
        environ(name, value)
    environ("AVATAR_USE_QUERY_AUTH", text)
    assert read_settings().session_config().use_query_auth is expected


def test_all_missing_variables_are_named_at_once(environ):
    environ("AVATAR_APP_ID", "app")
    with pytest.raises(ConfigurationError) as caught:
        read_settings()
    for name in COMPLETE:
        assert (name in str(caught.value)) is (name != "AVATAR_APP_ID")


def test_a_value_that_cannot_work_names_its_variable(environ):
    for name, value in COMPLETE.items():
        environ(name, value)
    environ("AVATAR_USE_QUERY_AUTH", "perhaps")
    with pytest.raises(ConfigurationError, match="AVATAR_USE_QUERY_AUTH: input should be"):
        read_settings()


def test_an_endpoint_that_is_no_url_is_refused_before_any_network_use(environ):
    for name, value in COMPLETE.items():
        environ(name, value)
    environ("AVATAR_CONSOLE_ENDPOINT", "console.example.com")
    with pytest.raises(ConfigurationError, match="AVATAR_CONSOLE_ENDPOINT must begin with"):
        read_settings()


def test_every_value_that_cannot_work_is_named_by_its_variable(environ):
    for name, value in COMPLETE.items():
        environ(name, value)
    environ("AVATAR_API_KEY", "schlüssel")
    environ("AVATAR_INGRESS_ENDPOINT", "ws://127.0.0.1:99999")
    with pytest.raises(ConfigurationError) as caught:
        read_settings()
    key, endpoint = caught.value.problems
    assert key.startswith("AVATAR_API_KEY has a space at an end or")
    assert endpoint == "AVATAR_INGRESS_ENDPOINT has no valid host or port"


def test_the_key_is_in_no_repr(environ):
    for name, value in COMPLETE.items():
        environ(name, value)
    assert "key-that-stays-hidden" not in repr(read_settings())
