"""A face is no participant of its own: closing it removes nobody from the room."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

pytest.importorskip(
    "livekit.agents", reason="livekit-agents is not installed: make integrations runs these tests"
)

from aiohttp import web
from livekit import api
from livekit.agents import AgentSession
from livekit.agents.testing import fake_job_context
from livekit.agents.utils import http_context
from livekit.agents.voice import avatar
from talk import PATIENCE, Recorder
from test_room_publisher import Room

from avatarpool.integrations.livekit import AvatarSession


class Guest(avatar.AvatarSession):
    """A participant of its own, as LiveKit's other avatars are."""

    avatar_identity = "agent"


@pytest.fixture
async def removed(monkeypatch):
    """Whom a server of LiveKit's API is asked to remove."""
    names = []

    async def remove(request):
        asked = api.RoomParticipantIdentity.FromString(await request.read())
        names.append(asked.identity)
        return web.Response(body=b"", content_type="application/protobuf")

    app = web.Application()
    app.router.add_post("/twirp/livekit.RoomService/RemoveParticipant", remove)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    monkeypatch.setenv("LIVEKIT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("LIVEKIT_API_KEY", "key")
    monkeypatch.setenv("LIVEKIT_API_SECRET", "secret-that-is-long-enough-for-its-hash")
    async with http_context.open():
        yield names
    await runner.cleanup()


@asynccontextmanager
async def lives(face):
    """Have it live for a job's time, which ends as a worker ends it."""
    session, room = AgentSession(), Room()
    with fake_job_context(room=room) as job:
        await face.start(session, room)
        assert face.avatar_identity == "agent"
        (ends,) = job._shutdown_callbacks
        yield face
        await ends("the job is over")
        job._tempdir.cleanup()  # which is a worker's work
    await session.aclose()


async def test_closing_removes_nobody_and_joining_waits_for_nobody(pool, removed):
    async with lives(AvatarSession(pool, publish=Recorder())) as face:
        async with asyncio.timeout(PATIENCE):
            await face.wait_for_join(timeout=None)
    assert removed == []


async def test_joining_waits_for_pictures_and_they_are_the_agents_own(pool, removed):
    joined = []
    face = AvatarSession(pool, preview=True)
    face.on("metrics_collected", joined.append)
    async with lives(face):
        async with asyncio.timeout(PATIENCE):
            await face.wait_for_join(timeout=None)
    assert [each.metadata.model_provider for each in joined] == ["avatarpool"]
    assert removed == []


async def test_one_of_livekits_own_would_be_removed(removed):
    async with lives(Guest()):
        pass
    assert removed == ["agent"]
