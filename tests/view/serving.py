"""The page's server, in front of a pool."""

from contextlib import asynccontextmanager

from aiohttp import web

from avatarpool.view import create_page


@asynccontextmanager
async def serve(pool, **options):
    """Serve the page on a free port; gives its address."""
    runner = create_page(pool, **options)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()
