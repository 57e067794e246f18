"""Official clients' requests through the shell, from the first audio to the last frame."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager

import pytest
from raw_client import PATIENCE, connected, in_session
from served_gateway import until

from avatarpool import AvatarConnectionPool
from avatarpool.endpoint import refusals
from avatarpool.exceptions import AvatarSDKError
from avatarpool.gateway import relay
from avatarpool.gateway.settings import Pools
from avatarpool.protocol.messages import AnimationFrame, Interrupt, ServerError
from avatarpool.service import SessionFault, Step, TokenFault
from avatarpool.soak.marks import MarkedRequest

STALLED = SessionFault(stalls_at=Step.FRAMES, after_frames=2)


def pieces(audio, *cuts):
    return [audio[begin:end] for begin, end in zip((0, *cuts), (*cuts, len(audio)), strict=True)]


async def speak(client, req_id, request, *cuts):
    *first, last = pieces(request.audio(), *cuts)
    for piece in first:
        await client.audio(req_id, piece)
    await client.audio(req_id, last, end=True)


async def is_served(client, req_id="afterwards"):
    """Whether a request is answered with its own frames."""
    request = MarkedRequest(999, 5)
    await speak(client, req_id, request)
    return request.judge(await client.frames(req_id), is_whole=True) is None


def only_client(shell):
    (client,) = shell.gateway.clients
    return client


def nothing_is_under_way(shell):
    clients = list(shell.gateway.clients)
    return (
        not any(client.under_way or client.running or client.waiting for client in clients)
        and not shell.gateway.exchange.queue
        and not shell.upstream.counters.requests_open
    )


# --- streaming ----------------------------------------------------------------------------


async def test_the_first_frame_comes_before_the_last_audio_was_sent(shell):
    request = MarkedRequest(1, 20)
    first, last = pieces(request.audio(), 12 * 1280)
    async with in_session(shell) as client:
        await client.audio("r-1", first)
        frame = await client.receive()
        assert isinstance(frame, AnimationFrame)
        assert not frame.end
        await client.audio("r-1", last, end=True)
        frames = [frame, *await client.frames("r-1")]
    assert request.judge(frames, is_whole=True) is None


async def test_ids_are_the_gateways_own(shell):
    async with connected(shell) as client:
        confirmed = (await client.configure()).connection_id
        await speak(client, "r-1", MarkedRequest(1, 10))
        frames = await client.frames("r-1")
    (pool,) = shell.gateway.group.pools.values()
    upstream = [each["connection_id"] for each in pool.get_stats()["connections"]]
    assert len(upstream) == 1
    assert {(frame.connection_id, frame.req_id) for frame in frames} == {(confirmed, "r-1")}
    assert confirmed not in upstream
    assert not any(name.encode() in bytes(frame) for name in upstream for frame in frames)


async def test_requests_of_two_clients_are_never_mixed(shell_of):
    shell = await shell_of(other_apps={"other": "another key"}, sessions=3)
    rng = random.Random(5)

    async def talk(service, number):
        async with in_session(service) as client:
            for turn in range(10):
                request = MarkedRequest(100 * number + turn, rng.randint(1, 40))
                length = 1280 * request.frames
                cuts = sorted(rng.sample(range(1, length), k=rng.randint(0, 5)))
                await speak(client, f"r-{turn}", request, *cuts)  # all call them the same
                frames = await client.frames(f"r-{turn}")
                assert request.judge(frames, is_whole=True) is None

    shells = [shell, shell.of_client("other")]
    await asyncio.gather(*(talk(shells[number % 2], number) for number in range(6)))
    assert {client.requests for client in shell.gateway.clients} == {30}


async def test_two_requests_of_one_connection_keep_apart(shell):
    one, two = MarkedRequest(1, 30), MarkedRequest(2, 30)
    async with in_session(shell) as client:
        await client.audio("one", one.audio(), end=True)
        await client.audio("two", two.audio(), end=True)
        frames = {"one": [], "two": []}
        while not all(those and those[-1].end for those in frames.values()):
            frame = await client.receive()
            frames[frame.req_id].append(frame)
    assert one.judge(frames["one"], is_whole=True) is None
    assert two.judge(frames["two"], is_whole=True) is None


# --- what audio may be --------------------------------------------------------------------


@pytest.mark.parametrize("cuts", [(1,), (1, 2, 3), (1279, 1280, 1281), (3, 3, 4000, 4001)])
async def test_audio_may_be_cut_anywhere_even_amid_a_sample(shell, cuts):
    request = MarkedRequest(1, 10)
    async with in_session(shell) as client:
        await speak(client, "r-1", request, *cuts)
        assert request.judge(await client.frames("r-1"), is_whole=True) is None


async def test_half_a_sample_at_the_end_is_refused(shell):
    async with in_session(shell) as client:
        await client.audio("r-1", bytes(1280))
        await client.audio("r-1", bytes(3), end=True)
        error = await client.error()
        assert (error.req_id, error.code) == ("r-1", refusals.INVALID_ARGUMENT)
        assert error.message == refusals.ODD_AUDIO
        assert await is_served(client)
    await until(lambda: nothing_is_under_way(shell))


async def test_an_empty_request_is_answered_without_a_session(shell):
    async with in_session(shell) as client:
        await client.audio("r-1", b"")
        await client.audio("r-1", b"", end=True)
        (frame,) = await client.frames("r-1")
        assert not frame.animation
        assert shell.upstream.counters.connections_total == 0
        assert await is_served(client)
    assert shell.counters.requests_served == 2


async def test_more_audio_than_a_client_may_send_is_refused_while_it_comes(shell_of):
    shell = await shell_of(allowed={"max_audio_seconds": 1.0})
    async with in_session(shell) as client:
        for _ in range(3):
            await client.audio("r-1", bytes(16000))  # half a second
        error = await client.error()
        assert error.code == refusals.INVALID_ARGUMENT
        assert error.message == "request audio is longer than 1 s"
        assert await is_served(client)
    await until(lambda: nothing_is_under_way(shell))
    assert only_client(shell).refused == {"audioTooLong": 1}


async def test_who_dribbles_audio_gives_its_session_up(shell_of, monkeypatch):
    monkeypatch.setattr(relay, "LATE_SECONDS", 0.2)
    shell = await shell_of(sessions=1, allowed={"max_audio_seconds": 0.3})
    async with in_session(shell) as slow, in_session(shell) as other:

        async def dribble():
            while True:  # a sample each time is an hour for a third of a second
                await slow.audio("r-1", bytes(2))
                await asyncio.sleep(0.02)

        dribbling = asyncio.create_task(dribble())
        try:
            async with asyncio.timeout(PATIENCE):
                error = await slow.error()
            assert (error.req_id, error.code) == ("r-1", refusals.INVALID_ARGUMENT)
            assert error.message == "the end of the audio did not come within 0.5 s"
            assert await is_served(other)
        finally:
            dribbling.cancel()
            await asyncio.wait([dribbling])
    await until(lambda: nothing_is_under_way(shell))
    assert only_client(shell).refused == {"audioStopped": 1}


# --- waiting ------------------------------------------------------------------------------


async def test_who_waits_too_long_is_told_so_and_may_ask_again(shell_of):
    shell = await shell_of(sessions=1, allowed={"queue_timeout": 0.2})
    shell.upstream.faults.sessions = STALLED
    async with in_session(shell) as first, in_session(shell) as second:
        await speak(first, "r-1", MarkedRequest(1, 10))
        await first.receive()
        await speak(second, "r-2", MarkedRequest(2, 10))
        error = await second.error()
        assert (error.req_id, error.code) == ("r-2", 4503)
        assert error.message == "no session came free within 0.2 s"
        shell.upstream.faults.sessions = None
        await first.send(Interrupt("r-1"))
        assert (await first.frames("r-1"))[-1].end
        assert await is_served(second)


async def test_a_clients_own_limit_alone_is_told_as_its_own(shell_of):
    shell = await shell_of(allowed={"max_concurrent": 1, "max_waiting": 0})
    shell.upstream.faults.next_sessions.append(STALLED)
    async with in_session(shell) as client:
        await speak(client, "r-1", MarkedRequest(1, 10))
        await speak(client, "r-2", MarkedRequest(2, 10))
        error = await client.error()
        assert (error.req_id, error.code) == ("r-2", 4003)


# --- stopping -----------------------------------------------------------------------------


@asynccontextmanager
async def under_way(shell, phase):
    """A client whose request ``r-1`` is in a phase."""
    upstream = shell.upstream
    async with in_session(shell) as other, in_session(shell) as client:
        if phase == "waiting for its turn":
            upstream.faults.sessions = STALLED
            await speak(other, "o-1", MarkedRequest(7, 10))
            await other.receive()
            await client.audio("r-1", bytes(12800), end=True)
            await until(lambda: len(shell.gateway.exchange.queue))
        elif phase == "borrowing":
            upstream.faults.next_tokens.append(TokenFault(delay=2.0))
            await client.audio("r-1", bytes(12800), end=True)
            group = shell.gateway.group
            await until(lambda: group.get_stats()["total"]["connections_opening"])
        elif phase == "sending":
            await client.audio("r-1", bytes(12800))
            await until(lambda: upstream.counters.requests_open)
        else:
            upstream.faults.sessions = STALLED
            await client.audio("r-1", bytes(12800), end=True)
            await client.receive()
        yield client
        upstream.faults.sessions = None
        if phase == "waiting for its turn":
            await other.send(Interrupt("o-1"))


PHASES = pytest.mark.parametrize(
    "phase", ["waiting for its turn", "borrowing", "sending", "answering"]
)


@PHASES
async def test_an_interrupt_stops_a_request_at_once(shell_of, phase):
    shell = await shell_of(sessions=1)
    async with under_way(shell, phase) as client:
        await client.send(Interrupt("r-1"))
        assert (await client.frames("r-1"))[-1].end
        if phase != "waiting for its turn":
            await until(lambda: nothing_is_under_way(shell))
    await until(lambda: nothing_is_under_way(shell))
    served = shell.upstream.counters.requests_served
    async with in_session(shell) as client:
        assert await is_served(client)
    assert shell.upstream.counters.requests_served == served + 1
    if phase in ("sending", "answering"):
        assert shell.upstream.counters.requests_interrupted >= 1


@PHASES
async def test_who_leaves_interrupts_its_request(shell_of, phase):
    shell = await shell_of(sessions=1)
    async with under_way(shell, phase) as client:
        client.transport.abort()
        account = only_client(shell)
        others = int(phase == "waiting for its turn")
        await until(lambda: account.under_way == others)
        await until(lambda: account.running + account.waiting == others)
    await until(lambda: nothing_is_under_way(shell))
    async with in_session(shell) as client:
        assert await is_served(client)
    if phase in ("sending", "answering"):
        assert shell.upstream.counters.requests_interrupted == 1


async def test_an_interrupt_of_anothers_request_stops_nothing(shell_of):
    shell = await shell_of(other_apps={"other": "another key"})
    request = MarkedRequest(1, 20)
    first, last = pieces(request.audio(), 12 * 1280)
    async with (
        in_session(shell) as client,
        in_session(shell) as own,
        in_session(shell.of_client("other")) as foreign,
    ):
        await client.audio("r-1", first)
        frames = [await client.receive()]
        for stranger in (own, foreign):
            await stranger.send(Interrupt("r-1"))
            assert [frame.end for frame in await stranger.frames("r-1")] == [True]
        await client.audio("r-1", last, end=True)
        frames += await client.frames("r-1")
    assert request.judge(frames, is_whole=True) is None


# --- an upstream that fails ---------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        SessionFault(resets=True, after_frames=3),
        SessionFault(close_code=1011, after_frames=3),
        SessionFault(close_code=4003, after_frames=3),
        SessionFault(close_code=4010, after_frames=3),
        SessionFault(close_code=4503, after_frames=3),
        SessionFault(garbage=b"\xff\xff", after_frames=3),
    ],
    ids=str,
)
async def test_a_session_that_dies_amid_a_request_is_a_service_that_is_unable(shell, fault):
    shell.upstream.faults.next_sessions.append(fault)
    request = MarkedRequest(1, 20)
    async with in_session(shell) as client:
        await speak(client, "r-1", request)
        frames = []
        while isinstance(said := await client.receive(), AnimationFrame):
            frames.append(said)
        assert isinstance(said, ServerError)
        assert (said.req_id, said.code) == ("r-1", 4503)
        assert said.message == "the avatar service was lost before the last frame"
        assert len(frames) == 3
        assert request.judge(frames, is_whole=False) is None
        assert not client.socket.closed
    await until(lambda: nothing_is_under_way(shell))
    assert only_client(shell).refused == {"upstreamLost": 1}


async def test_a_service_that_falls_silent_is_given_up(shell_of):
    pools = Pools(first_frame_timeout=0.3, request_timeout=0.3)
    shell = await shell_of(pools=pools)
    shell.upstream.faults.sessions = SessionFault(stalls_at=Step.FRAMES)
    async with in_session(shell) as client:
        await speak(client, "r-1", MarkedRequest(1, 5))
        error = await client.error()
        assert error.code == 4503
        assert error.message == "the avatar service gave no first frame within 0.3 s"
        shell.upstream.faults.sessions = STALLED
        await speak(client, "r-2", MarkedRequest(2, 5))
        error = await client.error()
        assert error.message == "the avatar service gave no last frame within 0.3 s"


async def test_a_pool_in_front_sees_the_official_error(shell):
    shell.upstream.faults.sessions = SessionFault(resets=True, after_frames=3)
    async with AvatarConnectionPool(1, shell.config_factory) as pool, pool.borrow() as conn:
        await conn.session.send_audio(bytes(12800), end=True)
        with pytest.raises(AvatarSDKError) as told:
            await conn.collector.wait()
    assert (told.value.code, told.value.close_code) == ("upstreamError", 4503)
    assert told.value.retryable
