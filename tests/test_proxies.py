from __future__ import annotations

import pytest

from avatarpool.exceptions import ConfigurationError
from avatarpool.proxies import Proxy, parse_proxy, proxy_for

URL = "https://console.example/v1"


def chosen(url: str = URL, /, **environ: str) -> str:
    return str(proxy_for(url, environ=environ))


# --- the environment ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("https://c.example", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("wss://c.example", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("http://c.example", {"HTTPS_PROXY": "http://p:1"}, "None"),
        ("http://c.example", {"HTTP_PROXY": "http://p:1"}, "http://p:1"),
        ("ws://c.example", {"HTTP_PROXY": "http://p:1"}, "http://p:1"),
        ("https://c.example", {"HTTP_PROXY": "http://p:1"}, "None"),
        ("https://c.example", {"ALL_PROXY": "socks5://p:1"}, "socks5://p:1"),
        ("ws://c.example", {"all_proxy": "socks5://p:1"}, "socks5://p:1"),
        (
            "https://c.example",
            {"ALL_PROXY": "http://p:1", "HTTPS_PROXY": "http://q:2"},
            "http://q:2",
        ),
        (
            "https://c.example",
            {"https_proxy": "http://p:1", "HTTPS_PROXY": "http://q:2"},
            "http://p:1",
        ),
        ("https://c.example", {"https_proxy": "", "HTTPS_PROXY": " http://q:2 "}, "http://q:2"),
        ("http://c.example", {"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, "None"),
        ("http://c.example", {"http_proxy": "http://p:1", "REQUEST_METHOD": "GET"}, "http://p:1"),
        ("https://c.example", {}, "None"),
    ],
)
def test_the_scheme_and_the_variables_choose_the_proxy(
    url: str, environ: dict[str, str], proxy: str
):
    assert chosen(url, **environ) == proxy


@pytest.mark.parametrize(
    "url",
    [
        "https://localhost:8443",
        "wss://LOCALHOST./v2",
        "http://service.localhost",
        "http://127.0.0.1:8765",
        "ws://127.8.9.10",
        "ws://[::1]:8765",
        "http://[::ffff:127.0.0.1]",
        "http://0.0.0.0:8765",
    ],
)
@pytest.mark.parametrize("setting", [True, "http://p:1"])
def test_this_machine_is_always_reached_directly(url: str, setting: bool | str):
    environ = {"HTTPS_PROXY": "http://p:1", "HTTP_PROXY": "http://p:1"}
    assert proxy_for(url, setting=setting, environ=environ) is None


@pytest.mark.parametrize(
    ("url", "exceptions", "is_exempt"),
    [
        ("https://c.example", "*", True),
        ("https://c.example", "other, c.example", True),
        ("https://c.example", "other c.example", True),
        ("https://C.Example.", "c.EXAMPLE", True),
        ("https://c.example", "example", True),
        ("https://c.example", ".example", True),
        ("https://c.example", "*.example", True),
        ("https://example", ".example", True),
        ("https://badexample", "example", False),
        ("https://c.example", "c.example.org, ,", False),
        ("https://c.example", "c.example:443", True),
        ("wss://c.example", "example:443", True),
        ("https://c.example:8443", "c.example:443", False),
        ("https://c.example:8443", "c.example:8443", True),
        ("ws://c.example", "c.example:80", True),
        ("https://10.1.2.3", "10.1.2.3", True),
        ("https://10.1.2.3", "10.0.0.0/8", True),
        ("https://10.1.2.3", "10.1.2.3/8", True),
        ("https://10.1.2.3", "10.1.2.3:443", True),
        ("https://10.1.2.3", "10.1.2.3:80, 2.3, 192.168.0.0/16", False),
        ("https://[fd00::2]", "fd00::/8", True),
        ("https://[fd00::2]", "[fd00::2]", True),
        ("https://[fd00::2]:8443", "[fd00::2]:8443", True),
        ("https://[fd00::2]", "[fd00::2]:8443, 10.0.0.0/8, fd00::3", False),
        ("https://c.example", "10.0.0.0/8, ::/0", False),
        ("https://c.example", "https://c.example, :443, c.example:port", False),
        ("https://c.example", "", False),
    ],
)
@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_no_proxy_names_hosts_networks_and_ports(
    name: str, url: str, exceptions: str, is_exempt: bool
):
    direct = proxy_for(url, environ={"ALL_PROXY": "http://p:1", name: exceptions}) is None
    assert direct is is_exempt


