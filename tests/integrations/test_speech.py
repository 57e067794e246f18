"""An agent's turns over a real pool and the local service, over real sockets."""

from __future__ import annotations

import asyncio

import pytest

from avatarpool import AvatarConnectionPool, AvatarPoolGroup, LocalBudget, SessionConfig
from avatarpool.exceptions import (
    AudioError,
    AvatarSDKError,
    ConfigurationError,
    PoolClosed,
    PoolTimeout,
    SessionStateError,
)
from avatarpool.integrations import face_request
from avatarpool.integrations.speech import Speech
from avatarpool.integrations.turn import Aside, Face, FaceLost, Finished, Voice, VoiceEnd
from avatarpool.lipsync import EchoDriver
from avatarpool.protocol.keyframes import Keyframe
from avatarpool.service import LocalAvatarService, SessionFault, Step

PATIENCE = 30.0  # for what comes at once, on a busy machine


@pytest.fixture
async def speech(pool):
    made = Speech(pool, face_wait=PATIENCE, timeout=PATIENCE)
    yield made
    await made.aclose()


def audio(ms, rate=16000, channels=1):
    return bytes([1, 2]) * (ms * rate // 1000 * channels)


async def taken(speech, until=Finished):
    """Take what goes out, up to and with the first of a kind."""
    items = []
    async with asyncio.timeout(2 * PATIENCE):
        while not any(isinstance(item, until) for item in items):
            await speech.ready()
            items += speech.take()
    return items


def of(kind, items):
    return [item for item in items if isinstance(item, kind)]


def keyframes(items):
    return sum(len(frame.keyframes) for face in of(Face, items) for frame in face.frames)


async def is_back(pool):
    """Wait until the pool's only session is lent to nobody."""
    async with pool.borrow(timeout=PATIENCE):
        pass


async def test_a_turn_comes_out_whole_with_its_face_in_step(speech, pool):
    speech.begin("t")
    pieces = [audio(50) for _ in range(10)]
    for number, each in enumerate(pieces):
        speech.push(each, 16000, origin=number)
    speech.end(origin="end")
    items = await taken(speech)
    given_ms = 0.0
    for item in items:
        if isinstance(item, Face):
            assert abs(item.start_ms - given_ms) <= 40
        elif isinstance(item, Voice):
            given_ms += item.duration_ms
    voice = of(Voice, items)
    assert [(each.audio, each.origin) for each in voice] == list(
        zip(pieces, range(10), strict=True)
    )
    assert keyframes(items) == 13
    assert of(Face, items)[-1].frames[-1].end
    assert of(VoiceEnd, items) == [VoiceEnd("t", "end")]
    assert items[-1] == Finished("t", 500, False, None)
    await is_back(pool)
    assert pool.get_stats()["total_requests_served"] == 1


@pytest.mark.parametrize(("rate", "channels"), [(24000, 1), (44100, 2), (8000, 1), (48000, 1)])
async def test_audio_of_any_rate_has_a_face_of_its_length(speech, rate, channels):
    speech.begin()
    for _ in range(20):
        speech.push(audio(50, rate, channels), rate, channels)
    speech.end()
    items = await taken(speech)
    assert keyframes(items) == 25
    assert b"".join(each.audio for each in of(Voice, items)) == audio(50, rate, channels) * 20
    assert items[-1].played_ms == 1000


@pytest.mark.parametrize("rate", [8000, 24000, 48000])
async def test_audio_is_resampled_to_whatever_a_pools_sessions_take(service, rate):
    """The service echoes the audio at each keyframe's beginning."""

    def config():
        return service.config_factory(sample_rate=rate)

    async with AvatarConnectionPool(1, config) as other:
        speech = Speech(other, face_wait=PATIENCE, timeout=PATIENCE)
        speech.begin()
        for mark in range(1, 6):
            speech.push(bytes([mark, 0]) * 640, 16000)
        speech.end()
        items = await taken(speech)
        jaws = [
            each.jaw_pose[0]
            for face in of(Face, items)
            for frame in face.frames
            for each in frame.keyframes
        ]
        assert [round(jaw) for jaw in jaws] == [1, 2, 3, 4, 5]
        await speech.aclose()


async def test_after_a_gap_the_voice_waits_for_its_face_again(pool):
    speech = Speech(pool, face_wait=3.0, timeout=PATIENCE)
    speech.begin()
    for _ in range(10):
        speech.push(audio(40), 16000)
    items = []
    while len(of(Voice, items)) < 10:  # the last one waits in vain, until more is heard
        items += await taken(speech, Voice)
    assert keyframes(items) == 9
    speech.heard(0.0)
    for _ in range(10):
        speech.push(audio(40), 16000)
    speech.end()
    items = await taken(speech)
    assert keyframes(items) == 10
    assert of(Face, items)[0].start_ms == 400
    assert items[-1].error is None
    await speech.aclose()


async def test_a_rate_may_change_amid_a_turn(speech):
    speech.begin()
    speech.push(audio(200, 24000), 24000)
    speech.push(audio(200, 8000), 8000)
    speech.end()
    assert keyframes(await taken(speech)) == 10


async def test_turns_are_animated_one_after_another_with_one_session(speech):
    for name in "abc":
        speech.aside(f"before {name}")
        speech.begin(name)
        speech.push(audio(120), 16000)
        speech.end()
    items = []
    for _ in "abc":
        items += await taken(speech)
    assert [end.turn for end in of(Finished, items)] == ["a", "b", "c"]
    assert [len(face.frames) for face in of(Face, items)] == [3, 3, 3]
    order = [item for item in items if isinstance(item, Aside | VoiceEnd)]
    assert [type(item) for item in order] == [Aside, VoiceEnd] * 3


async def test_an_interrupt_stops_the_service_and_returns_the_session(service, pool):
    service.faults.sessions = SessionFault(stalls_at=Step.FRAMES, after_frames=5)
    async with AvatarConnectionPool(1, service.config_factory) as stalling:
        speech = Speech(stalling, face_wait=PATIENCE)
        speech.begin("t")
        speech.push(audio(200), 16000)
        speech.push(audio(200), 16000)
        speech.end()
        await taken(speech, Voice)
        speech.interrupt()
        items = await taken(speech)
        assert [(end.turn, end.is_interrupted) for end in items] == [("t", True)]
        service.faults.sessions = None
        speech.begin("next")
        speech.push(audio(200), 16000)
        speech.end()
        items = await taken(speech)
        assert (items[-1].turn, items[-1].error) == ("next", None)
        await speech.aclose()


async def test_a_turn_that_was_interrupted_before_its_session_came_lets_it_go(pool):
    speech = Speech(pool, face_wait=PATIENCE)
    async with pool.borrow():
        speech.begin("t")
        speech.push(audio(200), 16000)
        await asyncio.sleep(0)
        speech.interrupt()
        assert speech.take()[0].played_ms == 0
    await is_back(pool)
    await speech.aclose()


async def test_a_pool_that_is_full_lets_the_voice_go_alone(pool):
    speech = Speech(pool, face_wait=PATIENCE, timeout=0.01)
    async with pool.borrow():
        speech.begin("t")
        speech.push(audio(300), 16000)
        speech.end()
        items = await taken(speech)
    lost, voice, _, end = items
    assert isinstance(lost, FaceLost)
    assert isinstance(lost.error, PoolTimeout)
    assert (voice.audio, end) == (audio(300), Finished("t", 300, False, lost.error))


async def test_a_voice_that_is_over_before_its_face_came_says_so(pool):
    speech = Speech(pool, face_wait=0.0, timeout=PATIENCE)
    async with pool.borrow():  # the only session
        speech.begin("t")
        speech.push(audio(100), 16000)
        speech.end()
        items = await taken(speech)
    (lost,) = of(FaceLost, items)
    (finished,) = of(Finished, items)
    assert not keyframes(items)
    assert finished.error is lost.error
    assert not finished.is_interrupted
    await speech.aclose()


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"sessions": None}, "no pool and no group"),
        ({"sessions": AvatarConnectionPool}, "no pool and no group"),
        ({"avatar_id": 3}, "avatar_id is no text"),
        ({"sample_rate": "16000"}, "none of 8000"),
        ({"sample_rate": 0}, "none of 8000"),
    ],
)
async def test_what_could_give_no_face_is_refused_at_once(pool, wrong, why):
    with pytest.raises(ConfigurationError, match=why):
        Speech(**{"sessions": pool, **wrong})


