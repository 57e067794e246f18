"""An empty page with the module for faces, of whatever origin."""

from contextlib import asynccontextmanager

from aiohttp import web

from avatarpool.endpoint.pages import face_files

_BLANK = (b"<!doctype html><title>blank</title>", "text/html")


@asynccontextmanager
async def served_files(files):
    """Serve files by path, with their types, on a free port; gives the address."""

    def answering(body, content_type):
        async def answer(_request):
            return web.Response(body=body, content_type=content_type)

        return answer

    app = web.Application()
    for path, (body, content_type) in files.items():
        app.router.add_get(path, answering(body, content_type))
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def blank_page(browser, module="/face/"):
    """A page in which ``run(script, argument)`` has the module's names, as ``face``.

    Args:
        browser: Where.
        module: The address of the module's folder.
    """
    async with served_files(face_files() | {"/": _BLANK}) as address:
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(address)

        async def run(script, argument=None):
            return await page.evaluate(
                f"""async (given) => {{
                  const face = await import("{module}avatarpool-face.js");
                  const from = (file) => import("{module}" + file);
                  {script}
                }}""",
                argument,
            )

        yield run
        await context.close()
