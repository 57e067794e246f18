"""The console client: one shared HTTP client that fetches session tokens."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta, timezone
from types import TracebackType
from typing import Self

import aiohttp

from avatarpool.config import SessionConfig
from avatarpool.exceptions import AvatarSDKErrorCode, SessionTokenError
from avatarpool.protocol.refusals import HIDDEN, token_refused

TOKEN_PATH = "/session-tokens"  # noqa: S105  # a path, no secret

_DEFAULT_TOKEN_LIFETIME = timedelta(hours=1)

# Requests for tokens are short, and rare once a pool is open; with TLS a connection costs a
# handshake, and 260 kB while it is kept.
_CONNECTIONS = 4

# A token answer is some hundred bytes; more than this is no token answer.
_MAX_BODY_BYTES = 64 * 1024


class ConsoleClient:
    """Fetches session tokens over one pooled HTTP client.

    It is opened by its first request and belongs to that event loop.
    """

    def __init__(self) -> None:
        self._http: aiohttp.ClientSession | None = None

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
        http, self._http = self._http, None
        if http is not None:
            await http.close()

    async def request_token(self, config: SessionConfig) -> str:
        """Exchange the API key for a token that opens one connection.

        Cancelling drops the request.

        Raises:
            SessionTokenError: The console refused, failed, answered with no
                token, or did not answer within ``config.token_request_timeout``.
        """
        if self._http is None:
            self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=_CONNECTIONS))
        expire_at = config.expire_at or datetime.now(timezone.utc) + _DEFAULT_TOKEN_LIFETIME
        if expire_at.tzinfo is None:
            expire_at = expire_at.replace(tzinfo=timezone.utc)
        try:
            async with (
                asyncio.timeout(config.token_request_timeout),
                self._http.post(
                    config.console_endpoint_url.rstrip("/") + TOKEN_PATH,
                    json={"expireAt": int(expire_at.timestamp())},
                    headers={"X-Api-Key": config.api_key},
                    allow_redirects=False,  # a redirect would carry the key elsewhere
                ) as response,
            ):
                status = response.status
                raw = bytearray()
                async for chunk in response.content.iter_any():
                    raw += chunk
                    if len(raw) > _MAX_BODY_BYTES:
                        break
        except TimeoutError as error:
            raise _failed(
                f"the console gave no token within {config.token_request_timeout:.2f} s"
            ) from error
        except aiohttp.ClientConnectorError as error:
            # aiohttp's own sentence speaks of TLS settings even for plain HTTP.
            raise _failed(f"the console could not be reached: {error.os_error}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _failed(f"the console could not be reached: {error}") from error
        return _read_token(status, raw.decode(errors="replace"), config.api_key)


def _read_token(status: int, body: str, api_key: str) -> str:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    fields = answer if isinstance(answer, dict) else {}
    if status != 200 or fields.get("errors"):
        # A console may say which key it does not know.
        raise token_refused(status, body.replace(api_key, HIDDEN))
    token = fields.get("sessionToken") or fields.get("session_token")
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
