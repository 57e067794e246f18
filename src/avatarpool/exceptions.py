"""Every error that avatarpool raises, in one small tree.

::

    AvatarPoolError
    ├── ConfigurationError (ValueError)    before any network use
    ├── AudioError (ValueError)            audio that must not be sent
    ├── SessionStateError (RuntimeError)   a call that the session's state forbids
    │   └── SessionNotReady (ValueError)   ... which the official SDKs forbid as well
    ├── RequestTimeout (TimeoutError)      a request gave no last frame in time
    ├── AvatarSDKError                     the service or the network refused or failed
    │   ├── SessionTokenError              ... while a session token was requested
    │   └── ConnectionGone (ValueError)    ... before this call: nothing was sent
    └── PoolError
        ├── PoolClosed                     not open (yet, or any more)
        ├── PoolTimeout (TimeoutError)     no connection within the borrower's timeout
        └── TooManyRequests                ``max_waiting`` borrowers wait already

Messages are one lower-case sentence with the object and the numbers in it;
the same facts are attributes.
"""

from __future__ import annotations

from enum import Enum, IntEnum


class AvatarPoolError(Exception):
    """The root of the tree: catch it to catch everything avatarpool raises."""

    def __reduce__(self) -> tuple[object, ...]:
        # Copied and pickled by its attributes: constructors take more than the message.
        return (_restored, (type(self), self.args, self.__dict__))


def _restored(
    kind: type[AvatarPoolError], args: tuple[object, ...], facts: dict[str, object]
) -> AvatarPoolError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(facts)
    return error


class ConfigurationError(AvatarPoolError, ValueError):
    """A configuration that cannot work, found before any network use.

    Attributes:
        problems: One phrase per problem; all of them, not only the first.
    """

    def __init__(self, what: str, problems: list[str]) -> None:
        super().__init__(f"{what}: {'; '.join(problems)}")
        self.problems = tuple(problems)


class AudioError(AvatarPoolError, ValueError):
    """Audio that cannot be read or that the service would misread; nothing of it was sent."""


class SessionStateError(AvatarPoolError, RuntimeError):
    """A call that the session's or the request's state forbids; nothing was sent."""


class SessionNotReady(SessionStateError, ValueError):
    """The session is not open, was started before, or has no request to interrupt.

    The official SDKs raise ``ValueError`` for these.
    """


class RequestTimeout(AvatarPoolError, TimeoutError):
    """A request's frames did not arrive in time.

    Attributes:
        req_id: The request, if audio was sent.
        timeout: Seconds that were allowed.
        frames: How many frames had arrived.
        awaited: What did not come: ``last frame``, ``first frame`` or ``next frame``.
    """

    def __init__(
        self, req_id: str | None, timeout: float, frames: int, awaited: str = "last frame"
    ) -> None:
        if req_id is None:
            message = f"no request was sent within {timeout:.2f} s"
        else:
            message = (
                f"request {req_id} gave no {awaited} within {timeout:.2f} s "
                f"({frames} frames so far)"
            )
        super().__init__(message)
        self.req_id = req_id
        self.timeout = timeout
        self.frames = frames
        self.awaited = awaited


class AvatarSDKErrorCode(str, Enum):
    """What went wrong, in names that do not change between releases or vendors."""

    sessionTokenExpired = "sessionTokenExpired"
    sessionTokenInvalid = "sessionTokenInvalid"
    appIDUnrecognized = "appIDUnrecognized"
    appIDMismatch = "appIDMismatch"
    avatarNotFound = "avatarNotFound"
    billingRequired = "billingRequired"
    creditsExhausted = "creditsExhausted"
    sessionDurationExceeded = "sessionDurationExceeded"
    concurrencyLimit = "concurrencyLimit"
    unsupportedSampleRate = "unsupportedSampleRate"
    invalidEgressConfig = "invalidEgressConfig"
    egressUnavailable = "egressUnavailable"
    idleTimeout = "idleTimeout"
    upstreamError = "upstreamError"
    invalidRequest = "invalidRequest"
    connectionFailed = "connectionFailed"
    connectionClosed = "connectionClosed"
    protocolError = "protocolError"
    serverError = "serverError"
    unknown = "unknown"


class CloseCode(IntEnum):
    """The service's own WebSocket close codes.

    40xx: the request is at fault and a retry changes nothing, except after 4002:
    that session was merely old. 45xx: the server is briefly unable, and a retry with
    backoff may help.
    """

    CREDITS_EXHAUSTED = 4001
    SESSION_TIMEOUT = 4002
    CONCURRENCY_LIMIT = 4003
    AUTH_FAILED = 4010
    UPSTREAM_UNAVAILABLE = 4503


