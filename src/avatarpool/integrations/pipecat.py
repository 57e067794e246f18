"""A face for a Pipecat bot (the extra ``pipecat``): a service behind its text-to-speech."""

from __future__ import annotations

import asyncio
import logging
import uuid
from dataclasses import replace

try:
    from pipecat.frames.frames import (
        CancelFrame,
        EndFrame,
        Frame,
        InterruptionFrame,
        OutputTransportMessageFrame,
        StartFrame,
        SystemFrame,
        TTSAudioRawFrame,
        TTSStartedFrame,
        TTSStoppedFrame,
    )
    from pipecat.processors.frame_processor import FrameDirection
    from pipecat.services.ai_service import AIService
    from pipecat.services.settings import ServiceSettings
    from pipecat.utils.errors import ErrorCategory
except ImportError as error:
    raise ImportError(
        "pipecat-ai is not installed: install avatarpool's extra 'pipecat'"
    ) from error

from avatarpool.blendshapes import Basis
from avatarpool.exceptions import AudioError, PoolTimeout, TooManyRequests
from avatarpool.integrations.messages import MESSAGE_TYPE, Output, message_writer
from avatarpool.integrations.speech import Sessions, Speech
from avatarpool.integrations.turn import (
    Aside,
    Face,
    FaceLost,
    Finished,
    Item,
    Voice,
    VoiceEnd,
)
from avatarpool.protocol.settings import DEFAULT_SAMPLE_RATE

log = logging.getLogger("avatarpool.pipecat")

__all__ = ["MESSAGE_TYPE", "AvatarService"]


