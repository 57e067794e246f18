"""A face for a LiveKit agent (the extra ``livekit``): an avatar session over a pool."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Literal, cast

try:
    from livekit import rtc
    from livekit.agents import AgentSession
    from livekit.agents.voice import avatar
except ImportError as error:
    raise ImportError(
        "livekit-agents is not installed: install avatarpool's extra 'livekit'"
    ) from error

from avatarpool.blendshapes import Basis
from avatarpool.exceptions import SessionStateError
from avatarpool.integrations.film import HEIGHT, WIDTH, Film
from avatarpool.integrations.livekit_face import SpokenFace
from avatarpool.integrations.livekit_room import SAMPLE_RATE, Publisher, RoomPublisher
from avatarpool.integrations.livekit_voice import VoiceOutput
from avatarpool.integrations.messages import MESSAGE_TYPE, Output, message_writer
from avatarpool.integrations.speech import Sessions, Speech
from avatarpool.integrations.turn import FaceLost, Finished
from avatarpool.protocol.settings import DEFAULT_SAMPLE_RATE

log = logging.getLogger("avatarpool.livekit")

__all__ = [
    "MESSAGE_TYPE",
    "SAMPLE_RATE",
    "AvatarSession",
    "Publisher",
    "RoomPublisher",
    "VoiceOutput",
]


class AvatarSession(avatar.AvatarSession[Literal["face_lost", "turn_finished"]]):
    """Gives what an agent says a face, in step with its voice.

    Start it before the agent's session, as LiveKit's own avatars::

        face = AvatarSession(pool)
        await face.start(session, room=ctx.room)
        await session.start(agent, room=ctx.room)

    The agent itself publishes its voice, and the face as text streams of the topic
    ``avatarpool.frames``: nobody else joins the room. Each stream is one message, JSON::

        {"type": "avatarpool.frames", "context_id": ..., "req_id": ..., "start_ms": 0,
         "fps": 25, "frames": [...]}

    ``context_id`` names a segment of the agent's voice, and ``start_ms`` counts its audio.
    A session is borrowed at the first audio of each segment, and returned with its last
    frame. Where there is none, or it dies, the voice goes on alone.

    The event ``face_lost`` comes with a `FaceLost` where a segment goes on without a face,
    ``turn_finished`` with one `Finished` per segment: how much of it was heard, and whether
    it was interrupted. All calls are made in one event loop.

    Args:
        sessions: A pool or a group, which its owner opens and closes.
        output: What ``frames`` are: ``message``, ``flame``, ``arkit`` or ``visemes``, as of
            `message_writer`.
        preview: Whether the room sees the face of ``avatarpool view`` as the agent's camera.
            It takes a process of its own, which uses up to one core.
        avatar_id: The avatar to ask a group for; a pool's sessions have theirs.
        basis: Whose expression coefficients they are, for ``arkit`` and ``visemes``.
        sample_rate: What to ask a group for; a pool's sessions have theirs. The voice is
            resampled for the face.
        face_wait: Seconds for which the voice of a segment waits for its face, at most, and
            again after a gap. Then it goes alone, and keyframes that are late are skipped.
        timeout: Seconds for which a segment waits for a session.
        publish: Makes what brings voice and face to whoever hears and sees them, of the room
            and the size of pictures.

    Raises:
        ConfigurationError: The arguments do not go together.
    """

    def __init__(
        self,
        sessions: Sessions,
        *,
        output: Output = "message",
        preview: bool = False,
        avatar_id: str | None = None,
        basis: Basis | None = None,
        sample_rate: int = DEFAULT_SAMPLE_RATE,
        face_wait: float = 0.3,
        timeout: float = 5.0,
        publish: Callable[[rtc.Room, tuple[int, int] | None], Publisher] = RoomPublisher,
    ) -> None:
        super().__init__()
        self._room: rtc.Room | None
        self._message_of = message_writer(output, basis)
        self._speech = Speech(
            sessions,
            avatar_id=avatar_id,
            sample_rate=sample_rate,
            face_wait=face_wait,
            timeout=timeout,
        )
        self._publish = publish
        self._has_preview = preview
        self._running: _Running | None = None

    def __repr__(self) -> str:
        return f"<AvatarSession {self._speech!r}>"

    @property
    def avatar_identity(self) -> str:
        """The agent's own, as nobody else joins; empty until its room is connected."""
        if self._room is None or not self._room.isconnected():
            return ""
        return cast("str", self._room.local_participant.identity)

    @property
    def provider(self) -> str:
        """Who makes the face."""
        return "avatarpool"

    async def start(self, agent_session: AgentSession, room: rtc.Room) -> None:
        """Take over the voice of an agent's session, which need not be started.

        The room need not be connected: then the voice waits for that, and for somebody who
        listens.

        Raises:
            SessionStateError: It was started before.
        """
        if self._running is not None:
            raise SessionStateError("an avatar session is started once: make another one")
        await super().start(agent_session, room)
        size = (WIDTH, HEIGHT) if self._has_preview else None
        self._running = _Running(
            self._speech,
            self._message_of,
            self._publish(room, size),
            Film() if self._has_preview else None,
            self._tell,
        )
        agent_session.output.replace_audio_tail(self._running.voice)

    async def aclose(self) -> None:
        """End all segments, and return what is borrowed; no participant is removed."""
        try:
            if self._running is not None:
                await self._running.aclose()
        finally:
            if self._room is not None:
                self._room.off("connection_state_changed", self._on_connection_state_changed)
                self._room = None  # with it, the inherited method would remove the agent
            await super().aclose()

    async def _wait_avatar_join(self) -> None:
        """Wait for the pictures; without any there is nothing to wait for."""
        if self._has_preview:
            await super()._wait_avatar_join()

    def _tell(self, item: FaceLost | Finished) -> None:
        match item:
            case FaceLost(error=error):
                log.warning("segment %s goes on without a face: %s", item.turn, error)
                self.emit("face_lost", item)
            case Finished():
                log.debug("%r", item)
                self.emit("turn_finished", item)


