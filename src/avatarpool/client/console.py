"""The console client: one shared HTTP client that fetches session tokens."""

from __future__ import annotations

import asyncio
import json
import ssl
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace, TracebackType
from typing import Self, TypedDict
from urllib.parse import urlsplit

import aiohttp

from avatarpool.config import SessionConfig
from avatarpool.exceptions import AvatarSDKErrorCode, SessionTokenError
from avatarpool.protocol.refusals import token_refused
from avatarpool.proxies import Proxy, authority, proxy_for
from avatarpool.tls import default_context, reason
from avatarpool.untrusted import body_without

TOKEN_PATH = "/session-tokens"  # noqa: S105  # a path, no secret

_DEFAULT_TOKEN_LIFETIME = timedelta(hours=1)

# Requests for tokens are short, and rare once a pool is open; with TLS a connection costs a
# handshake, and 260 kB while it is kept.
_CONNECTIONS = 4

# A token answer is some hundred bytes; more than this is no token answer.
_MAX_BODY_BYTES = 64 * 1024


# tinyproxy answers 401 to a wrong password and 407 to none.
_PROXY_REFUSALS = (401, 403, 407)


class ConsoleClient:
    """Fetches session tokens over one pooled HTTP client.

    It is opened by its first request and belongs to that event loop.

    Args:
        token_lifetime: Of tokens whose configuration does not say.
    """

    def __init__(self, token_lifetime: timedelta = _DEFAULT_TOKEN_LIFETIME) -> None:
        self._token_lifetime = token_lifetime
        # One for each proxy: one for SOCKS is its connector's, and only on the way through
        # one is it traced whom a failure belongs to.
        self._clients: dict[Proxy | None, aiohttp.ClientSession] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the HTTP client; safe to call twice."""
        while self._clients:
            _, client = self._clients.popitem()
            await client.close()

    async def request_token(self, config: SessionConfig) -> str:
        """Exchange the API key for a token that opens one connection.

        Cancelling drops the request.

        Raises:
            SessionTokenError: The console refused, failed, answered with no
                token, or did not answer within ``config.token_request_timeout``;
                or the proxy did.
            ConfigurationError: The proxy that the environment names cannot work.
        """
        way = _Way(config)
        try:
            async with asyncio.timeout(config.token_request_timeout):
                status, body = await self._post(config, way)
        except TimeoutError as error:
            raise way.late(config.token_request_timeout) from error
        except aiohttp.ClientResponseError as error:
            # Its text has the peer's bytes, its repr the request with key and password.
            raise way.failed(error) from None
        except way.errors() as error:
            raise way.failed(error) from error
        if way.is_proxys(status, body):
            raise way.refused(status)
        return _read_token(status, body, config.api_key)

    async def _post(self, config: SessionConfig, way: _Way) -> tuple[int, str]:
        expire_at = config.expire_at or datetime.now(timezone.utc) + self._token_lifetime
        if expire_at.tzinfo is None:
            expire_at = expire_at.replace(tzinfo=timezone.utc)
        async with self._client(way).post(
            way.url,
            json={"expireAt": int(expire_at.timestamp())},
            headers={"X-Api-Key": config.api_key, **way.headers()},
            allow_redirects=False,  # a redirect would carry the key elsewhere
            **way.options(),
        ) as response:
            raw = bytearray()
            async for chunk in response.content.iter_any():
                raw += chunk
                if len(raw) > _MAX_BODY_BYTES:
                    break
            return response.status, raw.decode(errors="replace")

    def _client(self, way: _Way) -> aiohttp.ClientSession:
        if way.proxy not in self._clients:
            if way.socks is None:
                connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
            else:
                connector = _socks_connector(way.socks)
            self._clients[way.proxy] = aiohttp.ClientSession(
                connector=connector, trace_configs=[_tracing()] if way.proxy else None
            )
        return self._clients[way.proxy]


class _Way:
    """The way of one request to the console, and who on it is to blame if it fails.

    Attributes:
        url: Where the request goes.
        target: Its host and port.
        proxy: The proxy on the way, if there is one.
        is_past_proxy: Whether the request was sent: what fails then is the console's.
    """

    def __init__(self, config: SessionConfig) -> None:
        self.url = config.console_endpoint_url.rstrip("/") + TOKEN_PATH
        self.proxy = proxy_for(self.url, setting=config.proxy)
        self.is_past_proxy = False
        parts = urlsplit(self.url)
        self._is_secure = parts.scheme == "https"
        port = parts.port or (443 if self._is_secure else 80)
        self.target = authority(parts.hostname or "", port)
        self._ssl_context = config.ssl_context

    @property
    def socks(self) -> Proxy | None:
        """The proxy, if it is one for SOCKS."""
        return self.proxy if self.proxy is not None and self.proxy.scheme == "socks5" else None

    def options(self) -> _RequestOptions:
        """What aiohttp is told about the way."""
        proxy = None if self.socks else self.proxy
        options = _RequestOptions(trace_request_ctx=self)
        if self._is_secure or (proxy is not None and proxy.scheme == "https"):
            options["ssl"] = self._ssl_context or default_context()
        if proxy is not None:
            options["proxy"] = str(proxy)
            options["proxy_headers"] = proxy.authorization
        return options

    def headers(self) -> dict[str, str]:
        """The headers of a request that goes to the proxy itself, as it needs no tunnel."""
        return {} if self.proxy is None or self._has_tunnel else self.proxy.authorization

    @property
    def _has_tunnel(self) -> bool:
        return self._is_secure or self.socks is not None

    def errors(self) -> tuple[type[Exception], ...]:
        """What can be raised on the way."""
        ours = (aiohttp.ClientError, OSError)
        return ours if self.socks is None else (*ours, *_socks_errors())

    def is_proxys(self, status: int, body: str) -> bool:
        """Whether the proxy gave an answer: it can where there is no tunnel.

        The console refuses in JSON; proxies write pages.
        """
        can = self.proxy is not None and not self._has_tunnel
        return can and status in _PROXY_REFUSALS and not body.lstrip().startswith("{")

    def late(self, timeout: float) -> SessionTokenError:
        """Say that there was no answer in time."""
        if self.proxy is None or self.is_past_proxy:
            return _failed(f"the console gave no token within {timeout:.2f} s")
        return self._blame_proxy(f"gave no way to {self.target} within {timeout:.2f} s")

    def refused(self, status: int) -> SessionTokenError:
        """Say that the proxy refused the way."""
        return self._blame_proxy(f"refused the way to {self.target} with HTTP {status}", status)

    def failed(self, error: Exception) -> SessionTokenError:
        """Say what an error on the way means."""
        fault = _below(error)
        why = reason(fault)
        if self.proxy is None:
            return _failed(f"the console could not be reached: {why}")
        if isinstance(error, aiohttp.ClientHttpProxyError):
            return self.refused(error.status)
        is_socks_error = not isinstance(error, (aiohttp.ClientError, OSError))
        is_unconnected = is_socks_error and isinstance(fault, OSError)
        if is_unconnected or isinstance(error, aiohttp.ClientProxyConnectionError):
            return self._blame_proxy(f"could not be reached: {why}")
        if not self.is_past_proxy and not isinstance(error, OSError):
            return self._blame_proxy(f"gave no way to {self.target}: {why}")
        return _failed(f"the console could not be reached through the proxy {self.proxy}: {why}")

    def _blame_proxy(self, what: str, status: int | None = None) -> SessionTokenError:
        return SessionTokenError(
            f"the proxy {self.proxy} {what}",
            code=AvatarSDKErrorCode.connectionFailed,
            http_status=status,
            proxy=str(self.proxy),
        )


def _below(error: BaseException) -> BaseException:
    """Return the fault that a library has wrapped, without the library's own words."""
    if isinstance(error, aiohttp.ClientResponseError):
        return ConnectionError("the answer is no HTTP")  # its sentence shows the peer's bytes
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error  # its sentence speaks of TLS settings even for plain HTTP
    if isinstance(error, aiohttp.ClientError) or error.__cause__ is None:
        return error
    return _below(error.__cause__)