class AvatarService(AIService):
    """Gives what a bot says a face, in step with its voice.

    It stands behind the text-to-speech and before the transport::

        Pipeline([..., tts, AvatarService(pool), transport.output(), ...])

    Audio passes through as it is and in order; before the audio whose face they are, it puts
    `OutputTransportMessageFrame`s, which transports keep in line with audio and drop with it
    at an interruption. Their message is JSON::

        {"type": "avatarpool.frames", "context_id": ..., "req_id": ..., "start_ms": 0,
         "fps": 25, "frames": [...]}

    ``start_ms`` counts the audio of the context, ``TTSStartedFrame`` being 0. A session is
    borrowed at the first audio of each context, and returned with its last frame. Where there
    is none, or it dies, the voice goes on alone, and an `ErrorFrame` that stops no pipeline
    says why. Its time to the first byte is from a context's first audio to its first frame.

    The event ``on_turn_finished`` comes with one `Finished` per context: how much of it was
    heard, reckoned by the clock, and whether it was interrupted.

    Args:
        sessions: A pool or a group, which its owner opens and closes.
        output: What ``frames`` are. ``message``: the service's serialised messages in base64,
            for the vendors' clients; ``flame``: an object for each keyframe, its values by
            their names in `Keyframe`; ``arkit`` and ``visemes``: weights by name, as of
            `avatarpool.blendshapes`.
        avatar_id: The avatar to ask a group for; a pool's sessions have theirs.
        basis: Whose expression coefficients they are, for ``arkit`` and ``visemes``.
        sample_rate: What to ask a group for; a pool's sessions have theirs. Audio of other
            rates is resampled for the face.
        face_wait: Seconds for which the voice of a context waits for its face, at most, and
            again after a gap. Then it goes alone, and keyframes that are late are skipped.
        timeout: Seconds for which a context waits for a session.
        **options: What `AIService` takes, ``name`` for one.

    Raises:
        ConfigurationError: The arguments do not go together.
    """

    def __init__(
        self,
        sessions: Sessions,
        *,
        output: Output = "message",
        avatar_id: str | None = None,
        basis: Basis | None = None,
        sample_rate: int = DEFAULT_SAMPLE_RATE,
        face_wait: float = 0.3,
        timeout: float = 5.0,
        **options: object,
    ) -> None:
        self._message_of = message_writer(output, basis)
        self._speech = Speech(
            sessions,
            avatar_id=avatar_id,
            sample_rate=sample_rate,
            face_wait=face_wait,
            timeout=timeout,
        )
        super().__init__(settings=ServiceSettings(model=None), **options)
        self._outlet: asyncio.Task[None] | None = None
        # Held from taking something to having pushed it: nothing old follows an interruption.
        self._pushing = asyncio.Lock()
        self._context: str | None = None  # that is open, if it has an id
        self._is_new = False  # whether the open context had no audio yet
        self._is_told = False  # whether it was told that some of its audio is none
        self._is_timed = False  # whether its first frame is waited for
        self._register_event_handler("on_turn_finished")

    def can_generate_metrics(self) -> bool:
        """Whether it measures anything: the time to a context's first frame."""
        return True

    async def start(self, frame: StartFrame) -> None:
        """Begin to push what goes out."""
        await super().start(frame)
        self._outlet = self.create_task(self._push_what_goes_out())

    async def stop(self, frame: EndFrame) -> None:
        """Let all that was said be heard first."""
        await super().stop(frame)
        if self._speech.is_open:
            self._speech.end()
        if self._outlet is not None:
            await self._speech.idle()
            async with self._pushing:
                pass

    async def cancel(self, frame: CancelFrame) -> None:
        """Stop at once."""
        await super().cancel(frame)
        await self._close()

    async def cleanup(self) -> None:
        """Return what is borrowed."""
        await self._close()
        await super().cleanup()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Take what comes; what has its place behind audio that waits, waits with it."""
        if isinstance(frame, InterruptionFrame):
            self._speech.interrupt()  # before anything else is awaited
            await self._forget_time()  # or the interruption would end it
        await super().process_frame(frame, direction)
        if isinstance(frame, InterruptionFrame):
            self._speech.interrupt()  # what was under way to here
            async with self._pushing:
                await self.push_frame(frame, direction)
        elif direction is FrameDirection.UPSTREAM or isinstance(frame, SystemFrame | EndFrame):
            await self.push_frame(frame, direction)
        elif isinstance(frame, TTSAudioRawFrame):
            await self._hear(frame)
        elif isinstance(frame, TTSStoppedFrame) and self._is_end_of_open(frame):
            self._speech.end(origin=frame)
        else:
            self._speech.aside(frame, is_protected=not frame.interruptible)
            if isinstance(frame, TTSStartedFrame):
                self._context = frame.context_id
                # Some services' have no id: clients tell turns apart all the same.
                name = frame.context_id or str(uuid.uuid4())
                self._speech.begin(name, is_protected=not frame.interruptible)
                self._is_new, self._is_told = True, False

    def _is_end_of_open(self, frame: TTSStoppedFrame) -> bool:
        """Whether it ends the context that is open: some services stop one that is over again."""
        ids = {frame.context_id, self._context} - {None}
        return self._speech.is_open and len(ids) <= 1

    async def _hear(self, frame: TTSAudioRawFrame) -> None:
        """Take audio of the context that is open; what is of none has no face."""
        if self._speech.is_open and frame.audio:
            try:
                self._speech.push(frame.audio, frame.sample_rate, frame.num_channels, origin=frame)
            except AudioError as error:
                if not self._is_told:  # once: all of its pieces may be like this one
                    self._is_told = True
                    await self._say(f"some of the voice has no face: {error}", error)
            else:
                if self._is_new:
                    self._is_new, self._is_timed = False, True
                    await self.start_ttfb_metrics()
                return
        self._speech.aside(frame, is_protected=not frame.interruptible)

    # --- what goes out --------------------------------------------------------------------

    async def _push_what_goes_out(self) -> None:
        while True:
            await self._speech.ready()
            await self._push_next()

    async def _push_next(self) -> bool:
        async with self._pushing:
            items = self._speech.take()
            for item in items:
                await self._push(item, items[-1])
        return bool(items)

    async def _push(self, item: Item, last: Item) -> None:
        """Push an item of those that go together."""
        match item:
            case Face():
                await self._stop_time()
                await self._push_face(item, last)
            case Voice(origin=TTSAudioRawFrame() as frame):
                await self.push_frame(frame if item.is_whole else _part(frame, item.audio))
            case VoiceEnd(origin=Frame() as frame) | Aside(payload=Frame() as frame):
                await self.push_frame(frame)
            case FaceLost(error=error):
                await self._forget_time()
                log.warning("context %s goes on without a face: %s", item.turn, error)
                await self._say(f"the voice goes on without a face: {error}", error)
            case Finished():
                log.debug("%r", item)
                await self._call_event_handler("on_turn_finished", item)

    async def _push_face(self, face: Face, last: Item) -> None:
        try:
            written = self._message_of(face)
        except Exception as error:  # noqa: BLE001  # the voice goes on, whatever it is
            await self._say(f"a part of the face cannot be written: {error}", error)
            return
        if written is None:
            return
        message = OutputTransportMessageFrame(message=written)
        if isinstance(last, Voice | VoiceEnd) and isinstance(last.origin, Frame):
            message.transport_destination = last.origin.transport_destination
            message.interruptible = last.origin.interruptible
        await self.push_frame(message)

    async def _say(self, sentence: str, error: Exception) -> None:
        """Push an error of one context: the next may be as well as ever."""
        is_full = isinstance(error, PoolTimeout | TooManyRequests)
        # Its category is given: one that pipelines take for permanent could stop them.
        category = ErrorCategory.RATE_LIMIT if is_full else ErrorCategory.CONNECTIVITY
        await self.push_error(sentence, exception=error, category=category)

    async def _stop_time(self) -> None:
        if self._is_timed:
            self._is_timed = False
            await self.stop_ttfb_metrics()

    async def _forget_time(self) -> None:
        if self._is_timed:
            self._is_timed = False
            await self.cancel_ttfb_metrics()

    async def _close(self) -> None:
        await self._speech.aclose()
        while await self._push_next():  # the ends
            pass
        if self._outlet is not None:
            outlet, self._outlet = self._outlet, None
            await self.cancel_task(outlet)


def _part(frame: TTSAudioRawFrame, audio: bytes) -> TTSAudioRawFrame:
    """Return a frame with a part of another one's audio."""
    part = replace(frame, audio=audio)
    part.pts = frame.pts
    part.metadata = frame.metadata
    part.transport_source = frame.transport_source
    part.transport_destination = frame.transport_destination
    part.interruptible = frame.interruptible
    return part