async def test_a_pool_that_is_closed_lets_the_voice_go_alone(service):
    speech = Speech(AvatarConnectionPool(1, service.config_factory), face_wait=PATIENCE)
    speech.begin()
    speech.push(audio(300), 16000)
    speech.end()
    items = await taken(speech)
    assert isinstance(of(FaceLost, items)[0].error, PoolClosed)
    assert of(Voice, items)[0].is_whole


@pytest.mark.parametrize(
    "fault", [SessionFault(resets=True, after_frames=5), SessionFault(close_code=4503)]
)
async def test_a_session_that_dies_lets_the_voice_go_on(service, fault):
    service.faults.sessions = fault
    async with AvatarConnectionPool(1, service.config_factory) as dying:
        speech = Speech(dying, face_wait=PATIENCE, timeout=PATIENCE)
        speech.begin("t")
        for _ in range(10):
            speech.push(audio(100), 16000)
        speech.end()
        items = await taken(speech)
        assert isinstance(of(FaceLost, items)[0].error, AvatarSDKError)
        assert len(of(FaceLost, items)) == 1
        assert b"".join(each.audio for each in of(Voice, items)) == audio(1000)
        assert items[-1].played_ms == 1000
        await speech.aclose()


async def test_a_slow_service_delays_the_voice_once_and_late_keyframes_are_dropped(service):
    service.faults.sessions = SessionFault(stalls_at=Step.FRAMES, after_frames=3)
    async with AvatarConnectionPool(1, service.config_factory) as slow:
        speech = Speech(slow, face_wait=0.2)
        speech.begin("t")
        for _ in range(10):
            speech.push(audio(100), 16000)
        speech.end()
        items = await taken(speech)
        assert b"".join(each.audio for each in of(Voice, items)) == audio(1000)
        (lost,) = of(FaceLost, items)  # it had three keyframes
        assert items[-1] == Finished("t", 1000, False, lost.error)
        await is_back(slow)  # nobody waits for what nobody will see
        await speech.aclose()


