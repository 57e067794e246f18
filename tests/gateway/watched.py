"""A group of pools on the local service that is watched, and its page on a free port."""

from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from avatarpool import AvatarPoolGroup, ConfigurationError, LocalBudget, SessionConfig
from avatarpool.endpoint.limits import ServiceLimits
from avatarpool.endpoint.listening import Listener
from avatarpool.gateway.page import Page
from avatarpool.gateway.watching import Watching

AVATARS = ("a", "b")
KEY = "an-admin-key-of-the-tests"


@dataclass
class Client:
    """What the page shows of one."""

    name: str
    running: int = 0
    waiting: int = 0
    requests: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    audio_seconds: float = 0.0


def group_of(service, sessions=4, **options):
    given = service.config_factory()
    names = ("api_key", "app_id", "console_endpoint_url", "ingress_endpoint_url")
    access = {name: getattr(given, name) for name in names}
    return AvatarPoolGroup(
        lambda key: SessionConfig(**access),
        budget=LocalBudget(sessions),
        name="gateway",
        **options,
    )


class Desk:
    """The page's application: what a gateway has around it, and no more."""

    def __init__(self, group, clock, clients=(), *, is_open=True, has_admin_key=True):
        self.group = group
        self.clients = list(clients)
        self.watching = Watching(clock)
        self.is_paused = False
        self.asked = []  # verbs, with what came with them
        group.add_listener(self.watching.heard)
        self.page = Page(
            self.snapshot,
            may_look=lambda request: is_open or self.has_key(request),
            may_administer=self.has_key,
            has_admin_key=has_admin_key,
        )
        self.listener = None

    def snapshot(self):
        return self.watching.snapshot(self.group, self.clients, is_paused=self.is_paused)

    def has_key(self, request):
        return request.headers.get("X-Api-Key") == KEY

    async def administer(self, request):
        if not self.has_key(request):
            return web.json_response({"detail": "a key is needed"}, status=401)
        verb = request.match_info["verb"]
        told = await request.json() if request.can_read_body else None
        self.asked.append((verb, told))
        try:
            if verb == "resize":
                self.group.resize(told["sessions"])
            elif verb == "drain":
                self.group.drain()
            else:
                self.is_paused = verb == "pause"
        except ConfigurationError as error:
            return web.json_response({"detail": str(error)}, status=400)
        return web.Response(status=204)

    @asynccontextmanager
    async def served(self, port=0, **limits):
        """Serve it; gives the address."""
        app = web.Application()
        self.page.add_to(app)
        app.router.add_post("/v1/admin/{verb}", self.administer)
        self.listener = listener = Listener(app, ServiceLimits(close_timeout=5.0, **limits))
        _, port = await listener.start("127.0.0.1", port)
        try:
            yield f"http://127.0.0.1:{port}/"
        finally:
            await listener.close()


async def speak(group, avatar="a", audio=bytes(3200)):
    """Have something animated to its last frame."""
    async with group.borrow(avatar) as conn:
        await conn.session.send_audio(audio, end=True)
        return await conn.collector.wait(30)
