"""An agent's face in LiveKit's own session, over a real pool and the local service."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import replace

import pytest

pytest.importorskip(
    "livekit.agents", reason="livekit-agents is not installed: make integrations runs these tests"
)

from livekit import rtc
from talk import PATIENCE, RATE, Recorder, Talk, audio, frame

from avatarpool import AvatarConnectionPool, AvatarPoolGroup, LocalBudget
from avatarpool.blendshapes import ARKIT, LOCAL, VISEMES
from avatarpool.exceptions import ConfigurationError, PoolTimeout, SessionStateError
from avatarpool.integrations.livekit import AvatarSession, RoomPublisher
from avatarpool.protocol.codec import decode
from avatarpool.service import LocalAvatarService, SessionFault, Step


def keyframes(messages):
    return sum(
        len(decode(base64.b64decode(frame)).keyframes)
        for message in messages
        for frame in message["frames"]
    )


def positions(talk):
    return [(each.playback_position, each.interrupted) for each in talk.finished]


async def test_voice_passes_as_it_is_and_in_order_with_its_face_before_it(pool):
    async with Talk(pool) as talk:
        await talk.heard([audio(100, mark) for mark in range(1, 6)])
    publisher = talk.publisher
    assert bytes(publisher.given) == b"".join(audio(100, mark) for mark in range(1, 6))
    messages = [message for _, message in publisher.messages]
    assert keyframes(messages) == 13
    assert {(each["type"], each["fps"]) for each in messages} == {("avatarpool.frames", 25)}
    assert {each["context_id"] for each in messages} == {talk.ends[0].turn}
    assert decode(base64.b64decode(messages[-1]["frames"][-1])).end
    assert positions(talk) == [(0.5, False)]
    assert [(end.played_ms, end.is_interrupted, end.error) for end in talk.ends] == [
        (500, False, None)
    ]
    assert not talk.lost


async def test_the_face_is_that_of_the_voice(pool):
    marks = [1, 2, 3, 4, 5]
    async with Talk(pool, output="flame", sample_rate=16000) as talk:
        await talk.heard([audio(40, mark) for mark in marks])
    frames = [frame for _, message in talk.publisher.messages for frame in message["frames"]]
    assert [round(frame["jaw_pose"][0]) for frame in frames] == marks  # as the service echoes


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
        Talk(pool, output=output, basis=LOCAL) as talk,
    ):
        await talk.heard([speech[:32000]], rate=16000)
    frames = [frame for _, message in talk.publisher.messages for frame in message["frames"]]
    assert len(frames) == 25
    assert all(names <= set(frame) for frame in frames)
    assert len({json.dumps(frame) for frame in frames}) > 10  # it moves


@pytest.mark.parametrize(
    ("piece_ms", "rate"),
    [(20, 24000), (30, 16000), (110, 24000), (70, 22050), (50, 16000), (550, 44100)],
)
async def test_voice_and_face_drift_40_ms_at_most(pool, piece_ms, rate):
    async with Talk(pool) as talk:
        await talk.heard([audio(piece_ms, rate=rate) for _ in range(1100 // piece_ms)], rate=rate)
    total_ms = talk.publisher.given_ms
    assert abs(total_ms - piece_ms * (1100 // piece_ms)) <= 20  # LiveKit resamples it
    shown = worst = 0
    for given_ms, message in talk.publisher.messages:
        assert message["start_ms"] == shown
        if shown < total_ms:
            worst = max(worst, abs(message["start_ms"] - given_ms))
        shown += 40 * keyframes([message])
    assert worst <= 40
    assert 0 <= shown - total_ms <= 80


async def test_an_interruption_leaves_nothing_behind_and_its_position_is_true(pool, is_back):
    async with Talk(pool) as talk:
        publisher, bounds = talk.publisher, []

        def note(end):  # at once: it was no more than would be heard by now
            given_ms, heard_until, heard_ms = publisher.cut_at
            unheard = max(0.0, heard_until - asyncio.get_running_loop().time())
            bounds.append((heard_ms, 1000 * end.playback_position, given_ms - 1000 * unheard))

        talk.output.once("playback_finished", note)
        first = talk.say([audio(500, 1)] * 20)  # 10 s
        async with asyncio.timeout(PATIENCE):
            while talk.publisher.given_ms < 400:
                await asyncio.sleep(0.01)
        first.interrupt()
        await first
        assert talk.finished[0].interrupted
        ((least, position, most),) = bounds
        assert least - 1 <= position <= most + 1  # it is rounded
        assert 0 < position < 9000
        cut = len(talk.publisher.given)
        told = len(talk.publisher.messages)
        await talk.heard([audio(200, 2)])
        assert bytes(talk.publisher.given[cut:]) == audio(200, 2)
        contexts = {message["context_id"] for _, message in talk.publisher.messages[told:]}
        assert contexts == {talk.ends[1].turn}
        assert positions(talk)[1:] == [(0.2, False)]
        await is_back()
    assert len(talk.finished) == 2


async def test_a_segment_ends_when_it_was_heard_and_not_when_that_was_expected(pool):
    async with Talk(pool) as talk:
        publisher = talk.publisher
        play, queued = publisher.play, []

        async def hesitate(frame):
            await asyncio.sleep(0.1)
            await play(frame)

        publisher.play = hesitate
        talk.output.on("playback_finished", lambda _: queued.append(publisher.queued))
        await talk.heard([audio(80)] * 4)
    assert len(queued) == 1
    assert queued[0] < 0.05


async def test_segments_follow_each_other(pool):
    async with Talk(pool) as talk:
        async with asyncio.timeout(PATIENCE):
            for speaking in [talk.say([audio(100), audio(100)]) for _ in range(3)]:
                await speaking
    assert positions(talk) == [(0.2, False)] * 3
    assert len({end.turn for end in talk.ends}) == 3
    assert [message["start_ms"] for _, message in talk.publisher.messages].count(0) == 3


async def test_two_channels_are_mixed(pool):
    stereo = bytes([10, 0, 30, 0]) * (RATE // 10)
    async with Talk(pool) as talk:
        await talk.heard([stereo], channels=2)
    assert bytes(talk.publisher.given) == bytes([20, 0]) * (RATE // 10)


async def test_a_frame_that_is_no_audio_silences_nobody(pool, caplog):
    wrong = [
        rtc.AudioFrame(audio(10), RATE, -1, 10),
        rtc.AudioFrame(audio(10), RATE, 0, 10),
        rtc.AudioFrame(audio(100), RATE, 65, 10),
    ]
    more = rtc.AudioFrame(audio(100, 2) + audio(7, 3), RATE, 1, RATE // 10)  # than it has
    async with Talk(pool) as talk, asyncio.timeout(PATIENCE):
        output = talk.output
        for each in (frame(audio(100)), *wrong, more):
            await output.capture_frame(each)
        output.flush()
        await output.wait_for_playout()
    assert bytes(talk.publisher.given) == audio(100) + audio(100, 2)
    assert keyframes(message for _, message in talk.publisher.messages) == 5
    assert positions(talk) == [(0.2, False)]
    told = [line.getMessage() for line in caplog.records if "is left out" in line.getMessage()]
    assert len(told) == 2
    assert "give a number of 1 to 64" in told[0]


async def test_a_full_pool_lets_the_agent_speak_without_a_face_and_says_so(pool, caplog):
    async with Talk(pool, timeout=0.01) as talk, pool.borrow():
        await talk.heard([audio(100, mark) for mark in range(5)])
    assert bytes(talk.publisher.given) == b"".join(audio(100, mark) for mark in range(5))
    assert not talk.publisher.messages
    assert [type(each.error) for each in talk.lost] == [PoolTimeout]
    assert "goes on without a face" in caplog.text
    assert positions(talk) == [(0.5, False)]


async def test_a_pool_that_is_down_lets_the_agent_speak(service):
    closed = AvatarConnectionPool(1, service.config_factory)
    async with Talk(closed) as talk:
        for _ in range(2):
            await talk.heard([audio(200)])
    assert bytes(talk.publisher.given) == audio(400)
    assert len(talk.lost) == 2  # one a segment
    assert positions(talk) == [(0.2, False)] * 2


async def test_a_session_that_dies_takes_its_face_along_and_not_the_voice(service):
    service.faults.sessions = SessionFault(resets=True, after_frames=5)
    async with AvatarConnectionPool(1, service.config_factory) as dying, Talk(dying) as talk:
        await talk.heard([audio(100) for _ in range(10)])
    assert bytes(talk.publisher.given) == audio(1000)
    assert len(talk.lost) == 1
    assert talk.ends[0].error is talk.lost[0].error
    assert positions(talk) == [(1.0, False)]


async def test_a_slow_service_holds_the_voice_up_once_and_what_is_late_is_skipped(service):
    service.faults.sessions = SessionFault(stalls_at=Step.FRAMES, after_frames=2)
    async with (
        AvatarConnectionPool(1, service.config_factory) as slow,
        Talk(slow, face_wait=0.1) as talk,
    ):
        await talk.heard([audio(700), audio(100)])
    assert bytes(talk.publisher.given) == audio(800)
    assert positions(talk) == [(0.8, False)]
    for given_ms, message in talk.publisher.messages[:-1]:
        assert abs(given_ms - message["start_ms"]) <= 40


async def test_agents_share_a_pool_and_wait_for_each_other(pool):
    async def one():
        async with Talk(pool) as talk:
            await talk.heard([audio(100)] * 3)
        return talk

    for talk in await asyncio.gather(*[one() for _ in range(3)]):
        assert keyframes(message for _, message in talk.publisher.messages) == 8
        assert positions(talk) == [(0.3, False)]


async def test_a_group_gives_each_agent_its_avatar():
    async with (
        LocalAvatarService(avatar_ids=("ann", "bob")) as service,
        AvatarPoolGroup(
            lambda key: replace(service.config_factory(), avatar_id=key.avatar_id),
            budget=LocalBudget(2),
        ) as group,
    ):
        for name in ("ann", "bob"):
            async with Talk(group, avatar_id=name) as talk:
                await talk.heard([audio(200)])
            (_, message), *_ = talk.publisher.messages
            assert decode(base64.b64decode(message["frames"][0])).avatar_id == name


async def test_closing_amid_speech_ends_it_and_returns_the_session(pool, is_back):
    async with Talk(pool) as talk:
        speaking = talk.say([audio(500)] * 20)
        await talk.publisher.is_playing.wait()
        await talk.face.aclose()
        await is_back()
        assert talk.publisher.is_closed
        async with asyncio.timeout(PATIENCE):
            await speaking
            await talk.say([audio(500)] * 20)  # which nobody hears, and nobody waits for
        await talk.face.aclose()  # as often as one likes
    assert all(was_interrupted for _, was_interrupted in positions(talk))
    assert len(positions(talk)) == talk.output.captured_playout_segments


async def test_closing_twice_at_once_and_speaking_on_are_no_error(pool, caplog):
    async with asyncio.timeout(PATIENCE), Talk(pool, publish=RoomPublisher, preview=True) as talk:
        speaking = talk.say([audio(100)] * 3)
        await asyncio.gather(talk.face.aclose(), talk.face.aclose())
        await speaking
        await talk.say([audio(100)] * 3)
    assert not [line for line in caplog.records if line.levelname == "ERROR"]


async def test_what_plays_and_fails_ends_the_speech(pool, caplog):
    async with Talk(pool) as talk:

        async def fail(frame):
            raise RuntimeError("no sound")

        talk.publisher.play = fail
        await talk.heard([audio(500)] * 4)
        await talk.heard([audio(500)] * 4)
    assert all(was_interrupted for _, was_interrupted in positions(talk))
    assert "is not played any more" in caplog.text


async def test_a_face_that_cannot_be_sent_costs_no_voice(pool, caplog):
    class NoMail(Recorder):
        def send(self, message):
            raise RuntimeError("no mail")

    async with Talk(pool, publish=NoMail()) as talk:
        await talk.heard([audio(200)])
    assert positions(talk) == [(0.2, False)]
    assert "cannot be sent" in caplog.text


async def test_a_listener_that_fails_costs_nothing(pool, caplog):
    async with Talk(pool) as talk:

        def listen(end):
            raise TypeError("mine")

        talk.face.on("turn_finished", listen)
        talk.output.on("playback_started", listen)
        talk.output.on("playback_finished", listen)
        await talk.heard([audio(100)])
        await talk.heard([audio(100)])
    assert positions(talk) == [(0.1, False)] * 2
    assert "listener" in caplog.text


async def test_before_its_room_is_connected_nothing_is_heard_and_an_interruption_ends_it(pool):
    async with asyncio.timeout(PATIENCE), Talk(pool, publish=RoomPublisher) as talk:
        await talk.face.wait_for_join()
        assert not talk.face.avatar_identity
        speaking = talk.say([audio(100)] * 3)
        while not talk.output.captured_playout_segments:
            await asyncio.sleep(0.01)
        assert not talk.finished
        speaking.interrupt()
        await speaking
        assert positions(talk) == [(0.0, True)]


async def test_one_is_started_once(pool):
    async with Talk(pool) as talk:
        with pytest.raises(SessionStateError, match="started once"):
            await talk.face.start(talk.session, talk.room)


async def test_one_that_was_never_started_closes(pool):
    face = AvatarSession(pool)
    assert repr(face) == f"<AvatarSession <Speech over {pool!r}, <Playout 0 turns, 0 held>>>"
    await face.aclose()


def test_what_cannot_work_is_told(pool):
    with pytest.raises(ConfigurationError, match="'glb' is none of message, flame, arkit"):
        AvatarSession(pool, output="glb")
    with pytest.raises(ConfigurationError, match="a pool's sessions have theirs"):
        AvatarSession(pool, avatar_id="a")


async def test_frames_without_samples_end_like_others(pool):
    async with Talk(pool) as talk:
        await talk.output.capture_frame(frame(b""))
        talk.output.flush()
        async with asyncio.timeout(PATIENCE):
            await talk.output.wait_for_playout()
    assert positions(talk) == [(0.0, False)]
