"""A LiveKit agent with a face: in a room, or without a network, to a sound file.

``python main.py "Hello." "How are you?"`` needs no server; ``python -m livekit.agents start
main.py --dev`` waits for rooms of one. The README beside it says what comes out.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import sys
import wave
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

from livekit import rtc
from livekit.agents import Agent, AgentServer, AgentSession, APIConnectOptions, JobContext, tts
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS
from livekit.agents.utils import shortuuid

from avatarpool import AvatarConnectionPool, AvatarPoolError, ConfigurationError
from avatarpool.blendshapes import LOCAL, Basis
from avatarpool.environment import Settings
from avatarpool.integrations.livekit import SAMPLE_RATE, AvatarSession
from avatarpool.integrations.turn import FaceLost, Finished
from avatarpool.load import load_speech_clip
from avatarpool.service import LocalAvatarService

LINES = ["Hello! I am an agent with a face.", "My lips move with what I say."]
SOUND, FACE = Path("agent.wav"), Path("agent.jsonl")
PIECE_BYTES = 8820  # of speech: 0.2 s
ESPEAK = shutil.which("espeak-ng")


class Espeak(tts.TTS):
    """Says text with espeak-ng; without it, a sample in place of each text."""

    def __init__(self) -> None:
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=False),
            sample_rate=22050 if ESPEAK else 16000,
            num_channels=1,
        )

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.ChunkedStream:
        """Say a text piece by piece."""
        return Saying(tts=self, input_text=text, conn_options=conn_options)


class Saying(tts.ChunkedStream):
    """One text on its way to speech."""

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        output_emitter.initialize(
            request_id=shortuuid(),
            sample_rate=self._tts.sample_rate,
            num_channels=1,
            mime_type="audio/pcm",
        )
        if ESPEAK is None:
            output_emitter.push(load_speech_clip())
            return
        process = await asyncio.create_subprocess_exec(
            ESPEAK,
            *("-v", "en", "--stdin", "--stdout"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(self.input_text.encode())
            process.stdin.close()
            await process.stdout.readexactly(44)  # a WAV file's header
            while piece := await process.stdout.read(PIECE_BYTES):
                output_emitter.push(piece)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


class ToFiles:
    """In a room's place: plays into a sound file, and writes down the face beside it."""

    def __init__(self, room: rtc.Room, picture_size: tuple[int, int] | None) -> None:
        del room, picture_size
        self.messages = 0
        self.worst_drift_ms = 0.0
        self._context: object = None
        self._given_ms = 0.0
        self._began_ms = 0.0  # the context, in the sound file
        self._heard_until = 0.0
        self._files = ExitStack()

    @property
    def queued(self) -> float:
        """Seconds of what was given that are not heard yet, as if it were played."""
        return max(0.0, self._heard_until - asyncio.get_running_loop().time())

    async def start(self) -> None:
        """Open the files."""
        sound = wave.open(str(SOUND), "wb")  # noqa: SIM115  # as below
        self._sound = self._files.enter_context(sound)
        self._sound.setnchannels(1)
        self._sound.setsampwidth(2)
        self._sound.setframerate(SAMPLE_RATE)
        face = FACE.open("w", encoding="utf-8")  # noqa: ASYNC230  # small, and closed below
        self._face = self._files.enter_context(face)

    async def play(self, frame: rtc.AudioFrame) -> None:
        """Play a piece of the voice."""
        now = asyncio.get_running_loop().time()
        self._sound.writeframes(frame.data)
        self._given_ms += 1000 * frame.duration
        self._heard_until = max(self._heard_until, now) + frame.duration

    def show(self, picture: rtc.VideoFrame) -> None:
        """Show none: nothing asks for a preview."""

    def send(self, message: str) -> None:
        """Write down a piece of the face, and when it is to be shown in the sound file."""
        face = json.loads(message)
        if face["context_id"] != self._context:
            self._context, self._began_ms = face["context_id"], self._given_ms
        drift_ms = self._began_ms + face["start_ms"] - self._given_ms
        self.worst_drift_ms = max(self.worst_drift_ms, abs(drift_ms))
        self.messages += 1
        self._face.write(json.dumps({**face, "at_ms": round(self._given_ms)}) + "\n")

    def clear(self) -> None:
        """Stop: what was given is in the file, and heard no further."""
        self._heard_until = 0.0

    async def aclose(self) -> None:
        """Close the files."""
        self._files.close()


async def open_pool(stack: AsyncExitStack) -> tuple[AvatarConnectionPool, Basis | None]:
    """Open a pool over the account that the environment names, or over a local service."""
    settings = Settings.read()
    config_factory, basis = settings.session_config, None
    if settings.is_empty:
        print("No AVATAR_* account is set: using a local avatar service.", file=sys.stderr)
        service = await stack.enter_async_context(LocalAvatarService())
        config_factory, basis = service.config_factory, LOCAL
    return await stack.enter_async_context(AvatarConnectionPool(1, config_factory)), basis


# --- in a room ----------------------------------------------------------------------------

server = AgentServer()


@server.rtc_session()
async def greet(ctx: JobContext) -> None:
    """Be the agent of one room: greet, and show a drawn face."""
    stack = AsyncExitStack()
    ctx.add_shutdown_callback(stack.aclose)
    pool, basis = await open_pool(stack)
    face = AvatarSession(pool, output="arkit", basis=basis, preview=True)
    stack.push_async_callback(face.aclose)  # before the pool
    session = AgentSession(tts=Espeak())  # and your stt, llm, vad
    await face.start(session, ctx.room)
    await session.start(Agent(instructions="You are kind."), room=ctx.room)
    for line in LINES:
        session.say(line)


# --- without one --------------------------------------------------------------------------


async def speak(lines: list[str]) -> None:
    """Have an agent say some lines to files."""
    async with AsyncExitStack() as stack:
        pool, basis = await open_pool(stack)
        room = rtc.Room()  # which nobody connects
        files = ToFiles(room, None)
        face = AvatarSession(pool, output="arkit", basis=basis, publish=lambda *_: files)
        stack.push_async_callback(face.aclose)

        @face.on("turn_finished")
        def tell(turn: Finished) -> None:
            print(f"said {turn.played_ms / 1000:.1f} s")

        @face.on("face_lost")
        def warn(turn: FaceLost) -> None:
            print(f"the voice goes on without a face: {turn.error}", file=sys.stderr)

        session = AgentSession(tts=Espeak())
        stack.push_async_callback(session.aclose)
        await face.start(session, room)
        await session.start(Agent(instructions=""))
        for line in lines:
            await session.say(line)
    print(
        f"{SOUND} and {FACE}: {files.messages} messages, "
        f"face and voice at most {files.worst_drift_ms:.0f} ms apart"
    )


def main() -> None:
    """Say what stands on the command line, or something."""
    logging.getLogger("livekit").setLevel(logging.ERROR)  # LiveKit's own tale
    if {"-h", "--help"} & set(sys.argv):
        print('usage: python main.py ["a line to say" ...]')
        print("       python -m livekit.agents start main.py --dev   in the rooms of LIVEKIT_URL")
        return
    if ESPEAK is None:
        print(
            "espeak-ng is not installed, so a sample is heard for each line: "
            "apt-get install espeak-ng",
            file=sys.stderr,
        )
    try:
        lines = [line for line in sys.argv[1:] if line.strip()]
        asyncio.run(speak(lines or LINES))
    except AvatarPoolError as error:
        print(f"The avatar service cannot be used: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)
    except KeyboardInterrupt:
        print(f"stopped: {SOUND} and {FACE} have what was said", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
