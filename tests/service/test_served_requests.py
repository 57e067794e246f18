from __future__ import annotations

import asyncio
import statistics
import threading
import time
from typing import ClassVar

import pytest
from opus_clips import ogg_opus
from raw_client import in_session
from shells import SHELLS, on_aiohttp

from avatarpool.lipsync import DspDriver, default_driver
from avatarpool.protocol.keyframes import Keyframe
from avatarpool.protocol.messages import AnimationFrame, Interrupt
from avatarpool.protocol.settings import PCM_SAMPLE_RATES, AudioFormat
from avatarpool.service import ServiceLimits


@pytest.fixture(params=SHELLS)
def shell(request):
    return request.param


def keyframes(frames: list[AnimationFrame]) -> list[Keyframe]:
    return [keyframe for frame in frames for keyframe in frame.keyframes]


async def test_a_clip_becomes_a_keyframe_a_message_the_last_one_marked(service, speech):
    async with in_session(service) as client:
        await client.audio("r", speech, end=True)
        frames = await client.frames("r")

    assert len(frames) == 75
    assert [frame.end for frame in frames] == [False] * 74 + [True]
    assert all(len(frame.keyframes) == 1 for frame in frames)
    assert {frame.avatar_id for frame in frames} == {service.avatar_ids[0]}
    assert len({frame.connection_id for frame in frames}) == 1
    assert frames[0].connection_id


@on_aiohttp
async def test_frames_are_the_driver_s_in_single_precision(shell, speech):
    async with shell(seed=5) as service, in_session(service) as client:
        await client.audio("r", speech, end=True)
        got = keyframes(await client.frames("r"))

    driver = default_driver(16000, 5)
    for ours, served in zip(driver.feed(speech) + driver.finish(), got, strict=True):
        assert served.jaw_pose == pytest.approx(ours.jaw_pose, abs=1e-6)
        assert served.expression == pytest.approx(ours.expression, abs=1e-6)


@on_aiohttp
async def test_the_same_seed_gives_the_same_bytes(shell, speech):
    async def animations(seed: int) -> list[bytes]:
        async with shell(seed=seed) as service, in_session(service) as client:
            await client.audio("r", speech, end=True)
            return [frame.animation for frame in await client.frames("r")]

    assert await animations(1) == await animations(1) != await animations(2)


async def test_chunks_of_any_size_give_the_same_frames(service, speech):
    async with in_session(service) as client:
        await client.audio("whole", speech, end=True)
        whole = keyframes(await client.frames("whole"))
        for size in (333, 1280, 20000):
            req_id = f"by {size}"
            for start in range(0, len(speech), size):
                await client.audio(req_id, speech[start : start + size])
            await client.audio(req_id, b"", end=True)
            assert keyframes(await client.frames(req_id)) == whole


async def test_frames_come_while_audio_still_arrives(service, speech):
    async with in_session(service) as client:
        await client.audio("r", speech[:16000])
        early = [await client.receive() for _ in range(9)]  # and 110 ms of lookahead
        await client.audio("r", speech[16000:32000], end=True)
        late = await client.frames("r")

    assert all(isinstance(frame, AnimationFrame) and not frame.end for frame in early)
    assert len(late) == 25 - 9


@pytest.mark.parametrize("sample_rate", PCM_SAMPLE_RATES)
async def test_all_rates_give_25_keyframes_a_second(service, sample_rate):
    async with in_session(service, sample_rate) as client:
        await client.audio("r", bytes(2 * sample_rate), end=True)

        assert len(await client.frames("r")) == 25


