"""What goes into a room, as far as it goes without a server: LiveKit's own sources and tracks."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest

pytest.importorskip(
    "livekit.agents", reason="livekit-agents is not installed: make integrations runs these tests"
)

from livekit import rtc
from talk import PATIENCE, Talk, audio, frame

from avatarpool.integrations.livekit import RoomPublisher


class Participant:
    """The agent in a room: it keeps tracks and text streams, and everybody listens to it."""

    identity = "agent"
    sid = "PA_1"

    def __init__(self, room):
        self.tracks = {}
        self.track_publications = {}
        self.texts = []
        self.refused = 0  # text streams to come
        self.is_fast = asyncio.Event()  # where not, it takes no text
        self.is_fast.set()
        self._room = room

    async def publish_track(self, track, options):
        sid = f"TR_{len(self.tracks)}"
        self.tracks[sid] = (track, options.source)
        self.track_publications[sid] = publication = Publication(sid, track.kind)
        self._room.emit("local_track_published", publication, track)
        return publication

    async def unpublish_track(self, sid):
        del self.tracks[sid]

    async def send_text(self, text, *, topic):
        if self.refused:
            self.refused -= 1
            raise rtc.StreamError("no way")
        await self.is_fast.wait()
        self.texts.append((topic, text))


class Publication:
    def __init__(self, sid, kind):
        self.sid = sid
        self.kind = kind

    async def wait_for_subscription(self):
        pass


class Room(rtc.Room):
    """A room of which it is said whether it is connected."""

    def __init__(self):
        super().__init__()
        self.is_there = True
        self.agent = Participant(self)

    def isconnected(self):
        return self.is_there

    @property
    def local_participant(self):
        return self.agent


@pytest.fixture
def room():
    return Room()


class Ear:
    """Hears a track, as a participant would."""

    def __init__(self, track):
        self._stream = rtc.AudioStream.from_track(track=track, sample_rate=24000, num_channels=1)
        self.heard = bytearray()
        self._task = asyncio.create_task(self._listen())

    async def _listen(self):
        async for event in self._stream:
            self.heard += bytes(event.frame.data)

    def has(self, value):
        return int((np.frombuffer(bytes(self.heard), "<i2") == value).sum())

    async def until(self, condition):
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.01)

    async def aclose(self):
        self._task.cancel()
        await self._stream.aclose()


def tracks(room, source):
    return [track for track, of in room.agent.tracks.values() if of == source]


async def test_a_voice_is_heard_as_it_is_and_cleared_at_once(room):
    publisher = RoomPublisher(room)
    await publisher.start()
    (track,) = tracks(room, rtc.TrackSource.SOURCE_MICROPHONE)
    assert not tracks(room, rtc.TrackSource.SOURCE_CAMERA)
    ear = Ear(track)
    await publisher.play(frame(audio(200, 7)))
    await ear.until(lambda: ear.has(7) == 4800)
    for mark in (11, 12, 13):
        await publisher.play(frame(audio(200, mark)))
    assert publisher.queued > 0
    playing = asyncio.create_task(publisher.play(frame(audio(200, 14))))
    await asyncio.sleep(0)  # amid it
    publisher.clear()
    assert not publisher.queued
    await playing
    await publisher.play(frame(audio(200, 21)))
    await ear.until(lambda: ear.has(21) == 4800)
    assert not ear.has(12)  # and what comes after it
    assert not ear.has(13)
    assert not ear.has(14)
    await ear.aclose()
    await publisher.aclose()
    assert not room.agent.tracks


async def test_what_comes_in_behind_a_clear_is_cleared_as_well(room, monkeypatch):
    publisher = RoomPublisher(room)
    await publisher.start()
    (track,) = tracks(room, rtc.TrackSource.SOURCE_MICROPHONE)
    ear, may_go, capture = Ear(track), asyncio.Event(), publisher._voice.capture_frame

    async def slowly(given):
        await may_go.wait()
        await capture(given)

    monkeypatch.setattr(publisher._voice, "capture_frame", slowly)
    playing = asyncio.create_task(publisher.play(frame(audio(200, 14))))
    await asyncio.sleep(0)
    publisher.clear()
    may_go.set()
    await playing
    assert not publisher.queued
    await publisher.play(frame(audio(200, 21)))
    await ear.until(lambda: ear.has(21) == 4800)
    assert ear.has(14) < 4800 // 4  # of what had left before
    await ear.aclose()
    await publisher.aclose()


async def test_messages_are_text_streams_in_order_and_one_that_is_lost_is_told_of(room, caplog):
    publisher = RoomPublisher(room)
    await publisher.start()
    room.agent.refused = 2
    for number in range(5):
        publisher.send(json.dumps(number))
    async with asyncio.timeout(PATIENCE):
        while len(room.agent.texts) < 3:
            await asyncio.sleep(0.01)
    assert room.agent.texts == [("avatarpool.frames", str(number)) for number in (2, 3, 4)]
    assert caplog.text.count("messages are lost") == 1
    publisher.send("late")
    publisher.clear()
    await publisher.aclose()
    assert ("avatarpool.frames", "late") not in room.agent.texts


async def test_of_a_room_that_is_too_slow_the_oldest_messages_are_lost_and_that_is_told_once(
    room, caplog
):
    publisher = RoomPublisher(room)
    await publisher.start()
    for is_again in (False, True):
        room.agent.is_fast.clear()
        room.agent.texts.clear()
        publisher.send("first")
        await asyncio.sleep(0)  # it is under way
        for number in range(300):
            publisher.send(str(number))
        assert caplog.text.count("messages are lost: the room is too slow") == 1 + is_again
        room.agent.is_fast.set()
        async with asyncio.timeout(PATIENCE):
            while len(room.agent.texts) < 251:
                await asyncio.sleep(0.01)
        assert [text for _, text in room.agent.texts] == ["first", *map(str, range(50, 300))]
    await publisher.aclose()


async def test_it_waits_for_its_room(room):
    room.is_there = False
    publisher = RoomPublisher(room)
    starting = asyncio.create_task(publisher.start())
    await asyncio.sleep(0)
    assert not room.agent.tracks
    room.emit("connection_state_changed", rtc.ConnectionState.CONN_RECONNECTING)
    room.is_there = True
    room.emit("connection_state_changed", rtc.ConnectionState.CONN_CONNECTED)
    async with asyncio.timeout(PATIENCE):
        await starting
    assert len(room.agent.tracks) == 1
    room.is_there = False  # it went away, and its tracks with it
    await publisher.aclose()


async def test_a_room_hears_and_sees_what_an_agent_says(pool, room):
    talk = Talk(pool, room, publish=RoomPublisher, preview=True, output="flame")
    async with talk:
        async with asyncio.timeout(PATIENCE):
            while len(room.agent.tracks) < 2:
                await asyncio.sleep(0.01)
        ear = Ear(tracks(room, rtc.TrackSource.SOURCE_MICROPHONE)[0])
        eye = rtc.VideoStream(tracks(room, rtc.TrackSource.SOURCE_CAMERA)[0])
        await talk.heard([audio(100, mark) for mark in range(1, 6)])
        await ear.until(lambda: ear.has(5) >= 2400)
        assert [ear.has(mark) for mark in range(1, 6)] == [2400] * 5
        async with asyncio.timeout(PATIENCE):
            async for event in eye:
                assert (event.frame.width, event.frame.height) == (224, 252)
                break
        await eye.aclose()
        await ear.aclose()
    texts = [json.loads(text) for topic, text in room.agent.texts]
    assert sum(len(text["frames"]) for text in texts) == 13
    assert not room.agent.tracks
