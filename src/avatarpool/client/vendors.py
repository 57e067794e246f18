"""A vendor's session behind our interface, with our guarantees."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeGuard, TypeVar, cast

from avatarpool.audio import check_audio
from avatarpool.client.forwarding import Forwarding, FrameCounter
from avatarpool.client.routing import Router, SessionObserver
from avatarpool.client.wiring import Wiring
from avatarpool.exceptions import (
    AvatarPoolError,
    AvatarSDKError,
    AvatarSDKErrorCode,
    ConfigurationError,
    ConnectionGone,
)
from avatarpool.protocol.codec import decode
from avatarpool.protocol.messages import AnimationFrame
from avatarpool.protocol.requests import RequestLog
from avatarpool.protocol.settings import DEFAULT_SAMPLE_RATE, AudioFormat
from avatarpool.untrusted import answered, hidden, ours, raised, secrets_in, words

log = logging.getLogger("avatarpool.pool")

T = TypeVar("T")

# Two of the three official SDKs wait for the handshake without a limit of their
# own; ours allows 10 s for the connection and 10 s for the handshake.
_STEP_TIMEOUT = 20.0
_CLOSE_TIMEOUT = 12.0  # the SDKs' closing handshake takes up to 10 s

_CALLS = ("init", "start", "send_audio", "interrupt", "close")

_SAID = ("server_code", "server_title", "server_detail", "raw_body", "close_reason")

_CODES = {code.value: code for code in AvatarSDKErrorCode}


class VendorSession(Protocol):
    """The calls that every official SDK's session has."""

    async def init(self) -> None:
        """Fetch a token."""

    async def start(self) -> str:
        """Open the connection and return its id."""

    async def send_audio(self, audio: bytes, end: bool = False) -> str:  # noqa: FBT001, FBT002
        """Send audio; return the request id."""

    async def interrupt(self) -> str:
        """Stop the most recent request."""

    async def close(self) -> None:
        """Close the connection."""