@on_aiohttp
@pytest.mark.parametrize("chunk", [100, 1 << 20])
async def test_opus_gives_the_frames_of_its_speech(service, speech, chunk):
    encoded = ogg_opus(speech)
    async with in_session(service, 16000, AudioFormat.OGG_OPUS) as client:
        for start in range(0, len(encoded), chunk):
            is_last = start + chunk >= len(encoded)
            await client.audio("r", encoded[start : start + chunk], end=is_last)
        got = keyframes(await client.frames("r"))

    driver = default_driver(16000, 0)
    expected = driver.feed(speech) + driver.finish()
    assert len(got) == len(expected)
    jaws = [[keyframe.jaw_pose[0] for keyframe in side] for side in (got, expected)]
    assert statistics.correlation(*jaws) > 0.95


async def test_opus_frames_come_while_audio_still_arrives(service, speech):
    encoded = ogg_opus(speech)
    async with in_session(service, 24000, AudioFormat.OGG_OPUS) as client:
        await client.audio("r", encoded[: len(encoded) // 2])

        assert isinstance(await client.receive(), AnimationFrame)


async def test_a_request_without_audio_is_answered_by_an_empty_last_frame(service):
    async with in_session(service) as client:
        await client.audio("r", b"", end=True)

        (frame,) = await client.frames("r")
        assert frame.animation == b""


async def test_requests_follow_one_another_in_one_session(service, syllable):
    async with in_session(service) as client:
        for i in range(5):
            await client.audio(f"r{i}", syllable, end=True)
            assert len(await client.frames(f"r{i}")) == 7
    assert service.counters.requests_served == 5
    assert service.counters.requests_open == 0


async def test_two_requests_at_once_do_not_mix(service, speech):
    async with in_session(service) as client:
        await client.audio("loud", speech, end=True)
        await client.audio("still", bytes(len(speech)), end=True)
        frames: dict[str, list[AnimationFrame]] = {"loud": [], "still": []}
        while not all(side and side[-1].end for side in frames.values()):
            frame = await client.receive()
            assert isinstance(frame, AnimationFrame)
            frames[frame.req_id].append(frame)

    assert len(frames["loud"]) == len(frames["still"]) == 75
    assert max(keyframe.jaw_pose[0] for keyframe in keyframes(frames["still"])) == 0.0
    assert max(keyframe.jaw_pose[0] for keyframe in keyframes(frames["loud"])) > 0.1


@pytest.mark.parametrize("has_ended", [False, True])
async def test_an_interrupt_is_answered_by_one_last_frame_and_no_more(service, speech, has_ended):
    async with in_session(service) as client:
        await client.audio("long", speech * 40, end=has_ended)
        await client.send(Interrupt("long"))
        frames = await client.frames("long")
        assert len(frames) < 1000  # of 2990
        assert frames[-1].animation == b""

        await client.send(Interrupt("long"))
        await client.audio("next", speech, end=True)
        assert len(await client.frames("next")) == 75
    assert service.counters.requests_interrupted == 1
    assert service.counters.requests_open == 0


async def test_an_interrupt_after_the_last_frame_changes_nothing(service, syllable):
    async with in_session(service) as client:
        await client.audio("r", syllable, end=True)
        await client.frames("r")
        await client.send(Interrupt("r"))
        await client.audio("next", syllable, end=True)

        assert len(await client.frames("next")) == 7


async def test_an_interrupt_of_a_request_never_heard_of_is_answered(service):
    async with in_session(service) as client:
        await client.send(Interrupt("r"))

        assert len(await client.frames("r")) == 1


async def test_audio_after_the_end_is_an_error_of_that_request_alone(service, syllable):
    async with in_session(service) as client:
        await client.audio("r", syllable, end=True)
        await client.frames("r")
        await client.audio("r", syllable)
        error = await client.error()
        assert (error.code, error.req_id) == (3, "r")
        assert error.message.startswith("audio after the end of request r")

        await client.audio("next", syllable, end=True)
        assert len(await client.frames("next")) == 7


async def test_audio_after_the_end_gives_up_what_is_still_being_animated(service, speech):
    async with in_session(service) as client:
        await client.audio("r", speech * 20, end=True)
        await client.audio("r", speech)
        assert (await client.error()).req_id == "r"

        await client.audio("next", speech, end=True)
        assert len(await client.frames("next")) == 75  # and none of r


async def test_half_a_sample_is_an_error_of_that_request_alone(service, syllable):
    async with in_session(service) as client:
        await client.audio("r", b"\0\0\0", end=True)
        error = await client.error()
        assert (error.code, error.req_id) == (3, "r")
        assert error.message == "s16le audio has an odd number of bytes"

        await client.audio("next", syllable, end=True)
        assert len(await client.frames("next")) == 7


async def test_what_is_no_opus_is_an_error_of_that_request_alone(service, speech):
    async with in_session(service, 16000, AudioFormat.OGG_OPUS) as client:
        await client.audio("r", b"RIFFxxxxWAVE")
        error = await client.error()
        assert (error.code, error.req_id) == (3, "r")
        assert error.message.startswith("audio is no ogg stream")
        await client.audio("r", b"more of it")  # dropped in silence
        await client.audio("r", b"", end=True)

        await client.audio("next", ogg_opus(speech), end=True)
        assert len(await client.frames("next")) == 75
    assert service.counters.requests_failed == 1


async def test_a_request_may_play_so_long_and_no_longer(shell, speech):
    limits = ServiceLimits(max_request_seconds=1.0)
    async with shell(limits=limits) as service, in_session(service) as client:
        await client.audio("r", speech, end=True)
        error = await client.error()

        assert (error.code, error.req_id) == (3, "r")
        assert error.message == "request audio is longer than 1 s"


async def test_a_request_may_be_so_large_and_no_larger(shell, speech):
    limits = ServiceLimits(max_request_bytes=40000)
    async with shell(limits=limits) as service, in_session(service) as client:
        await client.audio("r", speech[:40000])
        await client.audio("r", speech[40000:40002])
        error = await client.error()

        assert (error.code, error.req_id) == (3, "r")
        assert error.message == "request audio is larger than 40000 bytes"


async def test_more_requests_at_once_than_allowed_are_refused(shell, speech):
    limits = ServiceLimits(max_open_requests=1)
    async with shell(limits=limits) as service, in_session(service) as client:
        await client.audio("one", speech[:3200])
        await client.audio("two", speech[:3200], end=True)
        error = await client.error()
        assert (error.code, error.req_id) == (3, "two")

        await client.audio("one", b"", end=True)
        assert (await client.frames("one"))[-1].end


@pytest.mark.parametrize("req_id", ["", "x" * 129])
async def test_a_request_needs_an_id_of_a_sane_length(service, syllable, req_id):
    async with in_session(service) as client:
        await client.audio(req_id, syllable, end=True)
        error = await client.error()
        assert error.code == 3
        assert len(error.req_id) <= 128

        await client.send(Interrupt(req_id))
        assert (await client.error()).code == 3


async def test_audio_beyond_the_buffer_waits_and_is_animated_all_the_same(shell, speech):
    limits = ServiceLimits(max_buffered_bytes=1000)
    async with shell(limits=limits) as service, in_session(service) as client:
        for start in range(0, len(speech), 9600):
            await client.audio("r", speech[start : start + 9600])
        await client.audio("r", b"", end=True)

        assert len(await client.frames("r")) == 75


class BrokenDriver:
    def __init__(self, sample_rate: int, seed: int) -> None:
        pass

    def feed(self, pcm: bytes) -> list[Keyframe]:
        raise ZeroDivisionError("as drivers do")

    def finish(self) -> list[Keyframe]:
        return []


@on_aiohttp
async def test_a_driver_that_fails_costs_its_request_and_not_the_session(shell, syllable, caplog):
    async with shell(driver=BrokenDriver) as service, in_session(service) as client:
        await client.audio("r", syllable, end=True)
        error = await client.error()
        assert (error.code, error.req_id) == (13, "r")
        assert error.message == "the request could not be animated"
        assert "as drivers do" in caplog.text

        await client.audio("next", b"", end=True)
        assert len(await client.frames("next")) == 1


def make_no_driver(sample_rate: int, seed: int) -> DspDriver:
    raise LookupError("no model for this voice")


@on_aiohttp
async def test_a_driver_that_cannot_be_made_costs_its_request_and_not_the_session(
    shell, syllable, caplog
):
    async with shell(driver=make_no_driver) as service:
        async with in_session(service) as client:
            for req_id in ("r", "next"):
                await client.audio(req_id, syllable)
                error = await client.error()
                assert (error.code, error.req_id) == (13, req_id)
                assert error.message == "the request could not be animated"
                assert service.counters.requests_open == 0
                await client.audio(req_id, b"", end=True)  # dropped in silence
        assert "no model for this voice" in caplog.text

    assert service.counters.requests_open == 0
    assert service.counters.requests_failed == 2


class CountingDriver(DspDriver):
    threads: ClassVar[set[str]] = set()
    longest = 0

    def feed(self, pcm: bytes) -> list[Keyframe]:
        CountingDriver.threads.add(threading.current_thread().name)
        CountingDriver.longest = max(CountingDriver.longest, len(pcm))
        return super().feed(pcm)


@on_aiohttp
async def test_animation_runs_in_worker_threads_a_step_at_a_time(shell, speech):
    async with (
        shell(driver=CountingDriver, workers=1) as service,
        in_session(service) as client,
    ):
        await client.audio("r", speech, end=True)
        await client.frames("r")

    assert CountingDriver.threads == {"avatarpool-lipsync_0"}
    assert CountingDriver.longest == 2 * 16 * 160
    assert not [t for t in threading.enumerate() if t.name.startswith("avatarpool-lipsync")]


@on_aiohttp
async def test_many_clients_at_once_get_their_own_frames(service, speech):
    async def ask(i: int) -> list[Keyframe]:
        async with in_session(service) as client:
            await client.audio(f"r{i}", speech[: 3200 * (i + 1)], end=True)
            return keyframes(await client.frames(f"r{i}"))

    answers = await asyncio.gather(*(ask(i) for i in range(20)))

    for i, answer in enumerate(answers):
        driver = default_driver(16000, 0)
        ours = driver.feed(speech[: 3200 * (i + 1)]) + driver.finish()
        assert [k.jaw_pose[0] for k in answer] == pytest.approx(
            [k.jaw_pose[0] for k in ours], abs=1e-6
        )


class LargeDriver(DspDriver):
    values = 0

    def feed(self, pcm: bytes) -> list[Keyframe]:
        return [Keyframe(expression=(0.5,) * self.values)] * 3 + super().feed(pcm)[:1]


@on_aiohttp
@pytest.mark.parametrize("values", [0, 1, 100, 17_000])
async def test_frames_of_any_size_arrive_whole(shell, speech, monkeypatch, values):
    monkeypatch.setattr(LargeDriver, "values", values)
    async with shell(driver=LargeDriver) as service, in_session(service) as client:
        await client.audio("r", speech[: 2 * 5120], end=True)
        frames = keyframes(await client.frames("r"))

    assert [len(k.expression) for k in frames] == [values, values, values, 100] * 2 + [100]


class SlowDriver(DspDriver):
    def feed(self, pcm: bytes) -> list[Keyframe]:
        time.sleep(0.8)
        return super().feed(pcm)


@on_aiohttp
async def test_a_session_is_not_idle_while_it_is_being_answered(shell):
    limits = ServiceLimits(idle_timeout=0.5)
    async with (
        shell(driver=SlowDriver, limits=limits) as service,
        in_session(service) as client,
    ):
        await client.audio("r", bytes(3200), end=True)

        assert len(await client.frames("r")) == 3
        assert (await client.error()).message == "no audio input for 0.5 s"