# Codes that a fresh connection may cure by itself, for errors that carry no
# close code and no HTTP status.
_TRANSIENT = frozenset(
    {
        AvatarSDKErrorCode.connectionFailed,
        AvatarSDKErrorCode.connectionClosed,
        AvatarSDKErrorCode.sessionDurationExceeded,
        AvatarSDKErrorCode.idleTimeout,
        AvatarSDKErrorCode.upstreamError,
        AvatarSDKErrorCode.serverError,
        AvatarSDKErrorCode.protocolError,
    }
)


class AvatarSDKError(AvatarPoolError):
    """The service refused or failed, or the way to it did.

    Attributes:
        code: A stable `AvatarSDKErrorCode` to branch on.
        message: The sentence that ``str()`` shows after the code.
        phase: ``session_token``, ``websocket_connect``, ``websocket_handshake``,
            ``websocket_runtime`` or ``websocket_send``; ``hook`` if the user's own
            ``configure``, ``check`` or ``reset`` failed, ``unknown`` if it was none of
            these. An official SDK's error keeps its own.
        http_status: Status of a refused token request or WebSocket upgrade; with
            ``proxy``, the proxy's answer.
        proxy: The proxy, without its credentials, if it failed and not the service.
        server_code: The server's own code, as text.
        server_title: The server's title.
        server_detail: The server's sentence.
        connection_id: The connection concerned, once it had a name.
        req_id: The request concerned.
        raw_body: The refusal's body, at most 2,048 characters.
        close_code: WebSocket close code that ended the connection.
        close_reason: The reason beside that code.
    """

    def __init__(
        self,
        code: AvatarSDKErrorCode,
        message: str,
        *,
        phase: str = "unknown",
        http_status: int | None = None,
        server_code: str | None = None,
        server_title: str | None = None,
        server_detail: str | None = None,
        connection_id: str | None = None,
        req_id: str | None = None,
        raw_body: str | None = None,
        close_code: int | None = None,
        close_reason: str | None = None,
        proxy: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.phase = phase
        self.http_status = http_status
        self.server_code = server_code
        self.server_title = server_title
        self.server_detail = server_detail
        self.connection_id = connection_id
        self.req_id = req_id
        self.raw_body = raw_body[:2048] if raw_body else raw_body
        self.close_code = close_code
        self.close_reason = close_reason
        self.proxy = proxy

    def __str__(self) -> str:
        return f"{self.code.value}: {self.message}"

    @property
    def retryable(self) -> bool:
        """Whether a new connection may succeed where this one failed.

        The service's close codes decide: 40xx no, except 4002 (the session was
        merely old); 45xx and every other close yes. Without a close code the
        HTTP status decides (5xx and 429 yes), and without either the code.
        """
        if self.close_code is not None:
            refused = 4000 <= self.close_code < 4500
            return not refused or self.close_code == CloseCode.SESSION_TIMEOUT
        if self.http_status is not None:
            return self.http_status >= 500 or self.http_status == 429
        return self.code in _TRANSIENT


class SessionTokenError(AvatarSDKError):
    """No session token: the console refused, failed or could not be reached."""

    def __init__(
        self,
        message: str,
        *,
        code: AvatarSDKErrorCode = AvatarSDKErrorCode.invalidRequest,
        phase: str = "session_token",
        http_status: int | None = None,
        server_code: str | None = None,
        server_title: str | None = None,
        server_detail: str | None = None,
        connection_id: str | None = None,
        req_id: str | None = None,
        raw_body: str | None = None,
        close_code: int | None = None,
        close_reason: str | None = None,
        proxy: str | None = None,
    ) -> None:
        super().__init__(
            code,
            message,
            phase=phase,
            http_status=http_status,
            server_code=server_code,
            server_title=server_title,
            server_detail=server_detail,
            connection_id=connection_id,
            req_id=req_id,
            raw_body=raw_body,
            close_code=close_code,
            close_reason=close_reason,
            proxy=proxy,
        )


class ConnectionGone(AvatarSDKError, ValueError):
    """The connection had ended before this call, with which nothing was sent.

    Its code, close code and cause say why. The official SDKs raise ``ValueError``
    once they know of the end.
    """


class PoolError(AvatarPoolError):
    """The pool could not serve the borrower, or what it was given to call failed.

    What a hook or a factory raised that is none of these errors is the cause of one.
    """


class PoolClosed(PoolError):
    """The pool is not open: not initialized yet, or closed."""


class PoolTimeout(PoolError, TimeoutError):
    """No connection came free, or the pool was not at its size, within the timeout.

    Its ``__cause__`` is why none is open, where that is known.
    """


class TooManyRequests(PoolError):
    """``max_waiting`` borrowers wait already; this one was turned away at once."""
