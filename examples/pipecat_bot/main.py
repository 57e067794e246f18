"""A Pipecat bot with a face, that needs no network: it says its lines to a sound file.

``python main.py "Hello." "How are you?"``. The README beside it says what comes out.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import wave
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

from loguru import logger
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    ErrorFrame,
    Frame,
    OutputAudioRawFrame,
    OutputTransportMessageFrame,
    OutputTransportMessageUrgentFrame,
    StartFrame,
    TTSSpeakFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.workers.runner import WorkerRunner

from avatarpool import AvatarConnectionPool, AvatarPoolError, ConfigurationError
from avatarpool.blendshapes import LOCAL
from avatarpool.environment import Settings
from avatarpool.integrations.pipecat import MESSAGE_TYPE, AvatarService
from avatarpool.integrations.turn import Finished
from avatarpool.load import load_speech_clip
from avatarpool.service import LocalAvatarService

LINES = ["Hello! I am a bot with a face.", "My lips move with what I say."]
SOUND, FACE = Path("bot.wav"), Path("bot.jsonl")
RATE = 24000  # of what is heard
PIECE_BYTES = 8820  # of speech: 0.2 s
ESPEAK = shutil.which("espeak-ng")


class Espeak(TTSService):
    """Says text with espeak-ng; without it, a sample in place of each text."""

    def __init__(self) -> None:
        settings = TTSSettings(model=None, voice="en", language=None)
        super().__init__(push_start_frame=True, push_stop_frames=True, settings=settings)

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame, None]:
        """Say a text piece by piece."""
        pieces = self._speak(text) if ESPEAK else self._sample()
        async for frame in self._stream_audio_frames_from_iterator(
            pieces,
            strip_wav_header=ESPEAK is not None,
            in_sample_rate=None if ESPEAK else 16000,
            context_id=context_id,
        ):
            yield frame

    async def _speak(self, text: str) -> AsyncIterator[bytes]:
        process = await asyncio.create_subprocess_exec(
            str(ESPEAK),
            *("-v", "en", "--stdin", "--stdout"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(text.encode())
            process.stdin.close()
            yield await process.stdout.readexactly(44)  # a WAV file's header
            while piece := await process.stdout.read(PIECE_BYTES):
                yield piece
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def _sample(self) -> AsyncIterator[bytes]:
        yield load_speech_clip()


class ToFiles(BaseOutputTransport):
    """Plays at the pace of speech, into a sound file, and writes down the face beside it."""

    def __init__(self) -> None:
        super().__init__(TransportParams(audio_out_enabled=True, audio_out_sample_rate=RATE))
        self.messages = 0
        self.worst_drift_ms = 0.0
        self._context: object = None
        self._heard_ms = 0.0
        self._began_ms = 0.0  # the context, in the sound file
        self._files = ExitStack()

    async def start(self, frame: StartFrame) -> None:
        """Open the files."""
        await super().start(frame)
        sound = wave.open(str(SOUND), "wb")  # noqa: SIM115  # as below
        self._sound = self._files.enter_context(sound)
        self._sound.setnchannels(1)
        self._sound.setsampwidth(2)
        self._sound.setframerate(RATE)
        face = FACE.open("w", encoding="utf-8")  # noqa: ASYNC230  # small, and closed below
        self._face = self._files.enter_context(face)
        await self.set_transport_ready(frame)

    async def cleanup(self) -> None:
        """Close them."""
        await super().cleanup()
        self._files.close()

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        """Play a piece of the voice."""
        self._sound.writeframes(frame.audio)
        seconds = frame.num_frames / frame.sample_rate
        self._heard_ms += 1000 * seconds
        await asyncio.sleep(seconds)
        return True

    async def send_message(
        self, frame: OutputTransportMessageFrame | OutputTransportMessageUrgentFrame
    ) -> None:
        """Write down a piece of the face, and when it is to be shown in the sound file."""
        message = frame.message
        if message["type"] != MESSAGE_TYPE:
            return
        if message["context_id"] != self._context:
            self._context, self._began_ms = message["context_id"], self._heard_ms
        drift_ms = self._began_ms + message["start_ms"] - self._heard_ms
        self.worst_drift_ms = max(self.worst_drift_ms, abs(drift_ms))
        self.messages += 1
        self._face.write(json.dumps({**message, "at_ms": round(self._heard_ms)}) + "\n")


async def speak(lines: list[str]) -> bool:
    """Have a bot say some lines; return whether it was let finish."""
    was_cancelled = False
    async with AsyncExitStack() as stack:
        settings = Settings.read()
        config_factory, basis = settings.session_config, None
        if settings.is_empty:
            print("No AVATAR_* account is set: using a local avatar service.", file=sys.stderr)
            service = await stack.enter_async_context(LocalAvatarService())
            config_factory, basis = service.config_factory, LOCAL
        pool = await stack.enter_async_context(AvatarConnectionPool(1, config_factory))

        avatar, transport = AvatarService(pool, output="arkit", basis=basis), ToFiles()

        worker = PipelineWorker(Pipeline([Espeak(), avatar, transport]), enable_rtvi=False)
        left = len(lines)

        @avatar.event_handler("on_turn_finished")
        async def tell(_: AvatarService, turn: Finished) -> None:
            nonlocal left
            print(f"said {turn.played_ms / 1000:.1f} s")
            left -= 1
            if not left:
                await worker.queue_frame(EndFrame())

        @worker.event_handler("on_pipeline_error")
        async def warn(_: PipelineWorker, error: ErrorFrame) -> None:
            print(error.error, file=sys.stderr)

        @worker.event_handler("on_pipeline_finished")
        async def note(_: PipelineWorker, last: Frame) -> None:
            nonlocal was_cancelled
            was_cancelled = isinstance(last, CancelFrame)

        await worker.queue_frames([TTSSpeakFrame(line) for line in lines])
        runner = WorkerRunner()
        await runner.add_workers(worker)
        await runner.run()  # until all is said, or Ctrl-C
    print(
        f"{SOUND} and {FACE}: {transport.messages} messages, "
        f"face and voice at most {transport.worst_drift_ms:.0f} ms apart"
    )
    return not was_cancelled


def main() -> None:
    """Say what stands on the command line, or something."""
    logger.remove()  # Pipecat's own tale
    if {"-h", "--help"} & set(sys.argv):
        print('usage: python main.py ["a line to say" ...]')
        return
    if ESPEAK is None:
        print(
            "espeak-ng is not installed, so a sample is heard for each line: "
            "apt-get install espeak-ng",
            file=sys.stderr,
        )
    try:
        lines = [line for line in sys.argv[1:] if line.strip()]
        has_finished = asyncio.run(speak(lines or LINES))
    except AvatarPoolError as error:
        print(f"The avatar service cannot be used: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)
    except KeyboardInterrupt:  # before there was anything to cancel
        has_finished = False
    if not has_finished:
        sys.exit(130)


if __name__ == "__main__":
    main()
