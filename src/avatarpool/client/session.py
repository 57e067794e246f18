"""One avatar session: a token, a connection, requests one after another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Self

from avatarpool.client import outgoing
from avatarpool.client.callbacks import call
from avatarpool.client.console import ConsoleClient
from avatarpool.client.forwarding import Forwarding, FrameCounter
from avatarpool.client.incoming import confirmation, failure, gone, why_ended
from avatarpool.client.routing import Nobody, Router, SessionObserver
from avatarpool.client.sending import Sending
from avatarpool.config import SessionConfig
from avatarpool.exceptions import (
    AvatarSDKError,
    AvatarSDKErrorCode,
    SessionNotReady,
    SessionStateError,
)
from avatarpool.protocol.codec import encode
from avatarpool.protocol.messages import (
    AnimationFrame,
    ConfirmSession,
    Message,
    PlaybackState,
    ServerError,
)
from avatarpool.protocol.reader import MessageReader
from avatarpool.protocol.refusals import protocol_violation
from avatarpool.protocol.requests import RequestLog
from avatarpool.protocol.state import SessionEvent, SessionState, next_session_state
from avatarpool.proxies import proxy_for
from avatarpool.transport.connecting import connect
from avatarpool.transport.websocket import Ended, WebSocket
from avatarpool.untrusted import secrets_in

log = logging.getLogger("avatarpool.session")

# A keyframe is at most some 500 bytes; this leaves room for minutes of them.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024

# Looked up once: on Python 3.11 an enum's member costs a call, and every frame takes one.
_NEW, _OPENING, _OPEN, _CLOSED = SessionState


class AvatarSession:
    """A session with the avatar service; single-use, for one event loop.

    ``init()`` fetches a token, ``start()`` opens the connection, `send_audio`
    and the configuration's callbacks do the work, ``close()`` ends it; or
    ``async with``, which does the first two and the last. One request at a
    time: the next may begin once the last frame of the current one has come,
    or once it was interrupted.

    Args:
        config: What to open and whom to call back.
        console: A token client to share; without one the session has its own.
        observer: Who follows the requests beside the configuration's callbacks.

    Raises:
        ConfigurationError: The configuration cannot work; all reasons at once.
    """

    # With a dictionary it lies in twice as many places, and a borrow looks at it: among
    # thousands of connections every place is a miss of the caches.
    __slots__ = (
        "__weakref__",
        "_capabilities",
        "_config",
        "_confirmed",
        "_connection_id",
        "_console",
        "_failure",
        "_has_listener",
        "_reader",
        "_router",
        "_secrets",
        "_sending",
        "_state",
        "_token",
        "_websocket",
        "is_ending",
        "requests",
    )

    def __init__(
        self,
        config: SessionConfig,
        *,
        console: ConsoleClient | None = None,
        observer: SessionObserver | None = None,
    ) -> None:
        config.validate()
        self.requests = RequestLog(expects_frames=not config.has_egress)
        self._config = config
        self._console = console
        self._router = Router(self.requests, observer or Nobody())
        self._has_listener = config.transport_frames is not None or config.on_playback is not None
        self._state = _NEW
        self._token: str | None = None
        self._secrets: Callable[[], list[str]] = list  # what no error may show
        self._websocket: WebSocket | None = None
        self._confirmed: asyncio.Future[None] | None = None  # during the handshake
        self._connection_id: str | None = None
        self._capabilities: tuple[str, ...] = ()
        self._reader = MessageReader()
        self._sending = Sending(config, self._router, self._open_websocket, self._stuck)
        self._failure: AvatarSDKError | None = None  # what ended the connection
        # Whether the connection is known to come to its end: told as it happens, so
        # that who lends sessions need not ask all the way down to the socket.
        self.is_ending = False

    def __repr__(self) -> str:
        return f"<AvatarSession {self._connection_id} {self._state.name.lower()}>"

    @property
    def config(self) -> SessionConfig:
        """The configuration the session was made with."""
        return self._config

    @property
    def sample_rate(self) -> int:
        """Samples per second of the audio that it takes."""
        return self._config.sample_rate

    @property
    def connection_id(self) -> str | None:
        """The service's name for the connection, once it is open."""
        return self._connection_id

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What the service said it can do beyond the basics."""
        return self._capabilities

    @property
    def is_open(self) -> bool:
        """Whether audio can be sent now."""
        return self._state is _OPEN and self._websocket is not None and self._websocket.is_open

    @property
    def is_settled(self) -> bool:
        """Whether nothing is half-sent and no frame can come any more."""
        return self.requests.is_settled

    async def __aenter__(self) -> Self:
        try:
            await self.init()
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def init(self) -> None:
        """Fetch a token for one connection. Cancelling drops the request.

        Raises:
            SessionTokenError: The console refused, failed or was not reached.
            SessionStateError: The session was started already.
        """
        if self._state is not _NEW:
            raise SessionStateError(f"the session is {self._state.name.lower()}: make a new one")
        if self._console is not None:
            self._token = await self._console.request_token(self._config)
        else:
            async with ConsoleClient() as console:
                self._token = await console.request_token(self._config)

    async def start(self) -> str:
        """Open the connection, configure the session, return its connection id.

        A session that failed to start is closed; make a new one. Cancelling
        leaves no socket and no half-open session.

        Raises:
            AvatarSDKError: The ingress refused, failed, or did not answer in time.
            SessionNotReady: ``init()`` was not called, or the session was started
                already.
            SessionStateError: It is closed.
        """
        if self._token is None and self._state is _NEW:
            raise SessionNotReady("the session has no token yet: call init() first")
        if self._state in (_OPENING, _OPEN):
            raise SessionNotReady(f"the session is {self._state.name.lower()} already")
        self._advance(SessionEvent.START)
        token, self._token = self._token or "", None  # a token opens one connection
        config = self._config
        # The service knows these and may repeat them. A function shows them in no dump.
        self._secrets = lambda: secrets_in({"token": token, "config": config})
        try:
            await self._open(token)
        except BaseException:
            self._state = _CLOSED
            if self._websocket is not None:
                self._websocket.abort()
            raise
        assert self._connection_id is not None
        log.info("session %s opened", self._connection_id)
        return self._connection_id

    async def send_audio(self, audio: bytes | bytearray | memoryview, end: bool = False) -> str:  # noqa: FBT001, FBT002
        """Send audio of the current request, or begin one; return its request id.

        Calls side by side follow each other, each whole. Cancelling stops between two
        pieces of at most 128 kB: the request is then half-sent, and `interrupt()` or a
        call with ``end=True`` ends it.

        Args:
            audio: Samples or Ogg Opus bytes in the session's format, of any size.
            end: Whether the request's audio is complete with this.

        Raises:
            AudioError: The audio is not what the session was opened for.
            SessionNotReady: The session is not open.
            SessionStateError: The previous request is still being answered.
            ConnectionGone: The connection has ended.
            AvatarSDKError: The peer takes no data.
        """
        return await self._sending.audio(audio, end=end)

    async def interrupt(self) -> str:
        """Stop the most recent request, sent or half-sent; return its id.

        Its frames are dropped from now on, the next request may begin, and what has
        not left of its audio stays here. Nothing is waited for. A second call for the
        same request sends nothing: each interrupt may be answered, by an error that
        does not say whose it is.

        Raises:
            SessionNotReady: There was no request, or the session is not open.
            ConnectionGone: The connection has ended.
        """
        self._read_all()
        return self._sending.interrupt()

    async def abandon(self) -> None:
        """End whatever request is open, so that the connection comes clean."""
        was_speaking = self.requests.is_speaking
        self._read_all()
        if self.is_open:
            self._sending.end()
        # Where frames go to a room that ends the request, and the room would speak half of it.
        if self.is_open and (was_speaking or self.requests.current is not None):
            self._sending.interrupt()

    def forward(self, frame: AnimationFrame, forwarding: Forwarding, counter: FrameCounter) -> None:
        """Hand over unread what follows a frame and is like it: a relay wants the message alone.

        That is, as it came, each frame of the same request that is not its last. Anything
        else that comes is routed as ever and ends this, as an interrupt does. Nothing is
        handed over where the configuration has callbacks that take frames, or frames go to a
        room, nor before two frames were alike.

        Args:
            frame: Of the current request, just received.
            forwarding: Sends it on.
            counter: Told of each.
        """
        wants_all = self._has_listener or self._config.has_egress
        likeness = None if frame.end or wants_all else self._reader.likeness(frame)
        if likeness is not None and self._websocket is not None:
            forwarding.begin(likeness, counter)
            self._websocket.divert(forwarding.take)

    def _read_all(self) -> None:
        """Forward nothing more."""
        if self._websocket is not None:
            self._websocket.divert(None)

    def pause_reading(self) -> None:
        """Leave in the network what the service sends, until `resume_reading`.

        For whoever passes frames on to somebody slower than the service. Meanwhile no end and
        no error is noticed either, and nobody calls the service dead.
        """
        if self._websocket is not None:
            self._websocket.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if self._websocket is not None:
            self._websocket.resume_reading()

    async def proves_alive(self, patience: float) -> bool:
        """Ping the service; return whether it answered.

        Args:
            patience: Seconds in which it takes nothing of what was sent before, sends
                nothing and does not answer.
        """
        return self._websocket is not None and await self._websocket.proves_alive(patience)

    async def ending(self) -> AvatarSDKError | None:
        """Return why the service is hanging up, once its last word is known."""
        if self._websocket is not None:
            await self._websocket.wait_ended(self._config.close_timeout)
        return self._failure

    async def close(self) -> None:
        """Close the connection; safe to call at any time and more than once.

        Takes at most ``close_timeout`` seconds. Cancelling cuts the connection
        at once.
        """
        was_open = self._state is _OPEN
        self._advance(SessionEvent.CLOSE)
        if self._websocket is None:
            return
        if was_open:
            await self._websocket.close(timeout=self._config.close_timeout)
        else:
            self._websocket.abort()

    # --- opening ---------------------------------------------------------------

    async def _open(self, token: str) -> None:
        config = self._config
        url, headers = outgoing.ingress_target(config, token)
        # Made before there is a connection: what the service says, or why it
        # hangs up, may come in the same packet as its answer to the upgrade.
        self._confirmed = asyncio.get_running_loop().create_future()
        self._websocket = await connect(
            url,
            self,
            headers=headers,
            secret=token,
            timeout=config.connect_timeout,
            max_message_bytes=MAX_MESSAGE_BYTES,
            ping_interval=config.ping_interval,
            ping_timeout=config.ping_timeout,
            proxy=proxy_for(url, setting=config.proxy),
            ssl_context=config.ssl_context,
            more_secrets=[config.api_key],
        )
        if self._confirmed.done():
            self._confirmed.result()  # raises what the service said first
            raise protocol_violation(
                "the service confirmed a session without its settings", "handshake"
            )
        if self._state is not _OPENING:
            raise self._failure or SessionStateError("the session was closed while it opened")
        self._websocket.write(encode(outgoing.configuration(config)))
        try:
            async with asyncio.timeout(config.handshake_timeout):
                await self._confirmed
        except TimeoutError as error:
            raise AvatarSDKError(
                AvatarSDKErrorCode.connectionFailed,
                f"the service did not confirm the session within {config.handshake_timeout:.2f} s",
                phase="websocket_handshake",
            ) from error

    def _advance(self, event: SessionEvent) -> None:
        self._state = next_session_state(self._state, event)

    # --- sending -----------------------------------------------------------------

    def _open_websocket(self) -> WebSocket:
        """Return the WebSocket, over which something can be sent."""
        if self.is_open:
            assert self._websocket is not None
            return self._websocket
        if self._failure is not None:
            raise gone(self._failure, self._connection_id) from self._failure
        if self._state is _OPEN:
            raise gone(None, self._connection_id)
        raise SessionNotReady(f"the session is {self._state.name.lower()}")

    def _stuck(self, failure: AvatarSDKError) -> None:
        """Cut a connection whose peer takes nothing."""
        self._failure = failure
        assert self._websocket is not None
        self._websocket.abort()

    # --- receiving: called by the WebSocket ------------------------------------------

    def message_received(self, data: bytes) -> None:
        """Route one message of the service.

        Raises:
            AvatarSDKError: It breaks the protocol, or nobody can read it.
        """
        message = self._reader.read(data)
        if self._state is _OPENING:
            self._handshake_answered(message)
        elif isinstance(message, AnimationFrame):
            wanted = self._router.frame(message)
            if self._has_listener and (wanted or self._config.has_egress):
                call(self._config.transport_frames, data, message.end)
                call(self._config.on_playback, message)
        elif isinstance(message, ServerError):
            self._error_received(failure(message, self._secrets(), is_opening=False))
        elif isinstance(message, PlaybackState):
            self._router.playback(message)
            call(self._config.on_playback_state, message)
        elif isinstance(message, ConfirmSession):
            raise protocol_violation("the service confirmed the session a second time")

    def _handshake_answered(self, message: Message) -> None:
        confirmed = self._confirmed
        if confirmed is None or confirmed.done():
            return
        try:
            if isinstance(message, ServerError):
                raise failure(message, self._secrets(), is_opening=True)
            confirm = confirmation(message)
        except AvatarSDKError as error:
            confirmed.set_exception(error)
            return
        # Open from here, not from where start() wakes up: the service's
        # next message may come in the same packet.
        self._advance(SessionEvent.CONFIRM)
        self._connection_id = self._router.connection_id = confirm.connection_id
        self._capabilities = confirm.capabilities
        confirmed.set_result(None)

    def _error_received(self, error: AvatarSDKError) -> None:
        if self._router.error(error):
            self._sending.forget()
        call(self._config.on_error, error)

    def connection_closing(self) -> None:
        """Take the news that nothing can be sent any more."""
        self.is_ending = True

    def connection_lost(self, ended: Ended) -> None:
        """Take the end of the connection; tell everyone why, once."""
        if self._failure is None and not ended.is_local:
            self._failure = why_ended(
                ended,
                self._secrets(),
                is_opening=self._state is _OPENING,
                connection_id=self._connection_id,
                req_id=self.requests.current,
            )
        error = self._failure  # None: closed from here
        self._state = _CLOSED
        if self._confirmed is not None and not self._confirmed.done():
            self._confirmed.set_exception(
                error or SessionStateError("the session was closed while it opened")
            )
            self._confirmed.exception()  # start() may not be waiting for it yet
        if self._connection_id is None:
            return  # it never opened: start() raises, and nobody else has heard of it
        log.info("session %s closed: %s", self._connection_id, error or "from here")
        self._router.observer.session_ended(error)
        if error is not None:
            call(self._config.on_error, error)
        call(self._config.on_close)


def new_avatar_session(**options: object) -> AvatarSession:
    """Make a session from the fields of `SessionConfig` as keywords."""
    return AvatarSession(SessionConfig(**options))  # type: ignore[arg-type]