# --- the setting -----------------------------------------------------------------------


def test_no_proxy_is_a_setting():
    assert proxy_for(URL, setting=False, environ={"HTTPS_PROXY": "http://p:1"}) is None


def test_a_url_is_taken_whatever_the_environment_says():
    environ = {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}
    assert str(proxy_for(URL, setting="socks5h://q:2", environ=environ)) == "socks5://q:2"


# --- a proxy's URL -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://p:3128", Proxy("http", "p", 3128)),
        ("HTTP://p:3128/", Proxy("http", "p", 3128)),
        ("p:3128", Proxy("http", "p", 3128)),
        ("p", Proxy("http", "p", 80)),
        ("https://p", Proxy("https", "p", 443)),
        ("socks5://p", Proxy("socks5", "p", 1080)),
        ("socks5h://p:1", Proxy("socks5", "p", 1)),
        ("http://[::1]:3128", Proxy("http", "::1", 3128)),
        ("http://me:secret@p:1", Proxy("http", "p", 1, "me", "secret")),
        ("http://me%40work:p%23:%2F@p:1", Proxy("http", "p", 1, "me@work", "p#:/")),
        ("me:secret@p:1", Proxy("http", "p", 1, "me", "secret")),
        ("http://token@p:1", Proxy("http", "p", 1, "token", "")),
    ],
)
def test_a_url_is_read(url: str, proxy: Proxy):
    assert parse_proxy("proxy", url) == proxy
    assert parse_proxy("proxy", proxy.url) == proxy


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "has no valid host"),
        ("http://", "has no valid host"),
        ("http://p:port", "has no valid host"),
        ("http://p:0x", "has no valid host"),
        ("http://p:99999", "has no valid host"),
        ("http://a..b:1", "has no valid host"),
        ("http://[::1:1", "has no valid host"),
        ("http://me:1234#hush@p:1", "has no valid host"),
        ("http://me:12/hush@p:1", "has no valid host"),
        ("http://me:12?hush@p:1", "has no valid host"),
        ("http://me:hush@p:1/path", "has no valid host"),
        ("http://me:h\udcfcsh@p:1", "has no valid host and port: .*%-codes"),
        ("socks4://hush@p:1", "must begin with http://, https://, socks5:// or socks5h://"),
        ("ftp://me:hush@p:1", "must begin with"),
        ("socks5://me:h%C3%BCsh@p:1", "ASCII"),
        (f"socks5://me:{'hush' * 64}@p:1", "255"),
        ("http://m%3Ae:hush@p:1", "colon"),
    ],
)
def test_a_url_that_cannot_work_is_told_without_its_password(url: str, problem: str):
    with pytest.raises(ConfigurationError, match=problem) as caught:
        proxy_for(URL, environ={"HTTPS_PROXY": url or "http://:1"})
    assert str(caught.value).startswith("the proxy cannot be used: HTTPS_PROXY ")
    assert "hush" not in str(caught.value)
    assert "1234" not in str(caught.value)
    assert "\udcfc" not in str(caught.value)


def test_credentials_are_not_shown():
    proxy = parse_proxy("proxy", "http://hush-me:hush-word@p:1")
    assert str(proxy) == "http://p:1"
    assert "hush" not in repr(proxy)
    assert proxy.authorization == {"Proxy-Authorization": "Basic aHVzaC1tZTpodXNoLXdvcmQ="}
    assert parse_proxy("proxy", "http://p:1").authorization == {}