class _RequestOptions(TypedDict, total=False):
    trace_request_ctx: _Way
    ssl: ssl.SSLContext
    proxy: str
    proxy_headers: dict[str, str]


def _tracing() -> aiohttp.TraceConfig:
    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(_note_sent)
    return trace


async def _note_sent(
    _client: aiohttp.ClientSession,
    context: SimpleNamespace,
    _params: aiohttp.TraceRequestHeadersSentParams,
) -> None:
    context.trace_request_ctx.is_past_proxy = True


# aiohttp-socks is loaded where it is needed, which is seldom.


def _socks_connector(proxy: Proxy) -> aiohttp.TCPConnector:
    from aiohttp_socks import ProxyConnector, ProxyType  # noqa: PLC0415

    return ProxyConnector(
        proxy.host,
        proxy.port,
        ProxyType.SOCKS5,
        proxy.username,
        proxy.password,
        rdns=True,
        limit=_CONNECTIONS,
    )


def _socks_errors() -> tuple[type[Exception], ...]:
    from aiohttp_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError  # noqa: PLC0415

    return (ProxyConnectionError, ProxyError, ProxyTimeoutError, asyncio.IncompleteReadError)


def _read_token(status: int, body: str, api_key: str) -> str:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    fields = answer if isinstance(answer, dict) else {}
    token = fields.get("sessionToken") or fields.get("session_token")
    if status != 200 or fields.get("errors"):
        # A console may say which key it does not know, and give a token all the same.
        secrets = [api_key, token] if isinstance(token, str) else [api_key]
        raise token_refused(status, body_without(body, secrets))
    if not (isinstance(token, str) and token.isascii() and token.isprintable() and token):
        # A token goes into a header, so that a line break in it would be another.
        # Neither the body nor a part of it is shown: it may be a token.
        raise SessionTokenError(
            "the console answered without a session token",
            code=AvatarSDKErrorCode.protocolError,
            http_status=status,
        )
    return token


def _failed(message: str) -> SessionTokenError:
    return SessionTokenError(message, code=AvatarSDKErrorCode.connectionFailed)
