"""What a request is charged: all that was decoded for it, be it shown or not."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest
from motionless import Motionless
from ogg_pages import FIRST, LAST, packets_page

from avatarpool.endpoint.accounts import Account
from avatarpool.service.decoding import AudioRefused, PcmDecoder
from avatarpool.service.generation import CreditsExhausted, Generation, Pipeline
from avatarpool.service.opus import OpusDecoder
from avatarpool.service.workers import Workers

LONG, BROKEN = bytes([0b11111_0_11, 6]), b"\xf9\x00\x00\x00"  # 120 ms in two bytes; and none


@pytest.fixture
def workers():
    running = Workers(1)
    yield running
    running.close()


def account(balance: float | None = None) -> Account:
    return Account("app", "key", balance=balance, max_connections=1, max_handshakes=1)


def generation(decoder, workers, payer, *, driver=Motionless, max_seconds=600.0) -> Generation:
    pipeline = Pipeline(decoder, lambda: driver(decoder.sample_rate, 0), max_seconds)
    return Generation(pipeline, workers, payer, asyncio.Event(), 1024)


def opus(*packets: bytes, granule: int, run_up: int = 0) -> bytes:
    head = b"OpusHead\1\1" + run_up.to_bytes(2, "little") + bytes(7)
    return (
        packets_page(head, flags=FIRST)
        + packets_page(b"OpusTags" + bytes(8), sequence=1)
        + packets_page(*packets, sequence=2, flags=LAST, granule=granule)
    )


async def run(generated: Generation, audio: bytes) -> None:
    generated.push(audio, end=True)
    async with contextlib.aclosing(generated.steps()) as steps:
        async for _ in steps:
            pass


async def test_samples_that_are_dropped_are_charged(workers):
    payer = account()
    audio = opus(*[LONG] * 5, granule=28800, run_up=28799)
    await run(generation(OpusDecoder(), workers, payer), audio)

    assert payer.charged == pytest.approx(0.6)


async def test_a_packet_that_cannot_be_decoded_is_charged_with_those_before_it(workers):
    payer = account()
    with pytest.raises(AudioRefused, match="cannot be decoded"):
        await run(generation(OpusDecoder(), workers, payer), opus(LONG, BROKEN, granule=10**6))

    assert payer.charged == pytest.approx(0.16)


async def test_dropped_samples_count_towards_the_longest_request(workers):
    payer = account()
    audio = opus(*[LONG] * 20, granule=10**6, run_up=65535)
    with pytest.raises(AudioRefused, match=r"longer than 1 s"):
        await run(generation(OpusDecoder(), workers, payer, max_seconds=1.0), audio)

    assert 1.0 < payer.charged < 1.3


async def test_dropped_samples_use_the_credits_up(workers):
    payer = account(1.0)
    audio = opus(*[LONG] * 20, granule=10**6, run_up=65535)
    with pytest.raises(CreditsExhausted):
        await run(generation(OpusDecoder(), workers, payer), audio)

    assert 1.0 <= payer.charged < 1.3


async def test_a_step_under_way_is_charged_although_its_request_was_given_up(workers):
    loop, has_begun, may_end = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    class Slow(Motionless):
        def feed(self, pcm):
            loop.call_soon_threadsafe(has_begun.set)
            may_end.wait(10)
            return []

    payer = account()
    generated = generation(PcmDecoder(16000), workers, payer, driver=Slow)
    request = asyncio.create_task(run(generated, bytes(1024)))
    await has_begun.wait()
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    assert payer.charged == 0.0

    may_end.set()
    async with asyncio.timeout(10):
        while not payer.charged:
            await asyncio.sleep(0.001)
    assert payer.charged == pytest.approx(512 / 16000)
