"""Measures one peer in a process of its own, a round per line of its standard input.

    worker.py CASE PEER LOOP PORTS [--quick]

Answers each line with the round's figures as a line of JSON.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing

from clients import Ports
from upstream import allow_many_sockets


async def main() -> None:
    """Measure until standard input ends."""
    case, peer, _, ports, *options = sys.argv[1:]
    allow_many_sockets()
    measure = importlib.import_module(f"cases.{case}").measure
    rounds: AsyncIterator[dict[str, float]] = measure(
        peer, Ports(**json.loads(ports)), is_quick="--quick" in options
    )
    loop = asyncio.get_running_loop()
    async with aclosing(rounds):
        # In a thread, so that connections stay alive while others are measured.
        while await loop.run_in_executor(None, sys.stdin.readline):
            print(json.dumps(await anext(rounds)), flush=True)


if __name__ == "__main__":
    if sys.argv[3] == "uvloop":
        import uvloop

        uvloop.run(main())
    else:
        asyncio.run(main())
