"""One client as a judge: how it is used on a service, and the facts it gives."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import importlib
import importlib.resources
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from types import ModuleType
from typing import Any

from gateway_service import GatewayService
from javascript_client import JavaScriptClient
from picows_service import PicowsService

from avatarpool.audio import read_audio
from avatarpool.protocol.codec import decode
from avatarpool.protocol.messages import AnimationFrame
from avatarpool.service import LocalAvatarService

Facts = dict[str, Any]
Service = LocalAvatarService | PicowsService | GatewayService

SHELLS = {"aiohttp": LocalAvatarService, "picows": PicowsService, "gateway": GatewayService}

DEADLINE = 20.0  # for each thing that is waited for; nothing should come near it
SPEECH_WAV = importlib.resources.files("avatarpool") / "assets" / "speech.wav"
SECONDS = 1.2  # of the clip: enough for the mouth to move

CASES: dict[str, Callable[[Judge], Awaitable[Facts]]] = {}


def case(run: Callable[[Judge], Awaitable[Facts]]) -> Callable[[Judge], Awaitable[Facts]]:
    """Register a case under its function's name."""
    CASES[run.__name__] = run
    return run


class NotExpressible(Exception):
    """The client has no way to do what the case asks."""


@functools.cache
def speech(sample_rate: int = 16000) -> bytes:
    """The clip's first seconds as PCM."""
    return read_audio(SPEECH_WAV, sample_rate=sample_rate)[: int(SECONDS * sample_rate) * 2]


def seen(error: BaseException) -> Facts:
    """The facts that a client's error object carries."""
    facts: Facts = {"type": type(error).__name__}
    for name in (
        "code",
        "phase",
        "http_status",
        "server_code",
        "server_title",
        "server_detail",
        "raw_body",
        "close_code",
        "close_reason",
    ):
        value = getattr(error, name, None) or None  # one of them has "" for no reason
        facts[name] = value.value if name == "code" and value else value
    facts["names_connection"] = bool(getattr(error, "connection_id", None))
    facts["names_request"] = bool(getattr(error, "req_id", None))
    return facts


class Talk:
    """One session of a client and all that its callbacks brought."""

    def __init__(self) -> None:
        self.session: Any = None  # the client's own object
        self.frames: list[tuple[AnimationFrame, bool]] = []
        self.errors: list[BaseException] = []
        self.closes = 0
        self._changed = asyncio.Event()

    def transport_frames(self, data: bytes, is_last: bool) -> None:
        message = decode(data)
        assert isinstance(message, AnimationFrame)
        self.frames.append((message, is_last))
        self._changed.set()

    def on_error(self, error: Exception) -> None:
        self.errors.append(error)
        self._changed.set()

    def on_close(self) -> None:
        self.closes += 1
        self._changed.set()

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not is_so():
                self._changed.clear()
                await self._changed.wait()

    async def open(self) -> str:
        await self.session.init()
        connection_id: str = await self.session.start()
        return connection_id

    async def ask(self, audio: bytes, piece_bytes: int = 0) -> Facts:
        """Make one request, in pieces if asked, and tell what came back."""
        size = piece_bytes or len(audio)
        for at in range(0, len(audio), size):
            req_id = await self.session.send_audio(
                audio[at : at + size], end=at + size >= len(audio)
            )
        return await self.answer(req_id)

    async def answer(self, req_id: str) -> Facts:
        await self.until(lambda: bool(self.errors) or self._is_over(req_id))
        if self.errors:
            raise self.errors[0]
        frames = [(frame, last) for frame, last in self.frames if frame.req_id == req_id]
        keyframes = [keyframe for frame, _ in frames for keyframe in frame.keyframes]
        jaws = [keyframe.jaw_pose[0] for keyframe in keyframes]
        return {
            "keyframes": len(keyframes),
            "digest": hashlib.sha256(repr(keyframes).encode()).hexdigest(),
            "jaw_opens": max(jaws, default=0.0) - min(jaws, default=0.0),
            "ends": [last for _, last in frames].count(True),
            "end_is_last": bool(frames) and frames[-1][1],
            "flags_agree": all(frame.end == last for frame, last in frames),
            "names_avatar_and_connection": all(
                bool(frame.avatar_id and frame.connection_id) for frame, _ in frames
            ),
        }

    def _is_over(self, req_id: str) -> bool:
        return any(frame.req_id == req_id and last for frame, last in self.frames)


class Judge:
    """A client, what it judges, and how to use it on that."""

    def __init__(self, name: str, shell: str) -> None:
        self.new_service = SHELLS[shell]
        self.name, _, directory = name.partition("=")
        self.module: ModuleType | JavaScriptClient
        if self.is_javascript:
            self.module = JavaScriptClient(directory)
        else:
            self.module = importlib.import_module(name)
        if name == "spatius":
            self.module.configure_telemetry("")

    async def close(self) -> None:
        if isinstance(self.module, JavaScriptClient):
            await self.module.close()

    @property
    def is_ours(self) -> bool:
        return self.name == "avatarpool"

    @property
    def is_javascript(self) -> bool:
        return self.name == "javascript"

    @asynccontextmanager
    async def talk(self, service: Service, **options: Any) -> AsyncIterator[Talk]:
        """A session that is not open yet; closed in the end."""
        talk = Talk()
        access = service.config_factory()
        keywords = {
            "avatar_id": access.avatar_id,
            "api_key": access.api_key,
            "app_id": access.app_id,
            "console_endpoint_url": access.console_endpoint_url,
            "ingress_endpoint_url": access.ingress_endpoint_url,
            "expire_at": in_(timedelta(minutes=5)),
            "transport_frames": talk.transport_frames,
            "on_error": talk.on_error,
            "on_close": talk.on_close,
        }
        talk.session = self.module.new_avatar_session(**(keywords | options))
        try:
            yield talk
        finally:
            await talk.session.close()

    async def refusal(self, service: Service, **options: Any) -> Facts:
        """What the client raises when it opens a session like this."""
        if isinstance(service, GatewayService):
            await service.learn_refusals(options.get("avatar_id"))
        try:
            async with self.talk(service, **options) as talk:
                await talk.open()
        except Exception as error:  # noqa: BLE001
            return seen(error)
        return {"opened": True}

    async def started(self, talk: Talk) -> Facts:
        """What the client raises when it starts with the token that it has."""
        try:
            await talk.session.start()
        except Exception as error:  # noqa: BLE001
            return seen(error)
        return {"opened": True}

    def take_token(self, session: Any) -> str:
        """The token that ``init()`` left in the session, for use in another one."""
        token: str = getattr(session, self._token_name)
        return token

    def give_token(self, session: Any, token: str) -> None:
        setattr(session, self._token_name, token)

    @property
    def _token_name(self) -> str:
        return "_token" if self.is_ours else "_session_token"


def in_(span: timedelta) -> datetime:
    return datetime.now(timezone.utc) + span