class _Talkative(EchoDriver):
    """Gives keyframes for a minute, whatever the audio."""

    def feed(self, pcm):
        return super().feed(pcm) + [Keyframe()] * 1500


async def test_a_service_that_gives_more_than_was_asked_for_loses_its_face():
    async with (
        LocalAvatarService(driver=_Talkative) as service,
        AvatarConnectionPool(1, service.config_factory) as pool,
    ):
        speech = Speech(pool, face_wait=PATIENCE, timeout=PATIENCE)
        speech.begin()
        speech.push(audio(200), 16000)
        (lost,) = of(FaceLost, await taken(speech, FaceLost))
        assert "keyframes in" in str(lost.error)
        speech.end()
        assert (await taken(speech))[-1].played_ms == 200
        await speech.aclose()


async def test_a_group_is_asked_for_the_avatar_and_the_rate(service):
    asked = []

    def config_for(key):
        asked.append(key)
        return service.config_factory()

    async with AvatarPoolGroup(config_for, budget=LocalBudget(1)) as group:
        speech = Speech(
            group, avatar_id="local-avatar", sample_rate=24000, face_wait=PATIENCE, timeout=PATIENCE
        )
        speech.begin()
        speech.push(audio(400), 16000)
        speech.end()
        assert keyframes(await taken(speech)) == 10
        assert (asked[0].avatar_id, asked[0].sample_rate) == ("local-avatar", 24000)
        await speech.aclose()


async def test_what_a_hook_raises_is_a_lost_face_and_no_more(service):
    def factory():
        raise RuntimeError("vault")

    async with AvatarConnectionPool(config_factory=service.config_factory) as pool:
        speech = Speech(pool, face_wait=PATIENCE)
        pool.borrow = lambda *_: factory()
        speech.begin()
        speech.push(audio(100), 16000)
        speech.end()
        items = await taken(speech)
        assert "vault" in str(of(FaceLost, items)[0].error)


async def test_a_turn_whose_audio_stays_away_gives_its_session_back(pool, monkeypatch):
    monkeypatch.setattr(face_request, "_PIECE_TIMEOUT", 0.01)
    speech = Speech(pool, face_wait=PATIENCE, timeout=PATIENCE)
    speech.begin()
    speech.push(audio(100), 16000)
    (lost,) = of(FaceLost, await taken(speech, FaceLost))
    assert isinstance(lost.error, AudioError)
    await is_back(pool)
    speech.push(audio(100), 16000)
    speech.end()
    assert (await taken(speech))[-1].played_ms == 200
    await speech.aclose()


