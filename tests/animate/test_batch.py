"""Clips through a pool on the local service."""

import asyncio
import errno
import json
import shutil
import threading
from importlib.resources import as_file, files
from itertools import pairwise

import pytest
from motionless import Motionless

from avatarpool import AvatarConnectionPool, AvatarSDKError, LocalAvatarService, RequestTimeout
from avatarpool.animate import Batch, Clip, NoSession
from avatarpool.animate.files import write_jsonl
from avatarpool.exceptions import AudioError, PoolClosed
from avatarpool.service.faults import SessionFault, Step


@pytest.fixture
async def pool(service):
    async with AvatarConnectionPool(2, service.config_factory, quarantine_timeout=0.2) as opened:
        yield opened


@pytest.fixture
def clips(tmp_path):
    """Five copies of the clip, not animated yet."""
    made = []
    with as_file(files("avatarpool") / "assets" / "speech.wav") as speech:
        for number in range(5):
            made.append(Clip(tmp_path / f"{number}.wav", tmp_path / "out" / f"{number}.jsonl"))
            shutil.copy(speech, made[-1].source)
    return made


@pytest.fixture
def progress():
    return []


@pytest.fixture
def batch(pool, progress):
    return Batch(pool, write_jsonl, 10.0, lambda finished, done: progress.append((finished, done)))


def ignore(finished, done):
    """Take no interest in the progress."""


def outputs(clips):
    """Everything that is where the outputs belong."""
    return sorted(clips[0].output.parent.iterdir())


async def test_every_clip_becomes_its_file(batch, clips, pool):
    await batch.run(clips, 2)
    done = sorted(batch.animated, key=lambda done: clips.index(done.clip))
    assert [animated.clip for animated in done] == clips
    assert {(animated.frames, animated.seconds) for animated in done} == {(75, 2.990)}
    assert batch.failed == []
    assert outputs(clips) == [clip.output for clip in clips]
    for clip in clips:
        lines = [json.loads(line) for line in clip.output.read_text().splitlines()]
        assert len(lines) == 75
        assert max(line["jaw_pose"][0] for line in lines) > 0.05
    assert pool.get_stats()["total_requests_served"] == 5


async def test_progress_grows_with_the_frames_up_to_the_number_of_clips(batch, clips, progress):
    await batch.run(clips[:2], 1)
    assert all(before <= after + 1e-9 for (_, before), (_, after) in pairwise(progress))
    assert len({round(done, 6) for _, done in progress}) > 200  # of 300 frames and keyframes
    assert progress[-1] == (2, 2.0)


async def test_a_file_counts_as_finished_when_its_output_is_there(batch, clips, progress):
    await batch.run(clips[:2], 2)
    assert {finished for finished, _ in progress} == {0, 1, 2}
    assert all(finished <= done for finished, done in progress)
    assert max(done for finished, done in progress if finished == 0) > 1  # both nearly there


async def test_a_disk_that_is_full_costs_no_further_request(pool, clips):
    def write(_animation, _file, _tick):
        raise OSError(errno.ENOSPC, "No space left on device")

    batch = Batch(pool, write, 10.0, ignore)
    await batch.run(clips, 1)
    ((clip, error),) = batch.failed
    assert clip is clips[0]
    assert (error.errno, error.filename) == (errno.ENOSPC, str(clip.output))
    assert pool.get_stats()["total_requests_served"] == 1
    assert outputs(clips) == []


async def test_a_clip_that_is_no_audio_stops_no_other_one(batch, clips):
    clips[1].source.write_bytes(b"no audio")
    clips[3].source.unlink()
    await batch.run(clips, 2)
    reasons = dict(batch.failed)
    assert set(reasons) == {clips[1], clips[3]}
    assert isinstance(reasons[clips[1]], AudioError)
    assert isinstance(reasons[clips[3]], FileNotFoundError)
    assert outputs(clips) == [clips[number].output for number in (0, 2, 4)]


