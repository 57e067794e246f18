"""Keep a pool of avatar sessions and send it rounds of concurrent audio.

Run it as it is: ``python main.py``. The README beside it explains the rest.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Mapping

from avatarpool import AvatarConnectionPool, AvatarPoolError, ConfigurationError, SessionConfig
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

VARIABLES = (
    "AVATAR_API_KEY",
    "AVATAR_APP_ID",
    "AVATAR_CONSOLE_ENDPOINT",
    "AVATAR_INGRESS_ENDPOINT",
    "AVATAR_SESSION_AVATAR_ID",
)

# What AVATAR_USE_QUERY_AUTH may say.
SWITCH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}


def session_config(environment: Mapping[str, str]) -> SessionConfig:
    """Describe one session; the pool asks for a fresh one per connection."""
    query_auth = environment.get("AVATAR_USE_QUERY_AUTH", "").lower()
    if query_auth not in SWITCH:
        raise ConfigurationError(
            "AVATAR_USE_QUERY_AUTH", [f"{query_auth!r} is neither true nor false"]
        )
    return SessionConfig(
        api_key=environment["AVATAR_API_KEY"],
        app_id=environment["AVATAR_APP_ID"],
        console_endpoint_url=environment["AVATAR_CONSOLE_ENDPOINT"],
        ingress_endpoint_url=environment["AVATAR_INGRESS_ENDPOINT"],
        avatar_id=environment["AVATAR_SESSION_AVATAR_ID"],
        use_query_auth=SWITCH[query_auth],
    )


async def run_rounds(environment: Mapping[str, str]) -> int:
    """Open the pool, run the rounds, print the report; 0 if every request succeeded."""
    audio = load_speech_clip()
    print(f"Loaded audio file: {len(audio)} bytes")

    pool = AvatarConnectionPool(
        pool_size=POOL_SIZE,
        config_factory=lambda: session_config(environment),
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
    missing = [name for name in VARIABLES if not os.environ.get(name)]
    if not missing:
        return await run_rounds(os.environ)
    if len(missing) < len(VARIABLES):
        print(f"These environment variables are missing: {', '.join(missing)}", file=sys.stderr)
        return 2
    names = ", ".join(VARIABLES)
    print(f"None of {names} is set: using a local avatar service.", file=sys.stderr)
    async with LocalAvatarService() as service:
        return await run_rounds(service.environment)


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except KeyboardInterrupt:
        sys.exit(130)
