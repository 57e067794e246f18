"""Whatever an agent does with its voice in whatever order, each segment is finished once."""

from __future__ import annotations

import asyncio
import logging

import pytest

pytest.importorskip(
    "livekit.agents", reason="livekit-agents is not installed: make integrations runs these tests"
)

from hypothesis import given, settings
from hypothesis import strategies as st
from livekit import rtc
from livekit.agents import AgentSession
from talk import PATIENCE, Recorder, audio, frame

from avatarpool import AvatarConnectionPool, SessionConfig
from avatarpool.integrations.livekit import AvatarSession, VoiceOutput

CAPTURE, FLUSH, CLEAR, LOOP, HEAR, CLOSE = "capture", "flush", "clear", "loop", "hear", "close"


def config():
    return SessionConfig("avatar", "key", "app", "https://c.example.com", "https://i.example.com")


async def finished(does):
    """Do it, then end what is open; return the ends and how many segments there were."""
    session, publisher, ends = AgentSession(), Recorder(), []
    face = AvatarSession(AvatarConnectionPool(1, config), publish=publisher)  # never opened
    await face.start(session, rtc.Room())
    voice = session.output.audio
    voice.on("playback_finished", ends.append)
    turns = []
    face.on("turn_finished", turns.append)
    for each in does:
        match each:
            case "capture":
                await voice.capture_frame(frame(audio(5)))
            case "flush":
                voice.flush()
            case "clear":
                voice.clear_buffer()
                assert not publisher.queued
                assert len(ends) == voice.captured_playout_segments  # at once
            case "loop":
                for _ in range(4):  # until it was taken from the queue
                    await asyncio.sleep(0)
            case "hear":
                await asyncio.sleep(0.004)
            case "close":
                await face.aclose()
    voice.flush()
    async with asyncio.timeout(PATIENCE):
        await voice.wait_for_playout()
    await face.aclose()
    assert [turn.is_interrupted for turn in turns] == [end.interrupted for end in ends]
    return ends, voice.captured_playout_segments


@settings(max_examples=150)
@given(st.lists(st.sampled_from([CAPTURE, CAPTURE, FLUSH, CLEAR, LOOP, HEAR, CLOSE]), max_size=14))
def test_each_segment_is_finished_once(does):
    said = _Said()
    logger = logging.getLogger("livekit.agents")
    logger.addHandler(said)
    try:
        ends, segments = asyncio.run(finished(does))
    finally:
        logger.removeHandler(said)
    assert len(ends) == segments
    assert not [line for line in said.lines if "more times" in line]
    assert all(0 <= end.playback_position <= 0.005 * does.count(CAPTURE) + 1e-3 for end in ends)


class _Said(logging.Handler):
    """Notes what LiveKit complains of."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


@pytest.mark.parametrize(
    ("does", "interrupted"),
    [
        ([CAPTURE, FLUSH], [False]),
        ([CAPTURE, CLEAR], [True]),
        ([CAPTURE, FLUSH, CLEAR], [True]),
        ([CAPTURE, CLEAR, FLUSH], [True]),
        ([CAPTURE, CLEAR, CAPTURE, FLUSH], [True]),  # the rest of what was cleared
        ([CAPTURE, CLEAR, CAPTURE, FLUSH, CAPTURE, FLUSH], [True, False]),
        ([CAPTURE, LOOP, CLEAR, CAPTURE, LOOP, CLEAR, FLUSH], [True]),
        ([CAPTURE, LOOP, CLEAR, FLUSH, CAPTURE, FLUSH], [True, False]),
        ([CAPTURE, FLUSH, CAPTURE, CLEAR], [True, True]),
        ([CAPTURE, FLUSH, CAPTURE, FLUSH, CLEAR, CLEAR], [True, True]),
        ([CLEAR, FLUSH, CAPTURE, FLUSH], [False]),
        ([CAPTURE, CLOSE, CAPTURE, FLUSH], [True]),
        ([CLOSE, CAPTURE, FLUSH, CAPTURE, FLUSH], [True, True]),
    ],
)
async def test_how_each_segment_ends(does, interrupted, caplog):
    ends, _ = await finished(does)
    assert [end.interrupted for end in ends] == interrupted
    assert "more times" not in caplog.text


async def test_what_comes_after_closing_is_not_kept():
    voice = VoiceOutput()
    voice.close()
    for _ in range(3):
        await voice.capture_frame(frame(audio(10)))
        voice.flush()
    async with asyncio.timeout(PATIENCE):
        await voice.wait_for_playout()