async def test_audio_that_nobody_takes_is_not_kept_without_end(pool, monkeypatch):
    monkeypatch.setattr(face_request, "_MAX_WAITING_BYTES", 10_000)
    speech = Speech(pool, face_wait=PATIENCE, timeout=PATIENCE)
    async with pool.borrow():
        speech.begin()
        for _ in range(4):
            speech.push(audio(100), 16000)
        (lost,) = of(FaceLost, await taken(speech, FaceLost))
        assert "10000 bytes" in str(lost.error)
    await speech.aclose()


async def test_closing_ends_turns_and_returns_sessions(pool):
    speech = Speech(pool, face_wait=PATIENCE)
    speech.begin("t", is_protected=True)
    speech.push(audio(2000), 16000)
    await taken(speech, Voice)
    await speech.aclose()
    (end,) = speech.take()
    assert (end.turn, end.is_interrupted) == ("t", True)
    await is_back(pool)
    await speech.idle()


async def test_who_knows_what_was_heard_may_say_so(pool):
    speech = Speech(pool, face_wait=PATIENCE, timeout=PATIENCE)
    speech.begin("t")
    speech.push(audio(1000), 16000)
    speech.end()
    await taken(speech, VoiceEnd)
    speech.heard(0.75)
    speech.interrupt()
    (end,) = speech.take()
    assert (end.is_interrupted, end.played_ms) == (True, pytest.approx(250, abs=25))
    await speech.aclose()


def test_what_does_not_go_together_is_told(service):
    pool = AvatarConnectionPool(1, service.config_factory)
    group = AvatarPoolGroup(lambda key: SessionConfig(), budget=LocalBudget(1))
    with pytest.raises(ConfigurationError, match="a pool's sessions have theirs"):
        Speech(pool, avatar_id="a")
    with pytest.raises(ConfigurationError, match="a group is asked for an avatar_id"):
        Speech(group)
    with pytest.raises(ConfigurationError, match="face_wait"):
        Speech(pool, face_wait="long")
    with pytest.raises(ConfigurationError, match="timeout -1 is negative"):
        Speech(pool, timeout=-1)


async def test_audio_belongs_to_a_turn(speech):
    with pytest.raises(SessionStateError, match="begin one"):
        speech.push(audio(20), 16000)
    with pytest.raises(SessionStateError, match="nothing to end"):
        speech.end()


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ((b"odd", 16000, 1), "3 bytes are no whole number of 16-bit samples: send it whole"),
        ((b"abcdef", 16000, 2), "6 bytes are no whole number of 16-bit samples of 2 channels"),
        ((b"", 16000, 1), "has no samples: leave it out"),
        (("text", 16000, 1), "no bytes but of type str: give 16-bit PCM"),
        ((None, 16000, 1), "no bytes but of type NoneType"),
        ((b"abcd", 16000, 0), "cannot have 0 channels: give a number of 1 to 64"),
        ((b"abcd", 16000, -1), "cannot have -1 channels"),
        ((b"abcd", 16000, "2"), "cannot have '2' channels"),
        ((b"abcd", 1, 1), "cannot have 1 samples a second: give a whole number of 4000 to 384000"),
        ((b"abcd", "x", 1), "cannot have 'x' samples a second"),
        ((b"abcd", float("nan"), 1), "cannot have nan samples a second"),
    ],
)
async def test_what_is_no_audio_is_refused_in_a_sentence_and_costs_no_turn(speech, wrong, why):
    speech.begin("t")
    with pytest.raises(AudioError, match=why):
        speech.push(*wrong)
    speech.push(audio(200), 16000)
    speech.end()
    items = await taken(speech)
    assert keyframes(items) == 5
    assert items[-1] == Finished("t", 200, False, None)


@pytest.mark.parametrize("seen", [lambda buffer: buffer, memoryview])
async def test_audio_may_be_in_any_bytes_and_change_later(speech, seen):
    buffer = bytearray(audio(200))
    speech.begin()
    speech.push(seen(buffer), 16000)
    buffer[:] = bytes(len(buffer))
    speech.end()
    items = await taken(speech)
    assert of(Voice, items)[0].audio == audio(200)
    assert keyframes(items) == 5
