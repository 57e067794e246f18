"""The page's server, in front of a pool."""

from contextlib import asynccontextmanager
from importlib.resources import files

from aiohttp import web

from avatarpool.view import create_page

WAV = files("avatarpool").joinpath("assets", "speech.wav").read_bytes()


def wav_of(pcm):
    """A WAV file of samples at 16 kHz."""
    sizes = (36 + len(pcm)).to_bytes(4, "little"), len(pcm).to_bytes(4, "little")
    return WAV[:4] + sizes[0] + WAV[8:40] + sizes[1] + pcm


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
