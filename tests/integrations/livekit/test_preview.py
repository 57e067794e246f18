"""The drawn face in a room that has no renderer."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

pytest.importorskip(
    "livekit.agents", reason="livekit-agents is not installed: make integrations runs these tests"
)

from livekit.agents.voice.avatar import VideoGenerator
from PIL import Image
from talk import PATIENCE, Talk, audio

from avatarpool import AvatarConnectionPool
from avatarpool.integrations.film import HEIGHT, WIDTH
from avatarpool.integrations.livekit_face import SpokenFace
from avatarpool.service import LocalAvatarService

ARTEFACTS = Path("artefacts")


def image(picture):
    return Image.frombytes("RGBA", (WIDTH, HEIGHT), bytes(picture.data)).convert("RGB")


def opening(face):
    """How many pixels within the mouth are dark: 70 if it is shut, 300 if it is wide open."""
    mouth = face.crop((80, 150, 144, 200)).convert("L")
    return sum(mouth.histogram()[:60])


def keep(*faces):
    """Keep a picture for people to look at."""
    sheet = Image.new("RGB", (len(faces) * WIDTH, HEIGHT))
    for number, face in enumerate(faces):
        sheet.paste(face, (number * WIDTH, 0))
    ARTEFACTS.mkdir(exist_ok=True)
    sheet.save(ARTEFACTS / "livekit_preview.png")


async def seen(publisher, count):
    publisher.wanted_pictures = len(publisher.pictures) + count
    publisher.has_pictures.clear()
    async with asyncio.timeout(PATIENCE):
        await publisher.has_pictures.wait()


async def test_a_room_sees_the_face_speak(speech):
    async with (
        LocalAvatarService() as service,
        AvatarConnectionPool(1, service.config_factory) as pool,
        Talk(pool, preview=True) as talk,
    ):
        assert talk.publisher.size == (WIDTH, HEIGHT)
        await seen(talk.publisher, 2)  # of a face that says nothing
        before = image(talk.publisher.pictures[-1])
        spoken_from = len(talk.publisher.pictures)
        while len(talk.publisher.pictures) < spoken_from + 6:  # however slow the machine
            await talk.heard([speech], rate=16000)
        spoken = [image(each) for each in talk.publisher.pictures[spoken_from:]]
        assert len({each.tobytes() for each in spoken}) > len(spoken) // 2
        opened = [opening(each) for each in spoken]
        assert opening(before) < 100 < max(opened)
        keep(before, spoken[opened.index(max(opened))])


async def test_pictures_cost_no_voice_where_what_paints_is_killed(pool, caplog):
    async with Talk(pool, preview=True) as talk:
        await seen(talk.publisher, 1)
        (painter,) = talk.face._running._face._film._painters._painters
        os.kill(painter.process.pid, 9)
        await talk.heard([audio(100, mark) for mark in range(5)])
        assert bytes(talk.publisher.given) == b"".join(audio(100, mark) for mark in range(5))
        await seen(talk.publisher, 2)  # another one paints
    assert "a picture is missing" in caplog.text
    assert len(talk.publisher.messages) > 2


async def test_pictures_are_in_step_after_an_interruption_too(pool):
    async with Talk(pool, preview=True) as talk:
        loop, due = asyncio.get_running_loop(), []
        timeline = talk.face._running._face._film.timeline
        add = timeline.add

        def note(at, keyframes):
            due.append(at - loop.time() - talk.publisher.queued)
            add(at, keyframes)

        timeline.add = note
        first = talk.say([audio(100)] * 50)
        async with asyncio.timeout(PATIENCE):
            while talk.publisher.given_ms < 400:
                await asyncio.sleep(0.01)
            first.interrupt()
            await first
        told = len(due)
        await talk.heard([audio(100)] * 3)
        # Each before the piece in which it ends, which is heard when all before it was.
        assert all(each > -0.2 for each in due)
        assert told < len(due)


def test_it_is_what_livekit_calls_a_video_generator():
    assert issubclass(SpokenFace, VideoGenerator)


async def test_closing_ends_what_paints(pool):
    async with Talk(pool, preview=True) as talk:
        await seen(talk.publisher, 1)
        (painter,) = talk.face._running._face._film._painters._painters
        pid = painter.process.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
