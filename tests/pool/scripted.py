"""A session that does what a test tells it, under the official SDKs' interface; pools of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

from avatarpool import AvatarConnectionPool, PooledConnection
from avatarpool.exceptions import AvatarSDKError, AvatarSDKErrorCode
from avatarpool.protocol.codec import encode
from avatarpool.protocol.messages import AnimationFrame

Opening = Callable[["ScriptedSession"], Any]


class Script:
    """Makes sessions and decides how each opens; pass it as ``session_factory``.

    Args:
        openings: What happens to the first, second... session: None opens it,
            an exception is raised, an awaitable's factory is awaited. After
            the last one, all open.
    """

    def __init__(self, *openings: BaseException | Opening | None) -> None:
        self.openings = list(openings)
        self.sessions: list[ScriptedSession] = []
        self.attempts = 0

    def __call__(self, **options: Any) -> ScriptedSession:
        session = ScriptedSession(self, options)
        self.sessions.append(session)
        return session

    def named(self, connection_id: str) -> ScriptedSession:
        """Find a session by its connection id."""
        return next(session for session in self.sessions if session.name == connection_id)


class ScriptedSession:
    """Nothing happens on it by itself."""

    def __init__(self, script: Script, options: dict[str, Any]) -> None:
        self.script = script
        self.options = options
        self.sent: list[tuple[str, bytes, bool]] = []
        self.interrupted: list[str] = []
        self.is_closed = False
        self.answers_abandoned = True  # whether an interrupt brings the last frame
        self.before_send_returns: Callable[[str], None] = lambda req_id: None
        self._ids = count(1)
        self._current: str | None = None
        self._last = ""

    @property
    def name(self) -> str:
        return f"scripted-{self.script.sessions.index(self)}"

    async def init(self) -> None:
        self.script.attempts += 1

    async def start(self) -> str:
        opening = self.script.openings.pop(0) if self.script.openings else None
        if isinstance(opening, BaseException):
            raise opening
        if opening is not None:
            await opening(self)
        return self.name

    async def send_audio(self, audio: bytes, end: bool = False) -> str:
        if self.is_closed:
            raise ValueError("WebSocket connection is not established")
        if self._current is None:
            self._current = self._last = f"{self.name}/{next(self._ids)}"
        req_id = self._current
        self.sent.append((req_id, bytes(audio), end))
        if end:
            self._current = None
        self.before_send_returns(req_id)
        await asyncio.sleep(0)
        return req_id

    async def interrupt(self) -> str:
        self.interrupted.append(self._last)
        self._current = None
        if self.answers_abandoned:
            self.frame(self._last, end=True)
        return self._last

    async def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.options["on_close"]()

    def frame(self, req_id: str, *, end: bool = False, animation: bytes = b"") -> None:
        """Deliver a frame, wanted or not."""
        message = AnimationFrame(req_id, end, animation)
        self.options["transport_frames"](encode(message), end)

    def fail(self, error: Exception) -> None:
        """Report an error that no call raises."""
        self.options["on_error"](error)


def refused(code: AvatarSDKErrorCode, **facts: Any) -> AvatarSDKError:
    return AvatarSDKError(code, "as the script says", **facts)


def no_options() -> dict[str, Any]:
    """A ``config_factory``: scripted sessions need no options."""
    return {}


Code = AvatarSDKErrorCode
DOWN = refused(Code.connectionFailed)
NO_CREDITS = refused(Code.creditsExhausted, close_code=4001)


def new_pool(script: Script, size: int = 2, **options: Any) -> AvatarConnectionPool:
    options.setdefault("name", "test")
    return AvatarConnectionPool(size, no_options, session_factory=script, **options)


async def hold(pool: AvatarConnectionPool, seconds: float, **options: Any) -> str:
    async with pool.borrow(**options) as conn:
        await asyncio.sleep(seconds)
        return conn.connection_id


def slow(seconds: float) -> Callable[[ScriptedSession], Coroutine[Any, Any, None]]:
    return lambda session: asyncio.sleep(seconds)


def answer_at(session: ScriptedSession, times: dict[float, bool], req_id: str) -> None:
    """Deliver frames at these times from now; True: the last one."""
    for seconds, end in times.items():
        asyncio.get_running_loop().call_later(
            seconds, lambda end=end: session.frame(req_id, end=end)
        )


def mute(session: ScriptedSession) -> ScriptedSession:
    """Have a session that does not answer an interrupt."""
    session.answers_abandoned = False
    return session


def answer_pings(session: ScriptedSession, seconds: float = 0.0, *, alive: bool = True) -> None:
    """Give a vendor's session what only ours has."""

    async def proves_alive(patience: float) -> bool:
        assert patience == 1.0
        await asyncio.sleep(seconds)
        return alive

    session.options["on_close"].__self__.sink.proves_alive = proves_alive


async def leave(pool: AvatarConnectionPool, session: ScriptedSession, *, frames: int = 1) -> str:
    """Leave a request of which so many frames had come; return its id."""
    async with pool.borrow() as conn:
        req_id = await conn.session.send_audio(b"\0\0", end=True)
        for _ in range(frames):
            session.frame(req_id)
        return req_id


class Hook:
    """Notes whom it was called with, and fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.seen: list[str] = []

    async def __call__(self, conn: PooledConnection) -> None:
        self.seen.append(conn.connection_id)
        await asyncio.sleep(0)
        if len(self.seen) <= self.failures:
            raise ValueError("not to my taste")


async def asks(conn: PooledConnection) -> None:
    await conn.session.send_audio(b"\0\0", end=True)


async def dawdles(conn: PooledConnection) -> None:
    await asyncio.sleep(1000.0)