async def test_an_output_that_may_not_be_written_costs_no_request(batch, clips, pool):
    clips[0].output.parent.touch()  # a file where the folder should be
    await batch.run(clips, 2)
    assert len(batch.failed) == 5
    assert all(isinstance(error, OSError) for _, error in batch.failed)
    assert pool.get_stats()["total_requests_served"] == 0


async def test_a_connection_that_breaks_amid_a_clip_is_replaced_and_the_clip_sent_again(
    service, clips
):
    breaks = SessionFault(after_frames=10, close_code=4503)
    service.faults.next_sessions.extend([breaks, breaks])
    async with AvatarConnectionPool(1, service.config_factory) as pool:
        batch = Batch(pool, write_jsonl, 10.0, ignore)
        await batch.run(clips[:1], 1)
    assert batch.failed == []
    assert len(clips[0].output.read_text().splitlines()) == 75


async def test_a_connection_that_always_breaks_fails_the_clip(service, clips):
    service.faults.sessions = SessionFault(after_frames=10, close_code=4503)
    async with AvatarConnectionPool(1, service.config_factory) as pool:
        batch = Batch(pool, write_jsonl, 10.0, ignore)
        await batch.run(clips[:1], 1)
        assert pool.get_stats()["requests_num"] == 3
    ((_, error),) = batch.failed
    assert isinstance(error, AvatarSDKError)
    assert outputs(clips) == []


async def test_a_service_that_stalls_fails_the_clip_after_the_patience(service, clips):
    service.faults.next_sessions.append(SessionFault(stalls_at=Step.FRAMES, after_frames=3))
    async with AvatarConnectionPool(1, service.config_factory, quarantine_timeout=0.1) as pool:
        batch = Batch(pool, write_jsonl, 3.0, ignore)
        await batch.run(clips[:1], 1)
    ((clip, error),) = batch.failed
    assert clip is clips[0]
    assert isinstance(error, RequestTimeout)
    assert (error.frames, error.awaited) == (3, "next frame")
    assert outputs(clips) == []


async def test_an_answer_without_keyframes_is_a_failure(clips):
    async with (
        LocalAvatarService(driver=Motionless) as service,
        AvatarConnectionPool(1, service.config_factory) as pool,
    ):
        batch = Batch(pool, write_jsonl, 10.0, ignore)
        await batch.run(clips[:1], 1)
    ((_, error),) = batch.failed
    assert "ended without a keyframe" in str(error)
    assert outputs(clips) == []


async def test_a_pool_that_lends_nothing_ends_it_all_with_its_reason(batch, clips, pool):
    await pool.close()
    with pytest.raises(NoSession) as caught:
        await batch.run(clips, 2)
    assert isinstance(caught.value.reason, PoolClosed)
    assert batch.animated == batch.failed == []
    assert outputs(clips) == []


async def test_cancelling_amid_the_writing_stops_the_thread_and_leaves_nothing(pool, clips):
    loop, writing, ended = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def write(_animation, file, tick):
        file.write(b"half")
        loop.call_soon_threadsafe(writing.set)
        try:
            while True:
                tick()
        finally:
            ended.set()

    stops = []
    batch = Batch(pool, write, 10.0, ignore, stop=lambda: stops.append(1))
    task = asyncio.create_task(batch.run(clips, 2))
    await writing.wait()
    assert outputs(clips) != []
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    assert stops == [1]
    assert outputs(clips) == []
    assert pool.available_count == 2


async def test_cancelling_amid_a_request_gives_the_session_back(service, clips):
    service.faults.sessions = SessionFault(stalls_at=Step.FRAMES, after_frames=3)
    async with AvatarConnectionPool(1, service.config_factory, quarantine_timeout=0.1) as pool:
        frames = asyncio.Event()
        batch = Batch(pool, write_jsonl, 30.0, lambda *_: frames.set())
        task = asyncio.create_task(batch.run(clips, 1))
        await frames.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        service.faults.sessions = None
        async with pool.borrow():
            pass
    assert outputs(clips) == []
