"""An agent's session without a server, and a publisher that plays and notes what it gets."""

import asyncio
import json

from livekit import rtc
from livekit.agents import Agent, AgentSession

from avatarpool.integrations.livekit import AvatarSession

RATE = 24000
PATIENCE = 30.0


def audio(ms, mark=1, rate=RATE):
    return bytes([mark, 0]) * (ms * rate // 1000)


def frame(pcm, rate=RATE, channels=1):
    return rtc.AudioFrame(pcm, rate, channels, len(pcm) // (2 * channels))


class Recorder:
    """Plays voice at the pace of speech, as a room's source does, and notes what was heard.

    Attributes:
        given: What was played; `clear` takes back what was not heard yet.
        messages: And how many ms of voice were given before each.
        pictures: RGBA.
    """

    def __init__(self, room=None, size=None):
        self.given = bytearray()
        self.size = size
        self.messages = []
        self.pictures = []
        self.is_playing = asyncio.Event()
        self.has_pictures = asyncio.Event()
        self.wanted_pictures = 1
        self.is_closed = False
        self.heard_until = 0.0
        self.cut_at = None  # what was given, until when it would be heard, and what was heard

    def __call__(self, room, size):
        self.size = size
        return self

    @property
    def queued(self):
        return max(0.0, self.heard_until - asyncio.get_running_loop().time())

    @property
    def given_ms(self):
        return len(self.given) / 2 / RATE * 1000

    @property
    def heard_ms(self):
        return self.given_ms - 1000 * self.queued

    async def start(self):
        pass

    async def play(self, frame):
        assert (frame.sample_rate, frame.num_channels) == (RATE, 1)
        now = asyncio.get_running_loop().time()
        assert self.queued < 0.25  # no more ahead than that
        self.heard_until = max(self.heard_until, now) + frame.duration
        self.given += bytes(frame.data)
        self.is_playing.set()
        await asyncio.sleep(0)

    def show(self, picture):
        self.pictures.append(picture)
        if len(self.pictures) >= self.wanted_pictures:
            self.has_pictures.set()

    def send(self, message):
        self.messages.append((self.given_ms, json.loads(message)))

    def clear(self):
        self.cut_at = self.cut_at or (self.given_ms, self.heard_until, self.heard_ms)
        unheard = 2 * int(self.queued * RATE)
        del self.given[len(self.given) - unheard :]
        self.heard_until = 0.0

    async def aclose(self):
        self.is_closed = True


class Talk:
    """An agent's session whose voice has a face; a context manager."""

    def __init__(self, sessions, room=None, **options):
        self.publisher = Recorder()
        patient = {"face_wait": PATIENCE, "timeout": PATIENCE}
        self.face = AvatarSession(sessions, **{**patient, "publish": self.publisher, **options})
        self.session = AgentSession()
        self.room = room or rtc.Room()
        self.ends, self.lost, self.finished = [], [], []
        self.face.on("turn_finished", self.ends.append)
        self.face.on("face_lost", self.lost.append)

    async def __aenter__(self):
        await self.face.start(self.session, self.room)
        self.output = self.session.output.audio
        self.output.on("playback_finished", self.finished.append)
        await self.session.start(Agent(instructions=""))
        return self

    async def __aexit__(self, *exc):
        await self.session.aclose()
        await self.face.aclose()

    def say(self, pieces, rate=RATE, channels=1, then=None):
        """Say pieces of voice; once they are given, wait for an event that never comes."""

        async def voice():
            for piece in pieces:
                yield frame(piece, rate, channels)
            if then is not None:
                await then.wait()

        return self.session.say("words", audio=voice(), add_to_chat_ctx=True)

    async def heard(self, pieces, rate=RATE, **options):
        async with asyncio.timeout(PATIENCE * 3):
            await self.say(pieces, rate, **options)
