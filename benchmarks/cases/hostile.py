"""An honest client of the local service, alone and beside clients that mean no good.

It makes one request of half a second of speech after the other. What counts is how much
later its slowest first frames are, those of one in a hundred, than when nobody disturbs it.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlsplit

from attacks import ATTACKS
from case import Case
from cases.service import probe, serving
from clients import Ports

from avatarpool import AvatarConnectionPool, SessionConfig
from avatarpool.client.console import ConsoleClient
from avatarpool.load import load_speech_clip

CASE = Case(
    "An honest client of the local service beside hostile ones: p99 of its first frame",
    ("ours",),
    {"quiet_ms": "alone, ms", **{f"{kind}_ms": f"later: {kind}, ms" for kind in ATTACKS}},
    rounds=1,
)

HALF_A_SECOND = 16_000  # bytes
ATTACK = Path(__file__).parents[1] / "attacks.py"


async def measure(
    peer: str, ports: Ports, *, is_quick: bool = False
) -> AsyncIterator[dict[str, float]]:
    """Yield the quiet value, and what each attack adds to it."""
    del peer, ports
    seconds = 1.0 if is_quick else 4.0
    audio = load_speech_clip()[:HALF_A_SECOND]
    with serving() as (_, config):
        async with (
            AvatarConnectionPool(1, lambda: config, 60) as pool,
            ConsoleClient() as console,
        ):
            await probe(pool, audio, lasting(1.0))
            while True:
                quiet = _p99(await probe(pool, audio, lasting(2 * seconds)))
                figures = {"quiet_ms": quiet}
                for kind in ATTACKS:
                    token = await console.request_token(config)
                    with attacking(kind, config, token, seconds + 2.0):
                        await probe(pool, audio, lasting(1.0))  # until it is at it
                        firsts = await probe(pool, audio, lasting(seconds))
                    figures[f"{kind}_ms"] = _p99(firsts) - quiet
                yield figures


def lasting(seconds: float) -> Callable[[], bool]:
    """Return what says whether so much time is over."""
    end = time.perf_counter() + seconds
    return lambda: time.perf_counter() > end


def attacking(
    kind: str, config: SessionConfig, token: str, seconds: float
) -> subprocess.Popen[bytes]:
    """Start an attack; it ends by itself, and leaving waits for that."""
    port = urlsplit(config.ingress_endpoint_url).port
    command = [sys.executable, str(ATTACK), kind, str(port), str(seconds)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603  # our own script
    assert process.stdin is not None
    process.stdin.write(token.encode())
    process.stdin.close()
    return process


def _p99(firsts: list[float]) -> float:
    return statistics.quantiles(firsts, n=100)[98]
