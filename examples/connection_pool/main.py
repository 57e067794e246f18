"""Keep a pool of avatar sessions and send it rounds of concurrent audio.

Run it as it is: ``python main.py``. The README beside it explains the rest.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable

from avatarpool import AvatarConnectionPool, AvatarPoolError, ConfigurationError, SessionConfig
from avatarpool.environment import Settings
from avatarpool.load import (
    LoadPlan,
    completion_text,
    load_speech_clip,
    opening_text,
    plan_text,
    run_multiple_rounds,
    summary_text,
)
from avatarpool.service import LocalAvatarService

POOL_SIZE = 3  # WebSocket connections to maintain
CONCURRENT_REQUESTS = 5  # concurrent requests per round
NUM_ROUNDS = 10  # rounds to run
ROUND_INTERVAL = 30.0  # seconds between rounds
SESSION_TTL = 10  # session time-to-live in minutes
REQUEST_TIMEOUT = 45  # seconds for each audio request


async def run_rounds(config_factory: Callable[[], SessionConfig]) -> int:
    """Open the pool, run the rounds, print the report; 0 if every request succeeded."""
    audio = load_speech_clip()
    print(f"Loaded audio file: {len(audio)} bytes")

    pool = AvatarConnectionPool(
        pool_size=POOL_SIZE,
        config_factory=config_factory,
        session_ttl_minutes=SESSION_TTL,
        request_timeout=REQUEST_TIMEOUT,
    )
    try:
        print(f"Initializing connection pool with {POOL_SIZE} connections...")
        await pool.initialize()
        print(opening_text(pool.get_stats(), POOL_SIZE, pool.last_open_error))

        print(plan_text(LoadPlan(NUM_ROUNDS, CONCURRENT_REQUESTS, ROUND_INTERVAL, POOL_SIZE)))
        started = time.monotonic()
        rounds = await run_multiple_rounds(
            pool=pool,
            audio=audio,
            num_rounds=NUM_ROUNDS,
            requests_per_round=CONCURRENT_REQUESTS,
            interval_seconds=ROUND_INTERVAL,
            request_timeout=REQUEST_TIMEOUT,
            on_progress=print,
        )
        print(completion_text(time.monotonic() - started))
        print(summary_text(rounds, pool.get_stats()))
        return 1 if any(result.failed for result in rounds) else 0
    except AvatarPoolError as error:
        print(f"The pool could not be opened: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigurationError) else 1
    finally:
        print("\nClosing connection pool...")
        await pool.close()
        print("Connection pool closed")


async def main() -> int:
    """Use the service that the environment names, or a local one if it names none."""
    try:
        settings = Settings.read()
    except ConfigurationError as error:
        print(f"The pool could not be opened: {error}", file=sys.stderr)
        return 2
    if not settings.missing:
        return await run_rounds(settings.session_config)
    if not settings.is_empty:
        names = ", ".join(settings.missing)
        print(f"These environment variables are missing: {names}", file=sys.stderr)
        return 2
    print("No AVATAR_* account is set: using a local avatar service.", file=sys.stderr)
    async with LocalAvatarService() as service:
        return await run_rounds(service.config_factory)


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except KeyboardInterrupt:
        sys.exit(130)