class ForeignSession:
    """Adapts an official SDK's session: routes its frames, translates its errors.

    The SDK chooses request ids and delivers raw messages; this adapter keeps
    its own `RequestLog` of them, so that one request at a time, late frames and
    half-sent audio are treated as on our own session.

    Args:
        factory: The SDK's ``new_avatar_session``.
        options: Its keywords, as the user's factory gave them.
        wiring: The collector that the user's factory was called with.
        observer: Who follows the requests.
    """

    def __init__(
        self,
        factory: Callable[..., object],
        options: Mapping[str, object],
        wiring: Wiring,
        observer: SessionObserver,
    ) -> None:
        has_egress = any(options.get(key) is not None for key in ("livekit_egress", "agora_egress"))
        self.requests = RequestLog(expects_frames=not has_egress)
        self._observer = observer
        self._router = Router(self.requests, observer)
        self._is_open = False
        self._has_ended = False
        # Ids of requests that are over: a late frame of one of them must not
        # be taken for the request whose id the SDK has yet to tell.
        self._past: deque[str] = deque(maxlen=64)
        self._is_beginning = False  # a first send is under way, and its id unknown
        self._is_torn = False  # ... was cut off
        self._early_error: object = None  # told meanwhile, about who knows what
        self._sending = asyncio.Lock()  # one send after the other
        callbacks = {
            name: _both(options.get(name), entry, wiring)
            for name, entry in (
                ("transport_frames", wiring.transport_frame),
                ("on_error", wiring.on_error),
                ("on_close", wiring.on_close),
            )
        }
        wiring.sink = self
        self._secrets = secrets_in(options)  # what an SDK's errors quote of them is hidden
        self._audio_format = AudioFormat(cast("str", options.get("audio_format", "pcm_s16le")))
        if options.get("ogg_opus_encoder") is not None:
            self._audio_format = AudioFormat.PCM_S16LE  # the SDK encodes
        # As an SDK has it where it is not told, too.
        self.sample_rate = cast("int", options.get("sample_rate", DEFAULT_SAMPLE_RATE))
        session = factory(**{**options, **callbacks})
        if not all(callable(getattr(session, call, None)) for call in _CALLS):
            raise ConfigurationError(
                "session_factory cannot work", [f"it returned {type(session).__name__}, no session"]
            )
        self._session = cast("VendorSession", session)

    def __repr__(self) -> str:
        return f"<ForeignSession {self.connection_id} over {type(self._session).__module__}>"

    @property
    def connection_id(self) -> str | None:
        return self._router.connection_id

    @property
    def is_open(self) -> bool:
        return self._is_open

    @property
    def is_ending(self) -> bool:
        return not self._is_open

    async def init(self) -> None:
        await self._translated("session_token", self._session.init)

    async def start(self) -> str:
        try:
            connection_id = await self._translated("websocket_connect", self._session.start)
            if not _is_name(connection_id):  # it goes into logs and metrics
                raise _breach("start", connection_id, "a connection id", "websocket_connect")
        except BaseException:
            # The SDKs close their socket after an error but not when cancelled.
            await self.close()
            raise
        self._router.connection_id = connection_id
        self._is_open = not self._has_ended
        return connection_id

    @property
    def is_settled(self) -> bool:
        return self.requests.is_settled and not self._is_beginning and not self._is_torn

    async def send_audio(self, audio: bytes, end: bool = False) -> str:  # noqa: FBT001, FBT002
        waits_amid = self._sending.locked() and self.requests.is_half_sent
        begun = self.requests.current if waits_amid else None
        async with self._sending:
            self.requests.check_same(begun)
            return await self._send_audio(audio, end=end)

    async def _send_audio(self, audio: bytes, *, end: bool) -> str:
        is_new = not self.requests.is_half_sent
        if is_new:
            self.requests.check_free()
        check_audio(audio, self._audio_format, is_first=is_new)
        self._check_whole()
        self._is_beginning, self._early_error = is_new, None
        try:
            # How long it may take is the borrower's to say.
            req_id = await self._translated(
                "websocket_send", self._session.send_audio, audio, end, is_bounded=False
            )
        except BaseException:
            # The SDK may hold an open request whose id it has not told.
            self._is_torn = True  # ... nor whether it has counted this piece, or its end
            raise
        finally:
            self._is_beginning = False
        if not _is_name(req_id):
            self._is_torn = True
            raise _breach("send_audio", req_id, "a request id", "websocket_send")
        if is_new and req_id != self.requests.last:
            self._begin(req_id)
        self._audio_sent(end=end)
        if self._early_error is not None:
            self.failed(self._early_error)
        return req_id

    async def interrupt(self) -> str:
        last = self.requests.last
        if self.requests.is_half_sent and not self._is_torn:
            await self.send_audio(b"", end=True)
        if last is not None and self.requests.last != last:
            return last  # another task has begun the next one meanwhile
        req_id = self.requests.interrupt()
        self._remember(req_id)
        try:
            await self._translated("websocket_send", self._session.interrupt)
        except BaseException:
            self._is_torn = True  # whether the service heard of it is unknown
            raise
        return req_id

    async def abandon(self) -> None:
        self._check_whole()
        if self.requests.current is not None:
            await self.interrupt()

    def forward(self, frame: AnimationFrame, forwarding: Forwarding, counter: FrameCounter) -> None:
        pass  # the SDKs hand over frames

    def pause_reading(self) -> None:
        pass  # the SDKs have no call for it

    def resume_reading(self) -> None:
        pass

    async def proves_alive(self, patience: float) -> bool | None:  # noqa: ARG002
        return None  # the SDKs have no call for a ping

    async def ending(self) -> AvatarSDKError | None:
        return None  # the SDK told on_error, if anybody

    async def close(self) -> None:
        self._is_open = False
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await answered(self._session.close)
        except Exception as error:  # noqa: BLE001  # it is over for us, whatever the SDK makes of it
            why = words(error, self._secrets)
            log.warning("session %s could not be closed: %s", self.connection_id, why)

    # --- CallbackSink ----------------------------------------------------------------

    def message(self, data: bytes) -> None:
        """Route a raw message of the SDK's ``transport_frames``."""
        if not isinstance(data, bytes | bytearray | memoryview):
            self.failed(f"its transport_frames gave {type(data).__name__}, no bytes")
            return
        try:
            frame = decode(bytes(data))
        except AvatarSDKError as error:
            self.failed(error)
            self._observer.protocol_broken(error)
            return
        if not isinstance(frame, AnimationFrame):
            return
        if self._is_beginning and self._is_news(frame.req_id):
            self._begin(frame.req_id)
        if self._is_torn and not self.requests.has_made(frame.req_id):
            self._observer.frame_dropped(frame)  # the send that was cut off may have begun it
            return
        try:
            self._router.frame(frame)
        except AvatarSDKError as error:
            self._observer.protocol_broken(error)  # first: the error may end what fades
            self.failed(error)
        if frame.end:
            self._remember(frame.req_id)

    def failed(self, error: object) -> None:
        """Take an error of the SDK's ``on_error``, whatever it gives."""
        translated = self._translate(error, "websocket_runtime")
        req_id = translated.req_id or self.requests.current
        if self._is_beginning and req_id is not None and self._is_news(req_id):
            self._begin(req_id)
        if self._is_beginning and req_id is None:
            self._early_error = translated  # there is no request yet that it could fail
            return
        if self._router.error(translated) and req_id is not None:
            self._remember(req_id)

    def ended(self) -> None:
        """Take the SDK's ``on_close``; it may call more than once."""
        self._has_ended = True
        if self._is_open:
            self._is_open = False
            self._observer.session_ended(None)

    # --- what an SDK raises ------------------------------------------------------------

    async def _translated(
        self,
        phase: str,
        call: Callable[..., Awaitable[T]],
        *args: object,
        is_bounded: bool = True,
    ) -> T:
        limit = asyncio.timeout(_STEP_TIMEOUT if is_bounded else None)
        try:
            async with limit:
                return await answered(call, *args)
        except AvatarPoolError as error:
            raise ours(error)  # noqa: B904  # it is most often the same
        except Exception as error:
            if limit.expired():
                raise AvatarSDKError(
                    AvatarSDKErrorCode.connectionFailed,
                    f"no answer within {_STEP_TIMEOUT:.2f} s",
                    phase=phase,
                ) from error
            is_plain = isinstance(error, ValueError) and not hasattr(error, "code")
            if is_plain and phase in ("session_token", "websocket_connect"):
                problem = hidden(str(error), self._secrets)
                raise ConfigurationError("the session cannot be opened", [problem]) from error
            raise self._translate(error, phase) from error

    def _translate(self, error: object, phase: str) -> AvatarSDKError:
        """Say a vendor's error in our words; its facts are kept where they are some."""
        if isinstance(error, AvatarSDKError) and ours(error) is error:
            return error
        try:
            translated = self._said_in_our_words(error, phase)
        except Exception:  # noqa: BLE001  # an attribute may raise anything
            what = f"an error of type {type(error).__name__} that cannot be read"
            translated = AvatarSDKError(AvatarSDKErrorCode.connectionFailed, what, phase=phase)
        if isinstance(error, BaseException):
            translated.__cause__ = error
        return translated

    def _said_in_our_words(self, error: object, phase: str) -> AvatarSDKError:
        # The SDKs raise ValueError on a session that has died.
        name = getattr(getattr(error, "code", None), "value", None)
        code = _CODES.get(name) if isinstance(name, str) else None
        is_gone = isinstance(error, ValueError) and phase == "websocket_send"
        kind = ConnectionGone if is_gone else AvatarSDKError
        message = getattr(error, "message", None) or error
        said = {fact: _text(error, fact) for fact in _SAID}
        return kind(
            code or AvatarSDKErrorCode.connectionFailed,
            hidden(str(message), self._secrets) or type(error).__name__,
            phase=_text(error, "phase") or phase,
            http_status=_number(error, "http_status"),
            close_code=_number(error, "close_code"),
            connection_id=_text(error, "connection_id"),
            req_id=_text(error, "req_id") or None,
            **{fact: text and hidden(text, self._secrets) for fact, text in said.items()},
        )

    def _check_whole(self) -> None:
        if self._is_torn:
            raise AvatarSDKError(
                AvatarSDKErrorCode.connectionClosed,
                "a send was cut off, and what the session holds is unknown",
                phase="websocket_send",
                connection_id=self._router.connection_id,
            )

    # --- request ids that the SDK chooses -----------------------------------------------

    def _is_news(self, req_id: str) -> bool:
        return req_id != self.requests.last and req_id not in self._past

    def _begin(self, req_id: str) -> None:
        self._router.audio(end=False, req_id=req_id)

    def _audio_sent(self, *, end: bool) -> None:
        if end and self.requests.is_half_sent:
            self._router.audio(end=True)
            self._router.settle()

    def _remember(self, req_id: str) -> None:
        self._past.append(req_id)


def _both(own: object, entry: Callable[..., None], wiring: Wiring) -> Callable[..., None]:
    """Call the user's own callback and, unless it passed the call on, the collector's."""
    if own is None or own == entry:
        return entry

    def callback(*args: object) -> None:
        calls = wiring.calls
        failure = raised(cast("Callable[..., object]", own), *args)
        if failure is not None:
            name = getattr(own, "__qualname__", own)
            log.error("callback %r failed", name, exc_info=failure)
        if wiring.calls == calls:
            entry(*args)

    return callback


def _is_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value.isprintable() and 0 < len(value) <= 256


def _breach(call: str, given: object, wanted: str, phase: str) -> AvatarSDKError:
    kind = type(given).__name__
    what = f"the session's {call} gave a {kind} for {wanted}, not 1 to 256 printable characters"
    return AvatarSDKError(AvatarSDKErrorCode.protocolError, what, phase=phase)


def _text(error: object, fact: str) -> str | None:
    value = getattr(error, fact, None)
    return value if isinstance(value, str) else None


def _number(error: object, fact: str) -> int | None:
    value = getattr(error, fact, None)
    return value if isinstance(value, int) else None
