"""Voice in, voice and its face out, as LiveKit's contract for that is (the extra ``livekit``)."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import TypeAlias

from livekit import rtc
from livekit.agents.utils import shortuuid
from livekit.agents.voice.avatar import AudioSegmentEnd, VideoGenerator

from avatarpool.audio.raw import check_raw
from avatarpool.audio.samples import to_mono
from avatarpool.exceptions import AudioError
from avatarpool.integrations.film import HEIGHT, WIDTH, Film
from avatarpool.integrations.speech import Speech
from avatarpool.integrations.turn import Face, FaceLost, Finished, Item, Voice, VoiceEnd
from avatarpool.protocol.frames import keyframes_of

log = logging.getLogger("avatarpool.livekit")

_LEAD = 0.1  # seconds of voice that are given ahead of what is heard; a piece may come to that
_PIECE_SECONDS = 0.08  # of voice that goes out at once: two keyframes

Out: TypeAlias = rtc.VideoFrame | rtc.AudioFrame | AudioSegmentEnd


class SpokenFace(VideoGenerator):
    """Gives an agent's voice back as it is, at the pace of speech, with its face in step.

    Messages go before the piece of the voice in which their keyframes end. Pictures, if there
    are any, come when they are to be seen, while nobody speaks as well.

    Args:
        speech: Has the faces made.
        message_of: Makes messages of them.
        send: Takes each message, as JSON; must not wait.
        told: Learns how a segment's face is lost, and, once a segment, how it ended.
        film: Paints pictures; without one there are none.
    """

    def __init__(
        self,
        speech: Speech,
        *,
        message_of: Callable[[Face], dict[str, object] | None],
        send: Callable[[str], object],
        told: Callable[[FaceLost | Finished], object],
        film: Film | None = None,
    ) -> None:
        self._speech = speech
        self._message_of = message_of
        self._send = send
        self._told = told
        self._film = film
        self._heard_until = 0.0  # what was given; of the loop's clock
        self._given_ms = 0.0  # of the segment that goes out

    async def push_audio(self, frame: rtc.AudioFrame | AudioSegmentEnd) -> None:
        """Take a piece of a segment's voice, or its end; nothing waits here."""
        if isinstance(frame, AudioSegmentEnd):
            if self._speech.is_open:
                self._speech.end()
            return
        if not self._speech.is_open:
            self._speech.begin(shortuuid("SG_"))
        try:
            for piece in _pieces(frame):
                self._speech.push(piece, frame.sample_rate)
        except AudioError as error:
            log.warning("a piece of an agent's voice is left out: %s", error)

    def heard(self, ahead: float) -> None:
        """Say how many seconds of the voice that was given are yet to be heard."""
        self._heard_until = self._now() + ahead
        self._speech.heard(ahead)

    def clear_buffer(self) -> None:
        """Cut off all segments at once; their ends are told before this returns."""
        self._speech.interrupt(everything=True)
        while items := self._speech.take():
            for item in items:
                self._give(item)
        self._heard_until = self._now()
        self._given_ms = 0.0
        if self._film is not None:
            self._film.timeline.clear()

    async def __aiter__(self) -> AsyncGenerator[Out]:
        """Give voice, pictures and segments' ends, each when its time has come."""
        voice: asyncio.Task[None] | None = None
        picture: asyncio.Task[rtc.VideoFrame] | None = None
        try:
            while True:
                voice = voice or asyncio.create_task(self._until_voice())
                if self._film is not None and picture is None:
                    picture = asyncio.create_task(_next_picture(self._film))
                coming = [each for each in (voice, picture) if each is not None]
                await asyncio.wait(coming, return_when=asyncio.FIRST_COMPLETED)
                if picture is not None and picture.done():
                    done, picture = picture, None
                    yield done.result()
                if voice.done():
                    voice.result()
                    voice = None
                    # Taken here and not in a task: what is taken goes out before an
                    # interruption, or is dropped by it.
                    for item in self._speech.take():
                        out = self._give(item)
                        if out is not None:
                            yield out
        finally:
            coming = [each for each in (voice, picture) if each is not None]
            for each in coming:
                each.cancel()
            await asyncio.gather(*coming, return_exceptions=True)

    async def aclose(self) -> None:
        """Return what is borrowed, and end what paints."""
        try:
            await self._speech.aclose()
        finally:
            if self._film is not None:
                await self._film.aclose()

    async def _until_voice(self) -> None:
        await asyncio.sleep(max(0.0, self._heard_until - self._now() - _LEAD))
        await self._speech.ready()

    def _give(self, item: Item) -> Out | None:
        """Let an item have its effect; return what of it goes out."""
        match item:
            case Face():
                self._show(item)
            case Voice():
                self._given_ms += item.duration_ms
                begins = max(self._heard_until, self._now())
                self._heard_until = begins + item.duration_ms / 1000
                samples = len(item.audio) // 2
                return rtc.AudioFrame(item.audio, item.sample_rate, 1, samples)
            case VoiceEnd():
                self._given_ms = 0.0
                return AudioSegmentEnd()
            case FaceLost() | Finished():
                self._told(item)
        return None

    def _show(self, face: Face) -> None:
        try:
            message = self._message_of(face)
            if message is not None:
                self._send(json.dumps(message, allow_nan=False))
        except Exception:  # the voice goes on, whatever it is
            log.exception("a part of the face cannot be sent")
        if self._film is not None:
            begins = max(self._heard_until, self._now())
            at = begins + (face.start_ms - self._given_ms) / 1000
            self._film.timeline.add(at, keyframes_of(face.frames))

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _pieces(frame: rtc.AudioFrame) -> Iterator[bytes]:
    """Cut a frame into small ones, mixed to one channel.

    Raises:
        AudioError: It can be no audio.
    """
    samples = frame.data[: frame.num_channels * frame.samples_per_channel]  # there may be more
    if not samples:
        return
    check_raw(samples, frame.sample_rate, frame.num_channels)
    audio = to_mono(samples.cast("B"), "<i2", frame.num_channels).astype("<i2").tobytes()
    size = 2 * max(1, int(_PIECE_SECONDS * frame.sample_rate))
    for at in range(0, len(audio), size):
        yield audio[at : at + size]


async def _next_picture(film: Film) -> rtc.VideoFrame:
    picture = await film.next()
    pixels = picture.convert("RGBA").tobytes()
    return rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.RGBA, pixels)
