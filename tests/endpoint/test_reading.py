"""How much of what clients send is dealt with in one turn of the event loop."""

from __future__ import annotations

import asyncio

from raw_frames import BINARY, CONTINUATION, Frame

from avatarpool.endpoint.reading import FRAMES_PER_READ, FRAMES_PER_TURN, Reading, Turns
from avatarpool.endpoint.scanner import FrameScanner

TINY = Frame(BINARY, b"\x08\x63").encode(by_client=True)
EMPTY_FRAGMENT = Frame(CONTINUATION, is_final=False).encode(by_client=True)


class Client:
    """A connection whose parser counts bytes, and which knows whether it is read from."""

    def __init__(self, turns: Turns) -> None:
        self.taken = 0
        self.is_paused = False
        self.grown = 0
        self.is_full = False
        self.reading = Reading(
            self, FrameScanner(1 << 20), turns, connection=self, grown=self._grow
        )

    def hold(self) -> None:
        self.is_paused = True

    def go_on(self) -> None:
        self.is_paused = self.is_full

    def drain(self) -> None:
        """Take more again, as aiohttp does."""
        self.is_full = False
        self.reading.drained()

    def _grow(self) -> None:
        self.grown += 1

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.taken += len(data)
        return False, b""

    def feed_eof(self) -> None: ...


async def test_a_few_frames_are_passed_on_at_once():
    client = Client(Turns(rest=0.0))
    client.reading.feed_data(TINY * FRAMES_PER_READ)
    assert client.taken == len(TINY) * FRAMES_PER_READ
    assert not client.is_paused


async def test_many_tiny_frames_of_one_client_come_in_turns_and_nothing_is_read_meanwhile():
    client = Client(Turns(rest=0.0))
    count = 10 * FRAMES_PER_TURN
    client.reading.feed_data(TINY * count)
    assert client.is_paused

    turns = 0
    while client.reading.is_held:
        before = client.taken
        await asyncio.sleep(0)
        turns += 1
        assert client.taken - before <= FRAMES_PER_TURN * len(TINY)
        assert client.is_paused is client.reading.is_held
    assert client.taken == count * len(TINY)
    assert turns <= 11


async def test_who_is_read_from_all_the_same_while_frames_are_held_is_held_again():
    client = Client(Turns(rest=0.0))
    client.reading.feed_data(TINY * 100)
    client.is_paused = False  # as aiohttp has it after an upgrade
    client.reading.feed_data(TINY)
    assert client.is_paused
    while client.reading.is_held:
        await asyncio.sleep(0)
    assert client.taken == 101 * len(TINY)


async def test_empty_fragments_are_no_cheaper():
    client = Client(Turns(rest=0.0))
    client.reading.feed_data(Frame(BINARY, b"x", is_final=False).encode(by_client=True))
    before = client.taken
    client.reading.feed_data(EMPTY_FRAGMENT * 1000)
    assert client.taken - before == FRAMES_PER_READ * len(EMPTY_FRAGMENT)
    assert client.is_paused


async def test_many_who_flood_share_a_turn_and_go_on_alike():
    turns = Turns(rest=0.0)
    clients = [Client(turns) for _ in range(16)]
    for client in clients:
        client.reading.feed_data(TINY * 1000)
    at_first = sum(client.taken for client in clients)

    for _ in range(40):
        before = sum(client.taken for client in clients)
        await asyncio.sleep(0)
        assert sum(client.taken for client in clients) - before <= FRAMES_PER_TURN * len(TINY)
    assert sum(client.taken for client in clients) > at_first
    shares = [client.taken for client in clients]
    assert max(shares) - min(shares) <= FRAMES_PER_READ * len(TINY)
    for client in clients:
        client.reading.feed_eof()
    await asyncio.sleep(0)


async def test_large_messages_are_never_held_and_are_told_of_as_they_grow():
    client = Client(Turns(rest=0.0))
    message = Frame(BINARY, bytes(1 << 20)).encode(by_client=True)
    for begin in range(0, len(message), 65536):
        client.reading.feed_data(message[begin : begin + 65536])
    assert client.taken == len(message)
    assert not client.is_paused
    assert 3 <= client.grown <= 4  # every 256 kB
    assert client.reading.unread_bytes == 1 << 20
    client.reading.take(1 << 20)
    assert client.reading.unread_bytes == 0


async def test_what_comes_after_a_hang_up_while_it_waits_is_forgotten():
    turns = Turns(rest=0.0)
    client, other = Client(turns), Client(turns)
    client.reading.feed_data(TINY * 100)
    other.reading.feed_data(TINY * 100)
    client.reading.feed_eof()
    while other.reading.is_held:
        await asyncio.sleep(0)
    assert client.taken == FRAMES_PER_READ * len(TINY)
    assert other.taken == 100 * len(TINY)


async def test_nothing_is_passed_on_while_aiohttp_takes_no_more():
    """It would copy what it has for each piece that is added, and the next read be taken."""
    client = Client(Turns(rest=0.0))
    client.reading.feed_data(TINY * 100)
    client.is_full = True
    before = client.taken
    for _ in range(5):
        await asyncio.sleep(0)
    client.reading.feed_data(TINY)  # a read that was under way
    assert client.taken == before
    assert client.is_paused

    client.drain()
    while client.reading.is_held:
        assert client.is_paused
        await asyncio.sleep(0)
    assert client.taken == 101 * len(TINY)
    assert not client.is_paused


async def test_a_read_that_comes_when_it_is_full_waits_for_it_to_drain():
    client = Client(Turns(rest=0.0))
    client.is_full = True
    client.reading.feed_data(TINY)
    assert client.taken == 0
    client.drain()
    while client.reading.is_held:
        await asyncio.sleep(0)
    assert client.taken == len(TINY)
    assert not client.is_paused


async def test_a_header_that_is_cut_where_it_is_full_is_put_together():
    client = Client(Turns(rest=0.0))
    client.reading.feed_data(TINY[:3])
    client.is_full = True
    client.reading.feed_data(TINY[3:])
    client.drain()
    while client.reading.is_held:
        await asyncio.sleep(0)
    assert client.taken == len(TINY)
    assert client.reading.scanner.violation is None


async def test_of_who_is_to_take_no_more_nothing_is_passed_on_or_kept():
    client = Client(Turns(rest=0.0))
    client.reading.feed_data(TINY * 100)
    client.reading.stop()
    client.reading.feed_data(TINY * 100)
    await asyncio.sleep(0)
    assert client.taken == FRAMES_PER_READ * len(TINY)
    assert not client.reading.is_held
