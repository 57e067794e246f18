"""What the service refused for an avatar, or for its account: told at once, for 30 s."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from itertools import count
from types import SimpleNamespace

import aiohttp
import pytest
from raw_client import PATIENCE, ask_for_token, in_session

from avatarpool.endpoint import refusals
from avatarpool.gateway import failures
from avatarpool.protocol.messages import ServerError
from avatarpool.service import ServiceLimits
from avatarpool.soak.marks import MarkedRequest

REQUEST = MarkedRequest(1, 5)


def as_avatar(shell, avatar_id):
    shell = shell.of_client(shell.app_id)
    return SimpleNamespace(**{**vars(shell), "avatar_ids": (avatar_id,)})


async def upgrade(shell, avatar_id):
    """The status of an upgrade that is refused, and what it says."""
    async with aiohttp.ClientSession() as http:
        token = await ask_for_token(http, shell)
        with pytest.raises(aiohttp.WSServerHandshakeError) as told:
            await http.ws_connect(
                f"{shell.ingress_url}/websocket",
                params={"id": avatar_id},
                headers={"X-App-ID": shell.app_id, "X-Session-Key": token},
            )
    return told.value.status


@asynccontextmanager
async def refused_once(shell, avatar_id):
    async with in_session(as_avatar(shell, avatar_id)) as client:
        await client.audio("r-1", REQUEST.audio(), end=True)
        yield client


async def test_an_unknown_avatar_is_told_to_the_first_and_to_others_at_their_upgrade(shell):
    async with refused_once(shell, "nobody") as client, in_session(shell) as other:
        error = await client.error()
        assert (error.req_id, error.code) == ("r-1", refusals.BY_SENTENCE)
        assert error.message == "Avatar not found: nobody"
        assert await upgrade(shell, "nobody") == 404
        await other.audio("o-1", REQUEST.audio(), end=True)
        assert REQUEST.judge(await other.frames("o-1"), is_whole=True) is None


async def test_an_account_without_credits_is_told_to_the_first_and_at_upgrades(shell_of):
    shell = await shell_of(limits=ServiceLimits(credits=0))
    async with refused_once(shell, "local-avatar") as client:
        error = await client.error()
        assert error.message == refusals.BILLING.message
        assert await upgrade(shell, "local-avatar") == 402

        shell.top_up(60)
        shell.gateway.exchange.memory.seconds = 0.0
        shell.gateway.exchange.memory.note("local-avatar", failures.BILLING, now=0.0)
        turns = count()
        async with asyncio.timeout(PATIENCE):  # the pool behind asks again before long
            while True:
                await client.audio(f"again-{next(turns)}", REQUEST.audio(), end=True)
                if not isinstance(await client.receive(), ServerError):
                    return
                await asyncio.sleep(0.05)
