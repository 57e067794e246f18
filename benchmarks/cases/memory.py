"""Memory of pooled connections: idle from the start, and after a request each."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from case import Case, resident_kb
from clients import CLIENTS, Ports, make
from upstream import FRAMES, REQUEST_BYTES

CASE = Case(
    "Memory of a pooled idle connection, of 500 (growth of RSS)",
    ("ours", "naive", "websockets", "picows"),
    {"opened_kb": "kB, opened", "served_kb": "kB, after a 558 kB request"},
    rounds=1,
    is_fresh=True,
)

CONNECTIONS = 500
AT_ONCE = 8


async def measure(
    peer: str, ports: Ports, *, is_quick: bool = False, connections: int = CONNECTIONS
) -> AsyncIterator[dict[str, float]]:
    """Yield the memory per connection.

    Each of the two is a difference of its own: what the first connections and the
    first large requests cost once and for all, a few of them pay for beforehand.
    """
    count = 100 if is_quick else connections
    audio, avatar_id = bytes(REQUEST_BYTES), f"burst-{FRAMES}"
    async with AsyncExitStack() as stack:
        few = await stack.enter_async_context(CLIENTS[peer](ports, avatar_id, AT_ONCE))
        before = _settled_kb()
        request = await stack.enter_async_context(CLIENTS[peer](ports, avatar_id, count))
        opened = _settled_kb() - before
        await make(few, audio, total=2 * AT_ONCE, at_once=AT_ONCE, frames=FRAMES)
        before = _settled_kb()
        # Each of them lends first in, first out: every connection has its turn.
        await make(request, audio, total=count, at_once=AT_ONCE, frames=FRAMES)
        served = opened + _settled_kb() - before
        yield {"opened_kb": opened / count, "served_kb": served / count}


def _settled_kb() -> float:
    gc.collect()
    return resident_kb()
