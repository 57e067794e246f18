"""What a bot's text-to-speech says, and a transport that plays it and notes when."""

import asyncio
import json

from pipecat.frames.frames import (
    InterruptionFrame,
    OutputTransportMessageFrame,
    StartFrame,
    TextFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.tests.utils import run_test
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams

from avatarpool.integrations.pipecat import AvatarService

PATIENCE = 30.0


def audio(ms, rate=16000, mark=1):
    return bytes([mark, 0]) * (ms * rate // 1000)


def said(context, pieces, rate=16000, channels=1):
    """What a text-to-speech pushes for one context."""
    return [
        TTSStartedFrame(context_id=context),
        *(TTSAudioRawFrame(piece, rate, channels, context_id=context) for piece in pieces),
        TTSStoppedFrame(context_id=context),
    ]


class Face(AvatarService):
    """An avatar service that notes how its contexts end."""

    def __init__(self, sessions, **options):
        super().__init__(sessions, **{"face_wait": PATIENCE, "timeout": PATIENCE, **options})
        self.ends = []

        @self.event_handler("on_turn_finished")
        async def note(_, end):
            self.ends.append(end)


class Transport(BaseOutputTransport):
    """Plays audio at the pace of speech, and notes what was heard before each message."""

    def __init__(self, rate=16000, **options):
        params = TransportParams(
            audio_out_enabled=True,
            audio_out_sample_rate=rate,
            audio_out_end_silence_secs=0,
            **options,
        )
        super().__init__(params)
        self.heard = bytearray()
        self.messages = []  # and how many ms were heard before
        self.is_playing = asyncio.Event()

    @property
    def heard_ms(self):
        return len(self.heard) / 2 / self.sample_rate * 1000

    async def start(self, frame: StartFrame):
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame):
        self.heard += frame.audio
        self.is_playing.set()
        await asyncio.sleep(frame.num_frames / frame.sample_rate)
        return True

    async def send_message(self, frame):
        json.dumps(frame.message, allow_nan=False)
        self.messages.append((self.heard_ms, frame.message))


class User(FrameProcessor):
    """Interrupts the bot where its frames say so, once something has happened."""

    def __init__(self, when):
        super().__init__()
        self._when = when

    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        if isinstance(frame, TextFrame) and frame.text == "interrupt":
            await self._when()
            await self.push_frame(InterruptionFrame())
        else:
            await self.push_frame(frame, direction)


class Ear(FrameProcessor):
    """Hears when audio first comes by."""

    def __init__(self):
        super().__init__()
        self.has_heard = asyncio.Event()

    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            self.has_heard.set()


async def run(processor, frames, **options):
    """Have frames pass through; return what came down and what came up."""
    async with asyncio.timeout(3 * PATIENCE):
        return await run_test(processor, frames_to_send=frames, start_timeout=PATIENCE, **options)


def messages_in(frames):
    return [each.message for each in frames if isinstance(each, OutputTransportMessageFrame)]


def of(kind, frames):
    return [each for each in frames if isinstance(each, kind)]
