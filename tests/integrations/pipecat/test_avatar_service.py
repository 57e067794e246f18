"""A bot's face in Pipecat's own pipelines, over a real pool and the local service."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import replace

import pytest

pytest.importorskip(
    "pipecat.frames", reason="pipecat-ai is not installed: make integrations runs these tests"
)

from bot import Ear, Face, Transport, User, audio, messages_in, of, run, said
from pipecat.frames.frames import (
    ErrorFrame,
    InterruptionFrame,
    MetricsFrame,
    OutputTransportMessageFrame,
    TextFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.metrics.metrics import TTFBMetricsData
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams
from pipecat.processors.frame_processor import FrameProcessor

from avatarpool import AvatarConnectionPool, AvatarPoolGroup, LocalBudget
from avatarpool.blendshapes import ARKIT, LOCAL, VISEMES
from avatarpool.exceptions import ConfigurationError
from avatarpool.integrations.pipecat import AvatarService
from avatarpool.integrations.turn import Finished
from avatarpool.protocol.codec import decode
from avatarpool.service import LocalAvatarService, SessionFault, Step


def keyframes(messages):
    return sum(
        len(decode(base64.b64decode(frame)).keyframes)
        for message in messages
        for frame in message["frames"]
    )


async def test_audio_passes_as_it_is_and_in_order_with_its_face_before_it(pool):
    frames = said("c", [audio(100, mark=mark) for mark in range(1, 6)])
    frames.insert(3, TextFrame("between"))
    face = Face(pool)
    down, up = await run(face, frames)
    assert [each for each in down if not isinstance(each, OutputTransportMessageFrame)] == frames
    assert [each.audio for each in of(TTSAudioRawFrame, down)] == [
        audio(100, mark=mark) for mark in range(1, 6)
    ]
    given_ms = 0
    for each in down:
        if isinstance(each, OutputTransportMessageFrame):
            assert abs(each.message["start_ms"] - given_ms) <= 40
        elif isinstance(each, TTSAudioRawFrame):
            given_ms += 100
    messages = messages_in(down)
    assert keyframes(messages) == 13
    assert {message["type"] for message in messages} == {"avatarpool.frames"}
    assert {(message["context_id"], message["fps"]) for message in messages} == {("c", 25)}
    assert decode(base64.b64decode(messages[-1]["frames"][-1])).end
    assert not of(ErrorFrame, up)
    assert face.ends == [Finished("c", 500, False, None)]


async def test_the_face_is_that_of_the_audio(pool):
    marks = [1, 2, 3, 4, 5]
    down, _ = await run(
        Face(pool, output="flame"), said("c", [audio(40, mark=mark) for mark in marks])
    )
    frames = [frame for message in messages_in(down) for frame in message["frames"]]
    assert [frame["jaw_pose"][0] for frame in frames] == marks  # as the service echoes them


@pytest.mark.parametrize(
    ("output", "names"),
    [
        ("arkit", set(ARKIT)),
        ("visemes", set(VISEMES)),
        ("flame", {"jaw_pose", "expression", "eye_lid"}),
    ],
)
async def test_faces_that_people_have_are_given_by_their_names(output, names, speech):
    async with (
        LocalAvatarService() as service,
        AvatarConnectionPool(1, service.config_factory) as pool,
    ):
        down, _ = await run(Face(pool, output=output, basis=LOCAL), said("c", [speech[:32000]]))
    messages = messages_in(down)
    frames = [frame for message in messages for frame in message["frames"]]
    assert len(frames) == 25
    assert all(names <= set(frame) for frame in frames)
    json.dumps(messages, allow_nan=False)
    values = [json.dumps(frame) for frame in frames]
    assert len(set(values)) > 10  # it moves


@pytest.mark.parametrize(
    ("piece_ms", "tts_rate", "transport_rate", "chunks"),
    [
        (20, 16000, 16000, 4),
        (30, 16000, 16000, 4),
        (110, 24000, 24000, 4),
        (70, 24000, 16000, 4),
        (50, 16000, 24000, 2),
        (500, 44100, 48000, 8),
    ],
)
async def test_voice_and_face_drift_40_ms_at_most(pool, piece_ms, tts_rate, transport_rate, chunks):
    transport = Transport(transport_rate, audio_out_10ms_chunks=chunks)
    pieces = [audio(piece_ms, tts_rate) for _ in range(1100 // piece_ms)]
    await run(Pipeline([Face(pool), transport]), said("c", pieces, tts_rate))
    total_ms = piece_ms * len(pieces)
    shown = 0
    for heard_ms, message in transport.messages:
        assert message["start_ms"] == shown
        assert abs(message["start_ms"] - heard_ms) <= 40 or shown * 40 >= total_ms
        shown += 40 * keyframes([message])
    assert shown == -(-total_ms // 40) * 40
    assert transport.heard_ms >= total_ms


async def test_an_interruption_drops_what_was_not_heard(pool, is_back):
    face, transport = Face(pool), Transport()
    user = User(transport.is_playing.wait)
    first = said("first", [audio(500, mark=1) for _ in range(20)])[:-1]  # 10 s
    second = said("second", [audio(200, mark=2)])
    _, up = await run(Pipeline([user, face, transport]), [*first, TextFrame("interrupt"), *second])
    assert [(end.turn, end.is_interrupted) for end in face.ends] == [
        ("first", True),
        ("second", False),
    ]
    # Some of the first was heard, little enough to know that it was cut, and nothing of it later.
    heard = bytes(transport.heard)
    cut = heard.index(audio(1, mark=2))
    assert 0 < cut < len(audio(8000))
    assert audio(1, mark=1) not in heard[cut:]
    contexts = [message["context_id"] for _, message in transport.messages]
    assert contexts == sorted(contexts)
    assert 0 <= face.ends[0].played_ms <= 8000
    assert not of(ErrorFrame, up)
    await is_back()


async def test_nothing_of_a_context_comes_behind_its_interruption(pool):
    frames = said("first", [audio(20) for _ in range(300)])[:-1]
    ear = Ear()
    face = Face(pool)
    pipeline = Pipeline([User(ear.has_heard.wait), face, ear])
    down, _ = await run(pipeline, [*frames, TextFrame("interrupt")])
    behind = down[[type(each) for each in down].index(InterruptionFrame) + 1 :]
    assert not of(TTSAudioRawFrame, behind)
    assert not messages_in(behind)
    assert [(end.turn, end.is_interrupted) for end in face.ends] == [("first", True)]


async def test_what_must_not_be_interrupted_is_not(pool):
    face = Face(pool)
    frames = said("kept", [audio(100) for _ in range(5)])
    for frame in frames:
        frame.interruptible = False
    ear = Ear()
    pipeline = Pipeline([User(ear.has_heard.wait), face, ear])
    down, _ = await run(pipeline, [*frames, TextFrame("interrupt")])
    assert InterruptionFrame in {type(each) for each in down}
    assert [each.audio for each in of(TTSAudioRawFrame, down)] == [audio(100)] * 5
    assert all(not each.interruptible for each in of(OutputTransportMessageFrame, down))
    assert keyframes(messages_in(down)) == 13
    assert face.ends == [Finished("kept", 500, False, None)]


async def test_contexts_follow_each_other(pool):
    face = Face(pool)
    frames = [frame for name in "abc" for frame in said(name, [audio(100), audio(100)])]
    down, _ = await run(face, frames)
    order = [
        (type(each).__name__, each.context_id)
        for each in of((TTSStartedFrame, TTSStoppedFrame), down)
    ]
    assert order == [
        (kind, name) for name in "abc" for kind in ("TTSStartedFrame", "TTSStoppedFrame")
    ]
    assert [end.turn for end in face.ends] == ["a", "b", "c"]
    assert [message["start_ms"] for message in messages_in(down)].count(0) == 3


async def test_a_full_pool_lets_the_bot_speak_without_a_face_and_says_so(pool):
    face, after = Face(pool, timeout=0.01), said("c", [audio(100) for _ in range(5)])
    async with pool.borrow():
        down, up = await run(face, after)
    assert [each for each in down if not isinstance(each, OutputTransportMessageFrame)] == after
    assert not messages_in(down)
    (said_so,) = of(ErrorFrame, up)
    assert "goes on without a face" in said_so.error
    assert not said_so.fatal
    assert face.is_usable
    assert face.ends == [Finished("c", 500, False, face.ends[0].error)]


async def test_a_pool_that_is_down_lets_the_bot_speak(service):
    closed = AvatarConnectionPool(1, service.config_factory)
    face = Face(closed)
    frames = [frame for name in "ab" for frame in said(name, [audio(200)])]
    down, up = await run(face, frames)
    assert len(of(TTSAudioRawFrame, down)) == 2
    assert len(of(ErrorFrame, up)) == 2  # one a context
    assert [end.turn for end in face.ends] == ["a", "b"]


async def test_a_service_that_refuses_leaves_the_processor_usable(service, pool):
    service.faults.sessions = SessionFault(upgrade_status=401)
    async with pool.borrow() as conn:
        conn.discard()
    face = Face(pool, timeout=0.5)
    down, up = await run(face, said("c", [audio(200)]))
    assert len(of(TTSAudioRawFrame, down)) == 1
    assert len(of(ErrorFrame, up)) == 1
    assert face.is_usable


async def test_a_session_that_dies_takes_its_face_along_and_not_the_voice(service):
    service.faults.sessions = SessionFault(resets=True, after_frames=5)
    async with AvatarConnectionPool(1, service.config_factory) as dying:
        face, transport = Face(dying), Transport()
        _, up = await run(Pipeline([face, transport]), said("c", [audio(100) for _ in range(10)]))
    assert len(of(ErrorFrame, up)) == 1
    assert transport.heard_ms >= 1000
    assert face.ends[0].played_ms == 1000
    assert face.ends[0].error is not None


async def test_a_slow_service_holds_the_voice_up_once_and_what_is_late_is_skipped(service):
    service.faults.sessions = SessionFault(stalls_at=Step.FRAMES, after_frames=2)
    async with AvatarConnectionPool(1, service.config_factory) as slow:
        face, transport = Face(slow, face_wait=0.1), Transport()
        frames = said("c", [audio(700), audio(100)])
        _, up = await run(Pipeline([face, transport]), frames)
    (said_so,) = of(ErrorFrame, up)  # it stalls after two keyframes
    assert bytes(transport.heard).startswith(audio(800))
    assert face.ends == [Finished("c", 800, False, said_so.exception)]
    for heard_ms, message in transport.messages[:-1]:
        assert abs(heard_ms - message["start_ms"]) <= 40


async def test_the_parts_of_a_piece_keep_what_its_frame_says(service):
    service.faults.sessions = SessionFault(stalls_at=Step.FRAMES)
    async with AvatarConnectionPool(1, service.config_factory) as silent:
        frames = said("c", [audio(700)])
        frames[1].metadata["key"] = "value"
        down, _ = await run(Face(silent, face_wait=0.1), frames)
    parts = of(TTSAudioRawFrame, down)
    assert len(parts) > 1
    assert b"".join(part.audio for part in parts) == audio(700)
    assert {(part.context_id, part.sample_rate, part.metadata["key"]) for part in parts} == {
        ("c", 16000, "value")
    }


async def test_the_time_to_the_first_frame_is_measured(pool):
    face = Face(pool)
    down, _ = await run(
        face, said("c", [audio(200)]), pipeline_params=PipelineParams(enable_metrics=True)
    )
    measured = [
        data
        for each in of(MetricsFrame, down)
        for data in each.data
        if isinstance(data, TTFBMetricsData) and data.processor == face.name and data.value > 0
    ]
    assert len(measured) == 1


async def test_a_face_that_never_came_is_not_measured(service):
    service.faults.sessions = SessionFault(stalls_at=Step.FRAMES)
    async with AvatarConnectionPool(1, service.config_factory) as silent:
        face = Face(silent, face_wait=0.05)
        ear = Ear()
        frames = [*said("c", [audio(500)])[:-1], TextFrame("interrupt")]
        pipeline = Pipeline([User(ear.has_heard.wait), face, ear])
        down, _ = await run(pipeline, frames, pipeline_params=PipelineParams(enable_metrics=True))
    assert not [
        data
        for each in of(MetricsFrame, down)
        for data in each.data
        if isinstance(data, TTFBMetricsData) and data.processor == face.name and data.value > 0
    ]


async def test_audio_of_no_context_passes_without_a_face(pool):
    stray = TTSAudioRawFrame(audio(100), 16000, 1)
    down, up = await run(Face(pool), [stray, *said("c", []), stray])
    assert of(TTSAudioRawFrame, down) == [stray, stray]
    assert not messages_in(down)
    assert not of(ErrorFrame, up)


async def test_a_stop_of_another_context_ends_none(pool):
    begun, *pieces, ended = said("c", [audio(100)] * 3)
    face = Face(pool)
    stray = TTSStoppedFrame(context_id="b")
    down, _ = await run(face, [begun, pieces[0], stray, *pieces[1:], ended])
    assert [each for each in down if not isinstance(each, OutputTransportMessageFrame)] == [
        begun,
        pieces[0],
        stray,
        *pieces[1:],
        ended,
    ]
    assert keyframes(messages_in(down)) == 8
    assert face.ends == [Finished("c", 300, False, None)]


async def test_contexts_without_an_id_are_told_apart_all_the_same(pool):
    frames = [*said(None, [audio(100)]), *said(None, [audio(100)])]
    face = Face(pool)
    down, _ = await run(face, frames)
    ids = {message["context_id"] for message in messages_in(down)}
    assert len(ids) == 2
    assert all(ids)
    assert {end.turn for end in face.ends} == ids


async def test_what_is_no_audio_passes_all_the_same_and_is_told_once_a_context(pool):
    frames = [*said("c", [audio(100)] * 7), *said("d", [audio(100)] * 2)]
    frames[2].sample_rate = 1
    frames[3].sample_rate = "x"
    frames[4].num_channels = -1
    frames[5].audio = "text"
    frames[6].audio = b""
    frames[10].num_channels = 0
    face = Face(pool)
    down, up = await run(face, frames)
    assert [each for each in down if not isinstance(each, OutputTransportMessageFrame)] == frames
    assert keyframes(messages_in(down)) == 5 + 3  # of the two pieces, and of the one
    first, second = of(ErrorFrame, up)
    assert "give a whole number of 4000 to 384000" in first.error
    assert "cannot have 0 channels" in second.error
    assert [(end.turn, end.played_ms, end.error) for end in face.ends] == [
        ("c", 200, None),
        ("d", 100, None),
    ]


class _Canceller(FrameProcessor):
    """Cancels the pipeline once it hears audio."""

    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            await self.pipeline_worker.cancel()


async def test_a_cancelled_pipeline_returns_the_session(pool, is_back):
    face = Face(pool)
    frames = said("c", [audio(500)] * 20)
    await run(Pipeline([face, _Canceller()]), frames, send_end_frame=False)
    await is_back()
    assert [(end.turn, end.is_interrupted) for end in face.ends] == [("c", True)]


async def test_bots_share_a_pool_and_wait_for_each_other(pool):
    faces = [Face(pool) for _ in range(3)]
    ran = [run(face, said("c", [audio(100)] * 3)) for face in faces]
    for (down, up), face in zip(await asyncio.gather(*ran), faces, strict=True):
        assert keyframes(messages_in(down)) == 8
        assert not of(ErrorFrame, up)
        assert face.ends == [Finished("c", 300, False, None)]


async def test_a_group_gives_each_bot_its_avatar():
    async with (
        LocalAvatarService(avatar_ids=("ann", "bob")) as service,
        AvatarPoolGroup(
            lambda key: replace(service.config_factory(), avatar_id=key.avatar_id),
            budget=LocalBudget(2),
        ) as group,
    ):
        for name in ("ann", "bob"):
            down, _ = await run(Face(group, avatar_id=name), said("c", [audio(200)]))
            message = messages_in(down)[0]
            assert decode(base64.b64decode(message["frames"][0])).avatar_id == name


def test_what_cannot_work_is_told(pool):
    with pytest.raises(ConfigurationError, match="'glb' is none of message, flame, arkit"):
        AvatarService(pool, output="glb")
    with pytest.raises(ConfigurationError, match="a pool's sessions have theirs"):
        AvatarService(pool, avatar_id="a")
