"""Clients that do not read what is sent to them: they wait alone, and not for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest
from raw_client import in_session
from raw_frames import BINARY, CLOSE, PING, Frame
from raw_upgrades import met
from served_gateway import PATIENCE, until

from avatarpool.gateway import writing
from avatarpool.protocol.codec import decode, encode
from avatarpool.protocol.messages import AnimationFrame, AudioInput
from avatarpool.soak.marks import MarkedRequest

LONG = MarkedRequest(1, 8000)  # 320 s, some 700 kB of frames
BIT = MarkedRequest(2, 10)


def says(message):
    return Frame(BINARY, encode(message)).encode(by_client=True)


async def ask(peer, request):
    audio = request.audio()
    for begin in range(0, len(audio), 1_000_000):
        await peer.say([says(AudioInput("r-1", audio[begin : begin + 1_000_000], end=False))])
    await peer.say([says(AudioInput("r-1", b"", end=True))])


def served(shell):
    (connection,) = shell.gateway.ingress._downstreams
    return connection


def unsent(connection):
    return connection._opening._transport.get_write_buffer_size()


async def test_a_client_that_does_not_read_throttles_its_own_session_alone(shell):
    async with met(shell, receive_bytes=4096) as slow:
        connection = served(shell)
        slow.transport.pause_reading()
        await ask(slow, LONG)
        await until(lambda: connection._patience is not None)
        (relay,) = shell.gateway.exchange._relays
        assert relay._is_paused
        async with in_session(shell) as other:
            for turn in range(20):
                await other.audio(f"o-{turn}", BIT.audio(), end=True)
                frames = await other.frames(f"o-{turn}")
                assert BIT.judge(frames, is_whole=True) is None
        assert not relay.is_over
        assert unsent(connection) < 256 * 1024
        passed = connection.conversation.counts.frames
        assert passed < LONG.frames
        slow.transport.resume_reading()
        await slow.until(lambda: slow._heard.count(b"r-1") == LONG.frames)
        assert connection._patience is None
        heard = [decode(frame.payload) for frame in slow.frames if frame.opcode == BINARY]
        frames = [message for message in heard if isinstance(message, AnimationFrame)]
        assert LONG.judge(frames, is_whole=True) is None


async def test_a_client_that_never_reads_is_cut_and_its_request_stopped(shell):
    ingress = shell.gateway.ingress
    ingress.limits = replace(ingress.limits, send_timeout=0.3)
    async with met(shell, receive_bytes=4096) as slow:
        slow.transport.pause_reading()
        await ask(slow, LONG)
        (client,) = shell.gateway.clients
        assert client.under_way == 1
        await until(lambda: not ingress._downstreams)
        await until(lambda: not shell.upstream.counters.requests_open)
        assert client.under_way == 0
    assert shell.upstream.counters.requests_served == 0
    async with in_session(shell) as other:
        await other.audio("o-1", BIT.audio(), end=True)
        assert BIT.judge(await other.frames("o-1"), is_whole=True) is None


async def test_answers_that_nobody_reads_are_not_piled_up(shell):
    pings = 15_000
    async with met(shell, receive_bytes=4096) as slow:
        connection = served(shell)
        slow.transport.pause_reading()
        flood = Frame(PING, b"p" * 120).encode(by_client=True) * 1000
        for _ in range(pings // 1000):
            await slow.say([flood])
        await until(lambda: connection._opening.is_full)
        assert unsent(connection) < 2 * writing._MAX_UNSENT_BYTES
        slow.transport.resume_reading()
        last = Frame(PING, b"the last").encode(by_client=True)
        await slow.say([last])
        await until(lambda: not connection._opening.is_full)
        await until(lambda: slow._heard.endswith(b"the last"))
        assert slow._heard.count(b"p" * 120) == pings


@pytest.mark.parametrize("leaves", ["with a close frame", "without a word"])
async def test_a_client_that_leaves_and_reads_nothing_is_cut(shell, leaves):
    ingress = shell.gateway.ingress
    ingress.limits = replace(ingress.limits, close_timeout=0.3)
    async with met(shell, receive_bytes=4096) as slow:
        connection = served(shell)
        slow.transport.pause_reading()
        asked = 0
        while not unsent(connection):
            asked += 1
            await slow.say([says(AudioInput(f"r-{asked}", BIT.audio(), end=True))])
            await until(lambda: not connection._relayed)
        assert connection._patience is None  # so little that it waits for nothing
        if leaves == "without a word":
            slow.transport.write_eof()
        else:
            await slow.say([Frame(CLOSE, b"").encode(by_client=True)])
        await until(lambda: not ingress._downstreams)
        assert not ingress._crowd


async def test_a_client_that_hangs_up_while_it_reads_nothing_ends_its_request(shell):
    ingress = shell.gateway.ingress
    ingress.limits = replace(ingress.limits, close_timeout=PATIENCE, send_timeout=PATIENCE)
    async with met(shell, receive_bytes=4096) as slow:
        connection = served(shell)
        slow.transport.pause_reading()
        await ask(slow, LONG)
        await until(lambda: unsent(connection))
        slow.transport.write_eof()
        (client,) = shell.gateway.clients
        await until(lambda: not client.under_way)
        assert unsent(connection)