class _Running:
    """What a started session does: it hears the agent, and plays and shows what comes of it."""

    def __init__(
        self,
        speech: Speech,
        message_of: Callable[..., dict[str, object] | None],
        publisher: Publisher,
        film: Film | None,
        tell: Callable[[FaceLost | Finished], None],
    ) -> None:
        self.voice = VoiceOutput(self._was_unheard)
        self._publisher = publisher
        self._tell = tell
        self._face = SpokenFace(
            speech,
            message_of=message_of,
            send=publisher.send,
            told=self._told,
            film=film,
        )
        self._is_silent = True  # whether the segment that goes out was not heard yet
        self.voice.on("clear_buffer", self._clear)
        self._tasks = [asyncio.create_task(self._run(work)) for work in (self._hear, self._play)]

    async def aclose(self) -> None:
        self.voice.close()
        self.voice.off("clear_buffer", self._clear)
        for task in self._tasks:
            task.cancel()
        try:
            await asyncio.wait(self._tasks)
            await self._face.aclose()
        finally:
            await self._publisher.aclose()

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception:
            log.exception("an agent's voice is not played any more")
            self.voice.close()

    async def _hear(self) -> None:
        async for frame in self.voice:
            await self._face.push_audio(frame)

    async def _play(self) -> None:
        await self._publisher.start()
        async with aclosing(aiter(self._face)) as items:
            async for item in items:
                match item:
                    case rtc.AudioFrame():
                        if self._is_silent:
                            self._is_silent = False
                            _heed(self.voice.notify_playback_started)
                        await self._publisher.play(item)
                        self._face.heard(self._publisher.queued)
                    case rtc.VideoFrame():
                        self._publisher.show(item)
                    case avatar.AudioSegmentEnd():
                        self._is_silent = True

    def _clear(self) -> None:
        self._publisher.clear()
        self._is_silent = True
        self._face.clear_buffer()

    def _was_unheard(self) -> None:
        _heed(self._tell, Finished(None, 0, is_interrupted=True, error=None))

    def _told(self, item: FaceLost | Finished) -> None:
        if isinstance(item, Finished):
            position = item.played_ms / 1000
            _heed(self.voice.notify_playback_finished, position, item.is_interrupted)
        _heed(self._tell, item)


def _heed(tell: Callable[..., None], *what: object) -> None:
    """Tell listeners something; LiveKit lets through some of what they raise."""
    try:
        tell(*what)
    except Exception:
        log.exception("a listener of an agent's voice failed")
