"""A peer's life, told by what it takes, sends and answers: on a virtual clock, in exact order."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import wraps
from typing import Any, cast

import pytest
from clock import run_virtual
from picows import WSTransport

from avatarpool.transport.buffers import BoundedReads
from avatarpool.transport.pulse import Pulse


def virtually(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test on the virtual clock."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        run_virtual(test(*args, **kwargs))

    return run


def now() -> float:
    return asyncio.get_running_loop().time()


def later(seconds: float, what: Callable[..., object], *args: object) -> None:
    asyncio.get_running_loop().call_later(seconds, what, *args)


class Peer:
    """The transport of a peer that takes and says what a test tells it."""

    def __init__(self) -> None:
        self.pulse: Pulse
        self.queued = 0  # bytes that it has not taken
        self.pinged_at: list[float] = []
        self.dead_at: list[float] = []  # when it was called dead
        self.took = 0.0  # seconds, when it was last waited for
        self.reads: BoundedReads

    def queue(self, size: int) -> None:
        """Have bytes of audio written to it."""
        self.pulse.written += size
        self.queued += size + 22  # what TLS adds

    def take(self, size: int) -> None:
        self.queued -= size

    def take_steadily(self, pieces: int, interval: float) -> None:
        for number in range(1, pieces + 1):
            later(number * interval, self.take, 100)

    def say(self) -> None:
        """Send anything: it is heard as it is read."""
        self.reads.get_buffer(-1)

    def answer(self, number: int) -> None:
        """Answer a ping."""
        self.say()
        self.pulse.pong_came(str(number).encode())

    def answer_all(self, seconds: float) -> None:
        """Answer each ping after so long."""
        self.send_ping = lambda payload: later(seconds, self.answer, int(payload))  # type: ignore[method-assign]

    # --- what is asked of picows' transport

    @property
    def underlying_transport(self) -> Peer:
        return self

    def send_ping(self, payload: bytes) -> None:
        assert int(payload) == len(self.pinged_at) + 1
        self.pinged_at.append(now())

    def get_write_buffer_size(self) -> int:
        return self.queued

    def get_extra_info(self, name: str) -> socket.socket:
        closed = socket.socket()
        closed.close()
        return closed

    def get_protocol(self) -> Any:
        return self

    def set_protocol(self, reads: BoundedReads) -> None:
        self.reads = reads

    def get_buffer(self, hint: int) -> memoryview:
        return memoryview(bytearray(2048))

    buffer_updated = eof_received = connection_lost = pause_writing = resume_writing = print


@contextlib.asynccontextmanager
async def watched(interval: float | None = 10.0, timeout: float = 2.0) -> AsyncIterator[Peer]:
    peer = Peer()
    peer.pulse = Pulse(lambda: peer.dead_at.append(now()), interval, timeout)
    peer.pulse.begin(cast("WSTransport", peer))
    yield peer
    peer.pulse.stop()


# --- keeping alive ------------------------------------------------------------------------


@virtually
async def test_a_silent_peer_is_pinged_and_called_dead_if_it_does_not_answer():
    async with watched(interval=10.0, timeout=2.0) as peer:
        await asyncio.sleep(60.0)
        assert peer.pinged_at == [10.0]
        assert peer.dead_at == [12.0]
        assert peer.pulse.why_dead == "no answer to a ping within 2.00 s"


@virtually
async def test_a_peer_that_is_heard_is_pinged_an_interval_later():
    async with watched(interval=10.0) as peer:
        later(7.0, peer.say)
        await asyncio.sleep(17.5)
        assert peer.pinged_at == [17.0]


@virtually
@pytest.mark.parametrize("delay", [0.0, 0.5, 1.9])
async def test_a_peer_that_answers_lives_however_fast_its_answer_comes(delay: float):
    # 0.0: in the moment of the ping, as a near peer's comes by a clock of whole milliseconds.
    async with watched(interval=10.0, timeout=2.0) as peer:
        peer.answer_all(delay)
        await asyncio.sleep(100.0)
        assert peer.dead_at == []


@virtually
async def test_a_ping_behind_audio_is_no_proof_of_death_while_the_peer_takes_some():
    async with watched(interval=10.0, timeout=2.0) as peer:
        peer.queue(2000)
        peer.take_steadily(17, interval=1.5)
        await asyncio.sleep(60.0)
        assert peer.pinged_at == [10.0]
        # The last it took was at 25.5 s: that was seen at 26, and nothing at 28.
        assert peer.dead_at == [28.0]


@virtually
async def test_an_answer_that_comes_late_for_the_audio_before_its_ping_is_one():
    async with watched(interval=10.0, timeout=2.0) as peer:
        peer.queue(1000)
        peer.take_steadily(10, interval=1.5)
        later(15.5, peer.answer, 1)
        await asyncio.sleep(25.4)
        assert peer.pinged_at == [10.0]
        await asyncio.sleep(1.0)
        assert len(peer.pinged_at) == 2
        assert peer.dead_at == []


@virtually
async def test_audio_that_is_written_to_a_silent_peer_is_no_progress_of_its():
    async with watched(interval=10.0, timeout=2.0) as peer:
        for second in range(1, 60):
            later(float(second), peer.queue, 3200)
        await asyncio.sleep(60.0)
        assert peer.dead_at == [12.0]


@virtually
async def test_without_an_interval_nobody_is_pinged():
    async with watched(interval=None) as peer:
        await asyncio.sleep(1000.0)
        assert peer.pinged_at == peer.dead_at == []


@virtually
async def test_a_connection_that_has_ended_is_watched_no_more():
    async with watched(interval=10.0) as peer:
        peer.pulse.stop()
        await asyncio.sleep(100.0)
        assert peer.pinged_at == peer.dead_at == []


# --- asked whether it lives -----------------------------------------------------------------


async def proof(peer: Peer, patience: float = 1.0) -> tuple[bool, float]:
    """Whether it proves that it lives, and how many seconds that took."""
    began = now()
    return await peer.pulse.proves_alive(patience), now() - began


@virtually
async def test_an_answer_proves_life_at_once():
    async with watched() as peer:
        peer.answer_all(0.7)
        assert await proof(peer) == (True, pytest.approx(0.7))
        assert await proof(peer) == (True, pytest.approx(0.7))


@virtually
async def test_no_answer_with_nothing_queued_is_no_life():
    async with watched() as peer:
        assert await proof(peer, 1.0) == (False, pytest.approx(1.0))
        assert await proof(peer, 4.0) == (False, pytest.approx(4.0))


@virtually
async def test_an_answer_has_its_time_from_when_what_stands_before_the_ping_has_left():
    async with watched() as peer:
        peer.queue(1000)
        peer.take_steadily(10, interval=0.7)
        alive, seconds = await proof(peer, 1.0)
        assert not alive
        assert 8.0 <= seconds <= 8.25  # 7 s to take it, 1 s to answer, by quarters
        peer.queue(1000)
        peer.take_steadily(10, interval=0.7)
        later(7.5, peer.answer, 2)
        assert await proof(peer, 1.0) == (True, pytest.approx(7.5))


@virtually
async def test_a_peer_that_goes_on_sending_is_waited_for():
    async with watched() as peer:
        for number in range(1, 10):
            later(number * 0.7, peer.say)
        later(7.0, peer.answer, 1)
        assert await proof(peer) == (True, pytest.approx(7.0))


@virtually
async def test_an_answer_to_a_later_ping_answers_those_before_it():
    async with watched() as peer:
        first, second = asyncio.create_task(proof(peer)), asyncio.create_task(proof(peer))
        later(0.5, peer.answer, 2)
        assert [await first, await second] == [(True, pytest.approx(0.5))] * 2
        first, second = asyncio.create_task(proof(peer)), asyncio.create_task(proof(peer))
        later(0.5, peer.answer, 3)
        assert [await first, await second] == [
            (True, pytest.approx(0.5)),
            (False, pytest.approx(1.5)),  # it was heard then
        ]


@virtually
@pytest.mark.parametrize("payload", [b"", b"0", b"2", b"9" * 10, b"-1", b"one", b"\xb9", b"1.0"])
async def test_a_pong_that_nobody_asked_for_answers_nothing(payload: bytes):
    async with watched() as peer:
        later(0.5, peer.pulse.pong_came, payload)
        assert await proof(peer) == (False, pytest.approx(1.0))


@virtually
async def test_whoever_waits_for_an_answer_learns_that_the_connection_has_ended():
    async with watched() as peer:
        later(0.5, peer.pulse.stop)
        assert await proof(peer) == (False, pytest.approx(0.5))


@virtually
async def test_cancelling_the_waiting_for_an_answer_leaves_nothing_behind():
    async with watched() as peer:
        waiting = asyncio.create_task(proof(peer))
        await asyncio.sleep(0.5)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert peer.pulse._awaited == {}
        peer.answer(1)  # harmless


# --- sending ----------------------------------------------------------------------------------


async def drain(peer: Peer, patience: float, at: float | None = None) -> None:
    """Wait for what is written to leave, which it does then, if ever."""
    began = now()
    written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    if at is not None:
        later(at, written.set_result, None)
    try:
        await peer.pulse.taken(written, patience)
    finally:
        assert not written.cancelled()
        peer.took = now() - began


@virtually
async def test_who_steadily_takes_audio_is_waited_for_however_long_all_of_it_takes():
    async with watched() as peer:
        peer.queue(10_000)
        peer.take_steadily(100, interval=0.9)
        await drain(peer, patience=1.0, at=90.0)
        assert peer.took == pytest.approx(90.0)


@virtually
async def test_who_takes_nothing_any_more_is_given_up():
    async with watched() as peer:
        peer.queue(10_000)
        peer.take_steadily(10, interval=0.9)
        with pytest.raises(TimeoutError):
            await drain(peer, patience=1.0)
        assert 10.0 <= peer.took <= 10.25


@virtually
async def test_what_a_peer_says_does_not_make_up_for_what_it_does_not_take():
    async with watched() as peer:
        peer.queue(10_000)
        for number in range(1, 20):
            later(number * 0.3, peer.say)
        with pytest.raises(TimeoutError):
            await drain(peer, patience=1.0)
        assert peer.took == pytest.approx(1.0)


@virtually
async def test_more_audio_is_no_sign_of_its_being_taken():
    async with watched() as peer:
        peer.queue(10_000)
        for number in range(1, 20):
            later(number * 0.3, peer.queue, 3200)
        with pytest.raises(TimeoutError):
            await drain(peer, patience=1.0)
        assert peer.took == pytest.approx(1.0)
