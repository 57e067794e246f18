"""examples/three_js: a head of three.js speaks through a gateway."""

import shutil
import subprocess
import sys
from base64 import b64decode
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from browsing import SPEECH, says, text, until
from served_gateway import ONE, served

from avatarpool import AvatarConnectionPool, LocalAvatarService, keyframes_of
from avatarpool.animate.model import read_model
from avatarpool.blendshapes import ARKIT, LOCAL, arkit
from avatarpool.lipsync import DspDriver

pytestmark = pytest.mark.asyncio(loop_scope="session")

EXAMPLE = Path(__file__).parents[3] / "examples" / "three_js"
ARTEFACTS = Path(__file__).parents[3] / "artefacts"
INSTALL_TIMEOUT = 60.0

# Of each picture: how far the jaw of the head in the scene is open.
WATCH = """async () => {
  const { Object3D } = await import("three");
  const { traverse } = Object3D.prototype;
  const stage = document.getElementById("stage");
  window.jaws = [];
  Object3D.prototype.traverse = function (callback) {
    traverse.call(this, callback);
    if (this.name !== "head") return;
    let jaw = null;
    traverse.call(this, ({ morphTargetDictionary: places, morphTargetInfluences: values }) => {
      if (places) jaw = values[places.jawOpen];
    });
    window.jaws.push(jaw);
    // Once this picture is drawn, and before the canvas is cleared.
    if (jaw > 0.1) queueMicrotask(() => (window.picture ??= stage.toDataURL()));
  };
}"""

INTERRUPT = """() => new Promise((resolve) => {
  (function look() {
    const stop = document.getElementById("stop");
    if (stop.disabled) return requestAnimationFrame(look); // nothing is spoken yet
    stop.click();
    resolve();
  })();
})"""


@pytest.fixture(scope="module")
def three(pytestconfig):
    """Where three.js is: npm puts it into pytest's cache, once."""
    directory = pytestconfig.cache.mkdir("three_js")
    if not (directory / "node_modules" / "three" / "package.json").is_file():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("the example's head is drawn where there is npm")
        for name in ("package.json", "package-lock.json"):
            shutil.copy(EXAMPLE / name, directory)
        command = [npm, "ci", "--no-audit", "--no-fund", "--fetch-retries=0", "--loglevel=error"]
        try:
            subprocess.run(  # noqa: S603  # npm, by its own path
                command, cwd=directory, capture_output=True, timeout=INSTALL_TIMEOUT, check=True
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            pytest.skip("npm could not install three.js: the example's head is drawn where it can")
    return directory / "node_modules"


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """The head, made as the README says."""
    path = tmp_path_factory.mktemp("head") / "head.glb"
    subprocess.run([sys.executable, EXAMPLE / "head.py", path], check=True, capture_output=True)  # noqa: S603
    return path


@asynccontextmanager
async def example_page(modules, head):
    """The example's folder as ``npm start`` serves it once all is installed."""

    async def answer(_request):
        return web.FileResponse(head)

    app = web.Application()
    app.router.add_get("/head.glb", answer)
    app.router.add_static("/node_modules", modules)
    app.router.add_static("/", EXAMPLE)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/index.html"
    finally:
        await runner.cleanup()


async def widest(service, speech):
    """How far a speech opens the jaw at the most."""
    config = service.config_factory(avatar_id="a")
    async with AvatarConnectionPool(1, lambda: config) as pool, pool.borrow() as conn:
        await conn.session.send_audio(speech, end=True)
        frames = await conn.collector.wait()
    return max(arkit(keyframe, LOCAL)["jawOpen"] for keyframe in keyframes_of(frames))


async def test_the_head_in_the_scene_speaks_a_file_and_is_still_after(browser, three, head, speech):
    async with (
        LocalAvatarService(driver=DspDriver, avatar_ids=("a", "b")) as service,
        served(service) as gateway,
        example_page(three, head) as address,
    ):
        context = await browser.new_context(viewport={"width": 480, "height": 560})
        page = await context.new_page()
        problems = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        await page.goto(f"{address}#gateway={gateway.url}&key={ONE}&avatar=a")
        await until(page, "document.getElementById('status').textContent !== 'Loading.'")
        assert await text(page, "status") == "Choose a file."
        await page.evaluate(WATCH)
        await until(page, "window.jaws.length > 2")
        assert max(await page.evaluate("jaws")) < 0.01
        for _ in range(3):  # a busy machine draws so few pictures that none has an open mouth
            await page.set_input_files("#file", str(SPEECH))
            await says(page, "Done.")
            if await page.evaluate("!!window.picture"):
                break
        ARTEFACTS.mkdir(exist_ok=True)
        picture = b64decode((await page.evaluate("picture")).partition(",")[2])
        (ARTEFACTS / "three-js-head.png").write_bytes(picture)
        await until(page, "jaws.at(-1) < 0.01")
        most = await widest(service, speech)
        assert max(await page.evaluate("jaws")) <= most + 1e-6
        await page.set_input_files("#file", str(SPEECH))
        await page.evaluate(INTERRUPT)
        await says(page, "Interrupted.")
        await until(page, "jaws.at(-1) < 0.01")
        assert not problems
        await context.close()
    assert most > 0.2


async def test_the_head_has_arkits_shapes_for_glb_animations_too(head):
    model = read_model(head)
    (target,) = model.targets
    assert target.names == ARKIT
