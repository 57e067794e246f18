"""Requests that are sent once more since their session was lost, and those that are not."""

from __future__ import annotations

import pytest
from raw_client import in_session
from served_gateway import until

from avatarpool.gateway import relay
from avatarpool.gateway.settings import Pools
from avatarpool.protocol.messages import AnimationFrame, Interrupt, ServerError
from avatarpool.service import SessionFault, Step
from avatarpool.soak.marks import MarkedRequest

REQUEST = MarkedRequest(1, 20)


async def answer(client):
    """The frames that came, and the error, if one did."""
    frames = []
    while not frames or not frames[-1].end:
        said = await client.receive()
        if isinstance(said, ServerError):
            return frames, said
        assert isinstance(said, AnimationFrame)
        frames.append(said)
    return frames, None


async def asked(shell, *faults):
    """What comes of a request whose sessions, one after another, have these faults."""
    shell.upstream.faults.next_sessions.extend(faults)
    async with in_session(shell) as client:
        audio = REQUEST.audio()
        for begin in range(0, len(audio), 5000):
            await client.audio("r-1", audio[begin : begin + 5000])
        await client.audio("r-1", b"", end=True)
        return await answer(client)


def resent(shell):
    return shell.gateway.exchange.resent


@pytest.fixture
async def resending(shell_of):
    return await shell_of(pools=Pools(resend_lost_requests=True), sessions=1)


@pytest.mark.parametrize(
    "fault",
    [SessionFault(resets=True), SessionFault(close_code=4002), SessionFault(close_code=4503)],
    ids=["reset", "4002", "4503"],
)
async def test_a_request_is_sent_again_whose_session_was_lost_before_a_frame(resending, fault):
    frames, error = await asked(resending, fault)
    assert error is None
    assert REQUEST.judge(frames, is_whole=True) is None
    assert resent(resending) == 1
    (client,) = resending.gateway.clients
    assert (client.requests, client.refused) == (1, {})
    assert client.audio_seconds == pytest.approx(20 * 0.04)


@pytest.mark.parametrize(
    "fault",
    [
        SessionFault(close_code=1011),
        SessionFault(close_code=4010),
        SessionFault(garbage=b"\xff\xff"),
        SessionFault(resets=True, after_frames=1),
        SessionFault(close_code=4503, after_frames=3),
    ],
    ids=["1011", "4010", "garbage", "after a frame", "after three frames"],
)
async def test_a_request_is_not_sent_again_after_a_frame_or_another_loss(resending, fault):
    frames, error = await asked(resending, fault)
    assert len(frames) == fault.after_frames
    assert error.code == 4503
    assert resent(resending) == 0


async def test_a_request_is_sent_again_once_alone(resending):
    reset = SessionFault(resets=True)
    frames, error = await asked(resending, reset, reset)
    assert (frames, error.code) == ([], 4503)
    assert resent(resending) == 1


async def test_a_request_too_long_to_be_kept_is_not_sent_again(resending, monkeypatch):
    monkeypatch.setattr(relay, "MAX_KEPT_BYTES", 20_000)
    frames, error = await asked(resending, SessionFault(resets=True))
    assert (frames, error.code) == ([], 4503)
    assert resent(resending) == 0


async def test_nothing_is_sent_again_unless_it_is_asked_for(shell):
    frames, error = await asked(shell, SessionFault(resets=True))
    assert (frames, error.code) == ([], 4503)
    assert resent(shell) == 0


async def test_an_interrupted_request_is_not_sent_again(resending):
    upstream = resending.upstream
    upstream.faults.next_sessions.append(SessionFault(stalls_at=Step.FRAMES))
    async with in_session(resending) as client:
        await client.audio("r-1", REQUEST.audio(), end=True)
        await until(lambda: upstream.counters.requests_open)
        await client.send(Interrupt("r-1"))
        assert [frame.end for frame in await client.frames("r-1")] == [True]
        await until(lambda: not upstream.counters.requests_open)
    assert upstream.counters.requests_served == 0
    assert resent(resending) == 0


async def test_a_request_whose_time_is_over_is_not_sent_again(shell_of):
    pools = Pools(resend_lost_requests=True, first_frame_timeout=0.3)
    shell = await shell_of(pools=pools)
    frames, error = await asked(shell, SessionFault(stalls_at=Step.FRAMES))
    assert frames == []
    assert error.message == "the avatar service gave no first frame within 0.3 s"
    assert resent(shell) == 0


async def test_what_comes_while_a_request_is_sent_again_is_sent_as_well(resending):
    upstream = resending.upstream
    upstream.faults.next_sessions.append(SessionFault(resets=True))
    audio = REQUEST.audio()
    async with in_session(resending) as client:
        await client.audio("r-1", audio[:12800])
        await until(lambda: upstream.counters.connections_total == 2)
        await client.audio("r-1", audio[12800:], end=True)
        frames, error = await answer(client)
    assert error is None
    assert REQUEST.judge(frames, is_whole=True) is None


async def test_large_pieces_flow_after_their_request_was_sent_again(resending):
    """What was lost with its session is not counted twice as waiting: nothing is left full."""
    request = MarkedRequest(2, 3000)  # 3.8 MB, in pieces that are full each
    audio = request.audio()
    resending.upstream.faults.next_sessions.append(SessionFault(resets=True))
    async with in_session(resending) as client:
        for begin in range(0, len(audio), 1_200_000):
            await client.audio("r-1", audio[begin : begin + 1_200_000])
        await client.audio("r-1", b"", end=True)
        frames, error = await answer(client)
    assert error is None
    assert request.judge(frames, is_whole=True) is None
    assert resent(resending) == 1
