"""What an avatar sends into a LiveKit room (the extra ``livekit``)."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from typing import Protocol

from livekit import rtc

from avatarpool.integrations.messages import MESSAGE_TYPE
from avatarpool.untrusted import words

log = logging.getLogger("avatarpool.livekit")

SAMPLE_RATE = 24000
"""Of the voice in a room, mono: LiveKit resamples what a text-to-speech gives."""

_QUEUE_MS = 1000  # that the source holds at most: more than is ever given to it ahead
_MOST_WAITING = 250  # messages that wait to be sent: over ten seconds of a face
_PATIENCE = 2.0  # seconds until a room has taken its tracks back


class Publisher(Protocol):
    """Brings voice, pictures and messages to whoever is to hear and see them."""

    @property
    def queued(self) -> float:
        """Seconds of the voice that was given and is yet to be heard."""

    async def start(self) -> None:
        """Wait until somebody can hear."""

    async def play(self, frame: rtc.AudioFrame) -> None:
        """Play a piece of the voice behind those before; returns before it is heard."""

    def show(self, picture: rtc.VideoFrame) -> None:
        """Show a picture at once."""

    def send(self, message: str) -> None:
        """Send a message; must not wait."""

    def clear(self) -> None:
        """Drop at once what was given and is yet to be heard, and messages that wait."""

    async def aclose(self) -> None:
        """Leave nothing in the room; may be called before `start` has returned."""


class RoomPublisher:
    """Publishes as the participant that a room was joined as: the agent itself.

    The voice is a microphone's track, pictures are a camera's. Messages are text streams
    of the topic ``avatarpool.frames``.

    Args:
        room: Need not be connected yet.
        picture_size: Width and height of the pictures, if there are any.
    """

    def __init__(self, room: rtc.Room, picture_size: tuple[int, int] | None = None) -> None:
        self._room = room
        self._voice = rtc.AudioSource(SAMPLE_RATE, 1, queue_size_ms=_QUEUE_MS)
        self._pictures = rtc.VideoSource(*picture_size) if picture_size else None
        self._clears = 0
        self._outbox: deque[str] = deque(maxlen=_MOST_WAITING)
        self._has_mail = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None
        self._published: list[str] = []  # tracks, by their ids
        self._is_closed = False
        self._is_losing = False  # whether messages are lost, of which is told once

    @property
    def queued(self) -> float:
        """As of a `Publisher`."""
        return float(self._voice.queued_duration)

    async def start(self) -> None:
        """Wait for the room, publish the tracks, and wait until somebody listens."""
        await self._connected()
        self._sending = asyncio.create_task(self._send())
        if self._pictures is not None:
            picture = rtc.LocalVideoTrack.create_video_track("avatarpool_face", self._pictures)
            await self._publish(picture, rtc.TrackSource.SOURCE_CAMERA)
        voice = rtc.LocalAudioTrack.create_audio_track("avatarpool_voice", self._voice)
        publication = await self._publish(voice, rtc.TrackSource.SOURCE_MICROPHONE)
        await publication.wait_for_subscription()

    async def play(self, frame: rtc.AudioFrame) -> None:
        """As of a `Publisher`."""
        clears = self._clears
        await self._voice.capture_frame(frame)
        if clears != self._clears:  # it may have come in behind what was cleared
            self._voice.clear_queue()

    def show(self, picture: rtc.VideoFrame) -> None:
        """As of a `Publisher`."""
        if self._pictures is not None:
            self._pictures.capture_frame(picture)

    def send(self, message: str) -> None:
        """As of a `Publisher`; where the room takes none for long, the oldest are lost."""
        if len(self._outbox) == _MOST_WAITING:
            self._lose("the room is too slow")
        self._outbox.append(message)
        self._has_mail.set()

    def clear(self) -> None:
        """As of a `Publisher`."""
        self._clears += 1
        self._voice.clear_queue()
        self._outbox.clear()

    async def aclose(self) -> None:
        """As of a `Publisher`."""
        if self._is_closed:
            return
        self._is_closed = True
        self.clear()
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait([self._sending])
        if self._room.isconnected():
            # A room that goes away takes its tracks along.
            with suppress(Exception):
                async with asyncio.timeout(_PATIENCE):
                    for track in self._published:
                        await self._room.local_participant.unpublish_track(track)
        await self._voice.aclose()
        if self._pictures is not None:
            await self._pictures.aclose()

    async def _connected(self) -> None:
        changed = asyncio.Event()

        def note(_: object) -> None:
            changed.set()

        self._room.on("connection_state_changed", note)
        try:
            while not self._room.isconnected():
                changed.clear()
                await changed.wait()
        finally:
            self._room.off("connection_state_changed", note)

    async def _publish(
        self, track: rtc.LocalTrack, source: rtc.TrackSource.ValueType
    ) -> rtc.LocalTrackPublication:
        publication = await self._room.local_participant.publish_track(
            track, rtc.TrackPublishOptions(source=source)
        )
        self._published.append(publication.sid)
        return publication

    def _lose(self, why: str) -> None:
        if not self._is_losing:
            log.warning("a face's messages are lost: %s", why)
        self._is_losing = True

    async def _send(self) -> None:
        while True:
            await self._has_mail.wait()
            self._has_mail.clear()
            while self._outbox:
                try:
                    await self._room.local_participant.send_text(
                        self._outbox.popleft(), topic=MESSAGE_TYPE
                    )
                except Exception as error:  # noqa: BLE001  # whatever it is, the next may go
                    self._lose(words(error))
                else:
                    self._is_losing &= bool(self._outbox)
