"""Is the peer alive? Pings, and what they prove while our own audio stands before them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import ceil
from typing import Any

from picows import WSTransport

from avatarpool.transport.buffers import BoundedReads, bound_reads, outstanding

# How often progress is looked at, of the time in which there must be some.
_LOOKS = 4

# Connections are pinged together whose pings are due within this part of the interval: one
# waking of the event loop for all of them, and one for the answers of near peers.
_TOGETHER = 0.01


class Pulse:
    """Watches one WebSocket's peer by what it takes, sends and answers.

    A ping waits behind what was written before it, and its answer behind what the
    peer sends. So silence counts from when neither makes progress any more: who
    steadily takes audio, or sends frames, is slow and not dead.

    Args:
        call_dead: Called once a silent peer did not answer.
        interval: Seconds of silence after which it is pinged; None: never.
        timeout: Seconds for its answer.
    """

    __slots__ = (
        "_awaited",
        "_call_dead",
        "_interval",
        "_loop",
        "_pinged",
        "_reads",
        "_taken",
        "_timeout",
        "_timer",
        "_transport",
        "why_dead",
        "written",
    )

    def __init__(
        self, call_dead: Callable[[], object], interval: float | None, timeout: float
    ) -> None:
        self._call_dead = call_dead
        self._interval = interval
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._transport: WSTransport
        self._reads: BoundedReads
        self._timer: asyncio.TimerHandle | None = None
        self._pinged = 0  # the number of the latest ping
        self._awaited: dict[int, asyncio.Future[bool]] = {}  # of pings not answered yet
        self._taken = 0  # when it was looked at last
        self.written = 0  # bytes of messages, counted by whoever writes them
        self.why_dead = ""

    def begin(self, transport: WSTransport) -> None:
        """Watch the peer of a WebSocket that has just opened."""
        self._transport = transport
        self._reads = bound_reads(transport, self._loop)
        if self._interval is not None:
            self._look_at(self._loop.time() + self._interval)

    def stop(self) -> None:
        """Watch no more: the connection has ended."""
        if self._timer is not None:
            self._timer.cancel()
        for waiting in self._awaited.values():
            if not waiting.done():
                waiting.set_result(False)
        self._awaited.clear()

    def hold(self) -> None:
        """Expect nothing of the peer: it is not read from."""
        if self._timer is not None:
            self._timer.cancel()

    def go_on(self) -> None:
        """Watch it again, as if it had been heard now."""
        self._reads.heard_at = self._loop.time()
        if self._interval is not None:
            self._look_at(self._reads.heard_at + self._interval)

    async def proves_alive(self, patience: float) -> bool:
        """Ping; return whether the peer answers, as long as it shows any life within that."""
        answered: asyncio.Future[bool] = self._loop.create_future()
        number = self._pinged + 1
        self._awaited[number] = answered
        try:
            await self._progress(answered, patience, self._ping(), hearing=True)
        except TimeoutError:
            return False
        finally:
            self._awaited.pop(number, None)
        return answered.result()

    async def taken(self, written: asyncio.Future[None], patience: float) -> None:
        """Wait for what is written to leave.

        Raises:
            TimeoutError: The peer took nothing at all for so many seconds.
        """
        await self._progress(written, patience, self._taken_now(), hearing=False)

    def pong_came(self, payload: bytes) -> None:
        """Take the answer to a ping, which answers those before it too (RFC 6455, 5.5.3)."""
        if not payload.isdigit() or len(payload) > 9:
            return  # nobody asked for it
        for number, waiting in list(self._awaited.items()):
            if number <= int(payload) <= self._pinged and not waiting.done():
                waiting.set_result(True)

    async def _progress(
        self, awaited: asyncio.Future[Any], patience: float, taken: int, *, hearing: bool
    ) -> None:
        """Wait for a future while the peer takes data, or is heard where that counts."""
        heard_at, still = self._reads.heard_at, 0
        while still < _LOOKS:
            done, _ = await asyncio.wait({awaited}, timeout=patience / _LOOKS)
            if done:
                return
            before, taken = taken, self._taken_now()
            is_heard = hearing and self._reads.heard_at > heard_at
            heard_at = self._reads.heard_at
            still = 0 if taken > before or is_heard else still + 1
        raise TimeoutError

    def _taken_now(self) -> int:
        """Return how many bytes of messages the peer has taken so far."""
        return self.written - outstanding(self._transport)

    def _ping(self) -> int:
        """Send a ping; return what the peer had taken before it."""
        taken = self._taken_now()
        self._pinged += 1
        self._transport.send_ping(str(self._pinged).encode())
        return taken

    # --- keeping alive: a timer, and no task, for each of thousands of connections ------

    def _look(self) -> None:
        assert self._interval is not None
        due = self._reads.heard_at + self._interval
        if due > self._loop.time():
            self._look_at(due)
        else:
            self._expect(self._ping())

    def _look_at(self, due: float) -> None:
        assert self._interval is not None
        step = self._interval * _TOGETHER
        self._timer = self._loop.call_at(ceil(due / step) * step, self._look)

    def _expect(self, taken: int) -> None:
        self._taken = taken
        pinged_at = self._loop.time()
        self._timer = self._loop.call_later(self._timeout, self._look_again, pinged_at)

    def _look_again(self, pinged_at: float) -> None:
        # Not later alone: uvloop's clock counts whole milliseconds, and a near peer
        # answers within one.
        if self._reads.heard_at >= pinged_at:
            self._look()
        elif (taken := self._taken_now()) > self._taken:  # what stood before the ping
            self._expect(taken)
        else:
            self.why_dead = f"no answer to a ping within {self._timeout:.2f} s"
            self._call_dead()
