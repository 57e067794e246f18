"""One process of several that share an account's sessions, kept busy for a minute.

``python main.py`` in two shells, with the same AVATAR_* and AVATAR_REDIS_URL: see the README
beside it. Without a Redis, the process has the account to itself.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections import Counter
from collections.abc import Callable

from avatarpool import (
    AvatarPoolError,
    AvatarPoolGroup,
    ConfigurationError,
    LocalAvatarService,
    LocalBudget,
    PoolKey,
    RedisBudget,
    SessionConfig,
)
from avatarpool.environment import read_settings
from avatarpool.load import load_speech_clip

ACCOUNT = "example"  # its name in Redis: the same in every process
SESSIONS = 6  # that the account allows
BORROWERS = 8  # tasks that want a session, in this process
SAMPLE_RATES = (16000, 24000)  # two keys; the clip is spoken a bit faster at one of them
SECONDS = 60.0


def budget() -> LocalBudget | RedisBudget:
    """Return the account's sessions: shared where there is a Redis, our own elsewhere."""
    url = os.environ.get("AVATAR_REDIS_URL", "")
    if url:
        return RedisBudget(url, name=ACCOUNT, sessions=SESSIONS)
    print("AVATAR_REDIS_URL is not set: the account is this process's alone.", file=sys.stderr)
    return LocalBudget(SESSIONS)


async def keep_busy(config_factory: Callable[[], SessionConfig]) -> int:
    """Make requests from all borrowers; 0 if none failed."""
    given = config_factory()
    audio = load_speech_clip()
    outcomes: Counter[str] = Counter()

    def config_for(_: PoolKey) -> SessionConfig:  # what the key says is filled in
        return SessionConfig(
            api_key=given.api_key,
            app_id=given.app_id,
            console_endpoint_url=given.console_endpoint_url,
            ingress_endpoint_url=given.ingress_endpoint_url,
            use_query_auth=given.use_query_auth,
        )

    async def borrower() -> None:
        while True:
            rate = random.choice(SAMPLE_RATES)  # noqa: S311 - no secret
            try:
                async with group.borrow(given.avatar_id, sample_rate=rate) as conn:
                    await conn.session.send_audio(audio, end=True)
                    await conn.collector.wait()
                    await asyncio.sleep(0.2)
            except AvatarPoolError as error:
                outcomes["failed"] += 1
                print(f"failed: {error}", file=sys.stderr)
            else:
                outcomes["served"] += 1
            await asyncio.sleep(random.uniform(0.0, 0.5))  # noqa: S311 - no secret

    async with AvatarPoolGroup(config_for, budget=budget(), timeout=60.0) as group:
        tasks = [asyncio.create_task(borrower()) for _ in range(BORROWERS)]
        for _ in range(int(SECONDS)):
            await asyncio.sleep(1.0)
            stats = group.get_stats()
            print(
                f"{stats['used']} of {stats['budget']} sessions here, "
                f"{outcomes['served']} requests served, {outcomes['failed']} failed",
                flush=True,
            )
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    return 1 if outcomes["failed"] else 0


async def main() -> int:
    """Use the service that the environment names, or a local one if it names none."""
    try:
        settings = read_settings()
        if not settings.is_empty:
            return await keep_busy(settings.session_config)
        async with LocalAvatarService() as service:
            return await keep_busy(service.config_factory)
    except AvatarPoolError as error:
        print(f"The group could not be opened: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigurationError) else 1


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except KeyboardInterrupt:
        sys.exit(130)
