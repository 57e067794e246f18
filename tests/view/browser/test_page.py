"""The page as people meet it, in Debian's Chromium."""

import asyncio
import json
import math
import random
import re
import statistics
from base64 import b64encode
from dataclasses import asdict
from pathlib import Path

import pytest
from browsing import opened, says, text, until
from motionless import Motionless
from serving import WAV, serve, wav_of

from avatarpool import AvatarConnectionPool, Keyframe, LocalAvatarService
from avatarpool.service.faults import SessionFault, Step
from avatarpool.view import face_svg, pose_of
from avatarpool.view.face import _RIG
from avatarpool.view.page import MAX_FILE_BYTES

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECOND = wav_of(WAV[44 : 44 + 32000])  # one of speech
ARTEFACTS = Path(__file__).parents[3] / "artefacts"

# Of each picture while the audio plays: the jaw, the drawing, and between which two times of
# the audio it was drawn (the page draws before this looks).
WATCH = """() => new Promise((resolve) => {
  const [face, audio] = [document.getElementById("face"), document.getElementById("audio")];
  const seen = [];
  let from = 0;
  (function look() {
    if (audio.ended) return resolve(seen);
    const to = audio.currentTime;
    if (from > 0) {
      const svg = new XMLSerializer().serializeToString(face.shadowRoot.querySelector("svg"));
      seen.push({ from, to, svg, jaw: face.pose.jaw });
    }
    from = to;
    requestAnimationFrame(look);
  })();
})"""

# How many pixels of a drawing show the inside of the mouth: teeth, or darker than lips.
OPENING = """async (svg) => {
  const image = new Image(400, 450);
  const sized = svg.replace("<svg ", '<svg width="400" height="450" ');
  image.src = "data:image/svg+xml," + encodeURIComponent(sized);
  await image.decode();
  const pen = new OffscreenCanvas(400, 450).getContext("2d");
  pen.drawImage(image, 0, 0);
  const { data } = pen.getImageData(140, 280, 120, 90); // between the nose and the chin
  let pixels = 0;
  for (let i = 0; i < data.length; i += 4) {
    const [red, green, blue] = data.slice(i, i + 3);
    if ((red < 140 && green < 60) || (green > 200 && blue > 195)) pixels++;
  }
  return pixels;
}"""


async def speak_the_sample(page):
    """Have the shipped clip spoken; return the frames that the page got, once all are there."""
    async with page.expect_response("**/animate") as response:
        await page.click("text=Speak the sample")
    lines = (await (await response.value).text()).splitlines()
    return [json.loads(line) for line in lines][1:]


def jaw_at(frames, time):
    """The jaw between the middles of two frames of 40 ms."""
    place = min(len(frames) - 1, max(0.0, time * 25 - 0.5))
    before, after = frames[math.floor(place)], frames[math.ceil(place)]
    share = place % 1
    return before["pose"]["jaw"] * (1 - share) + after["pose"]["jaw"] * share


async def test_the_mouth_in_the_picture_follows_the_frames_and_the_audio(browser, page):
    shown = await opened(browser, page)
    watching = asyncio.create_task(shown.evaluate(WATCH))
    frames = await speak_the_sample(shown)
    seen = await watching
    assert len(frames) == 75
    assert len(seen) >= 10
    blank = await browser.new_page()
    seen = seen[:: -(-len(seen) // 40)]
    openings = [await blank.evaluate(OPENING, picture["svg"]) for picture in seen]
    jaws = [jaw_at(frames, picture["to"]) for picture in seen]
    assert statistics.correlation(openings, jaws) > 0.8
    for picture in seen:
        # What the face does is what the audio says at most one frame earlier or later.
        first, last = round(1000 * picture["from"]) - 40, round(1000 * picture["to"]) + 41
        near = [jaw_at(frames, ms / 1000) for ms in range(first, last)]
        assert min(near) - 0.01 <= picture["jaw"] <= max(near) + 0.01


async def near_the_end(page):
    """Jump to where little is left to be heard."""
    await until(page, "audio.currentTime > 0")
    await page.evaluate("audio.currentTime = audio.duration - 0.3")


async def test_the_page_tells_request_time_and_frames_and_asks_nobody_else(browser, page):
    context = await browser.new_context()
    shown = await context.new_page()
    requested, said = [], []
    shown.on("request", lambda request: requested.append(request.url))
    shown.on("console", lambda message: said.append(message.text))
    shown.on("pageerror", lambda error: said.append(str(error)))
    await shown.goto(page)
    await speak_the_sample(shown)
    await near_the_end(shown)
    await says(shown, "Done.")
    assert re.fullmatch(r"\d{14}_\S+", await text(shown, "request"))
    assert re.fullmatch(r"\d+ ms", await text(shown, "first"))
    assert await text(shown, "frames") == "75"
    assert all(url.removeprefix("blob:").startswith(page) for url in requested)
    assert said == []


async def test_a_chosen_file_is_spoken_and_can_be_chosen_again(browser, page):
    shown = await opened(browser, page)
    for _ in range(2):
        file = {"name": "mine.wav", "mimeType": "audio/wav", "buffer": SECOND}
        await shown.set_input_files("#file", file)
        await says(shown, "Speaking mine.wav.")
        await says(shown, "Done.")


CHOOSE = """({ size, name }) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(size)], name));
  const input = document.getElementById("file");
  input.files = data.files;
  input.dispatchEvent(new Event("change"));
}"""


DROP = """({ bytes, name }) => {
  const data = new DataTransfer();
  const content = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
  if (name) data.items.add(new File([content], name));
  const event = { dataTransfer: data, bubbles: true, cancelable: true };
  document.body.dispatchEvent(new DragEvent("drop", event));
}"""


async def test_a_dropped_file_is_spoken(browser, page):
    shown = await opened(browser, page)
    await shown.evaluate(DROP, {"bytes": b64encode(WAV).decode(), "name": "dropped.wav"})
    await says(shown, "Speaking dropped.wav.")
    await shown.evaluate(DROP, {"bytes": "", "name": ""})
    assert await text(shown, "status") == "That is no file: drop an audio file."


async def test_a_wrong_file_gets_one_sentence(browser, page):
    shown = await opened(browser, page)
    await shown.click("text=Speak the sample")
    await says(shown, "Speaking the sample.")
    for content, sentence in (
        (None, "wrong.wav is larger than 32 MiB: choose a shorter one."),
        (
            b"no audio at all",
            (
                "The audio is neither WAV, Wave64, AIFF, Ogg, MP3, AAC, FLAC, M4A nor WebM: "
                "convert it."
            ),
        ),
        (WAV[:40], "The WAV file ends before its audio: export it again."),
    ):
        if content is None:  # too large to be handed over by whoever drives the browser
            await shown.evaluate(CHOOSE, {"size": MAX_FILE_BYTES + 1, "name": "wrong.wav"})
        else:
            file = {"name": "wrong.wav", "mimeType": "audio/wav", "buffer": content}
            await shown.set_input_files("#file", file)
        await says(shown, sentence)
        assert await shown.get_attribute("#status", "class") == "problem"
        details = [await text(shown, element) for element in ("request", "first", "frames")]
        assert details == ["none", "\N{EN DASH}", "0"]
    await shown.click("text=Speak the sample")  # and the page goes on
    await says(shown, "Speaking the sample.")


async def test_a_server_that_is_gone_gets_one_sentence(browser, pool):
    async with serve(pool) as address:
        shown = await opened(browser, address)
    await shown.click("text=Speak the sample")
    await says(shown, "The server does not answer: start avatarpool view again.")


async def test_the_audio_waits_for_a_service_that_is_slower_than_speech(browser, service, pool):
    service.faults.sessions = SessionFault(stalls_at=Step.FRAMES, after_frames=10)
    async with serve(pool, patience=2.0) as address:
        shown = await opened(browser, address)
        await shown.click("text=Speak the sample")
        await says(shown, "Waiting for the service…")
        audio = "document.getElementById('audio')"
        assert await shown.evaluate(f"{audio}.paused && !{audio}.ended")
        assert await shown.evaluate(f"{audio}.currentTime") > 0.35  # of 10 frames
        # The rest never comes, and what there is to hear can be heard all the same.
        await until(shown, "document.getElementById('status').className === 'problem'")
        assert "gave no next frame" in await text(shown, "status")
        await shown.evaluate(f"{audio}.play()")
        await until(shown, f"{audio}.ended")

        service.faults.sessions = SessionFault(delay=0.06)
        file = {"name": "second.wav", "mimeType": "audio/wav", "buffer": SECOND}
        await shown.set_input_files("#file", file)
        await says(shown, "Waiting for the service…")
        await says(shown, "Done.")
        assert await text(shown, "frames") == "25"


async def test_a_service_that_does_not_answer_is_named(browser, service, pool):
    service.faults.sessions = SessionFault(stalls_at=Step.FRAMES)
    async with serve(pool, patience=4.0) as address:
        shown = await opened(browser, address)
        await shown.click("text=Speak the sample")
        await says(shown, "Waiting for the service…")
        await until(shown, "document.getElementById('status').className === 'problem'")
        assert "gave no first frame within 4.00 s" in await text(shown, "status")


async def test_an_answer_without_keyframes_gets_one_sentence(browser):
    async with (
        LocalAvatarService(driver=Motionless) as service,
        AvatarConnectionPool(1, service.config_factory) as pool,
        serve(pool) as address,
    ):
        shown = await opened(browser, address)
        await shown.click("text=Speak the sample")
        await says(shown, "The service gave no keyframe.")


async def test_the_page_says_what_the_audio_does(browser, page):
    shown = await opened(browser, page)
    await shown.click("text=Speak the sample")
    await says(shown, "Speaking the sample.")
    await shown.evaluate("document.getElementById('audio').pause()")
    await says(shown, "Paused.")
    await shown.evaluate("document.getElementById('audio').play()")
    await says(shown, "Speaking the sample.")
    await near_the_end(shown)
    await says(shown, "Done.")
    await shown.evaluate("document.getElementById('audio').play()")
    await says(shown, "Speaking the sample.")


async def test_everything_has_a_name_and_the_keyboard_reaches_it(browser, page):
    shown = await opened(browser, page)
    roles = await shown.locator("body").aria_snapshot()
    for expected in (
        'heading "avatarpool"',
        'img "A face that speaks the audio"',
        'button "Speak the sample"',
        'button "Choose an audio file"',
        'button "Record"',
        'button "Speak live"',
        'button "Dark"',
        "status: Ready.",
        'img "Jaw, lids and loudness over time"',
    ):
        assert expected in roles
    reached = []
    for _ in range(5):
        await shown.keyboard.press("Tab")
        reached.append(await shown.evaluate("document.activeElement.id"))
        outline = """getComputedStyle(
          document.activeElement.closest(".button") ?? document.activeElement).outlineStyle"""
        assert await shown.evaluate(outline) == "solid"
    assert reached == ["theme", "clip", "file", "record", "live"]
    await shown.focus("#clip")
    await shown.keyboard.press("Enter")
    await says(shown, "Speaking the sample.")


CONTRAST = """() => {
  const style = getComputedStyle(document.documentElement);
  const light = (name) => {
    const [r, g, b] = style.getPropertyValue("--" + name).match(/\\w\\w/g)
      .map((hex) => parseInt(hex, 16) / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) =>
    (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  return Math.min(ratio("ink", "ground"), ratio("ink", "card"), ratio("quiet", "card"),
    ratio("accent", "card"), ratio("on-accent", "accent"), ratio("problem", "card"));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_both_themes_are_readable(browser, page, scheme):
    size = {"width": 1280, "height": 800}
    shown = await opened(browser, page, color_scheme=scheme, viewport=size)
    await speak_the_sample(shown)
    await until(shown, "document.getElementById('audio').currentTime > 1")
    ARTEFACTS.mkdir(exist_ok=True)
    await shown.screenshot(path=ARTEFACTS / f"view-{scheme}.png")
    assert await shown.evaluate(CONTRAST) >= 4.5  # WCAG 2.1, AA


async def test_the_theme_that_was_chosen_stays(browser, page):
    shown = await opened(browser, page, color_scheme="light")
    await shown.click("text=Dark")
    await shown.reload()
    assert await shown.get_attribute("html", "data-theme") == "dark"
    assert await shown.get_attribute("#theme", "aria-pressed") == "true"


async def test_nobody_sees_the_other_theme_first(browser, page):
    context = await browser.new_context(color_scheme="dark")
    shown = await context.new_page()
    asked, released = asyncio.Event(), asyncio.Event()

    async def hold(route):
        asked.set()
        await released.wait()
        await route.continue_()

    await shown.route("**/rig.json", hold)  # without it there is no face
    await shown.goto(page)
    await asked.wait()
    assert await shown.get_attribute("html", "data-theme") == "dark"
    released.set()
    await until(shown, "!!document.querySelector('avatar-face').shadowRoot")


async def test_the_chart_takes_the_themes_colours(browser, page):
    shown = await opened(browser, page, color_scheme="light", reduced_motion="reduce")
    await shown.click("text=Speak the sample")
    await says(shown, "Speaking the sample.")
    await near_the_end(shown)
    await says(shown, "Done.")
    picture = "document.getElementById('chart').toDataURL()"
    # Its last change was drawn once two pictures were.
    await shown.evaluate(
        "new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))"
    )
    light = await shown.evaluate(picture)
    await shown.click("text=Dark")
    await until(shown, f"{picture} !== {json.dumps(light)}")
    await shown.click("text=Dark")
    await until(shown, f"{picture} === {json.dumps(light)}")


async def test_a_browser_that_keeps_nothing_shows_the_page_all_the_same(browser, page):
    context = await browser.new_context(color_scheme="light")
    await context.add_init_script(
        """Object.defineProperty(window, "localStorage", {
          get() { throw new DOMException("denied", "SecurityError"); } })"""
    )
    shown = await context.new_page()
    await shown.goto(page)
    await shown.click("text=Dark")
    assert await shown.get_attribute("html", "data-theme") == "dark"
    await shown.click("text=Speak the sample")
    await says(shown, "Speaking the sample.")


async def test_the_charts_key_has_its_colours_where_colours_are_forced(browser, page):
    shown = await opened(browser, page, forced_colors="active")
    colours = """[...document.querySelectorAll(".key")]
      .map((key) => getComputedStyle(key, "::before").backgroundColor)"""
    assert len(set(await shown.evaluate(colours))) == 3


async def test_nothing_is_cut_off_at_any_size(browser, page):
    shown = await opened(browser, page)
    ARTEFACTS.mkdir(exist_ok=True)
    for width, height in ((320, 568), (360, 740), (1024, 600), (3840, 2160)):
        await shown.set_viewport_size({"width": width, "height": height})
        assert await shown.evaluate("document.documentElement.scrollWidth") <= width
        face = await shown.locator("#face").bounding_box()
        assert face["x"] >= 0
        assert face["x"] + face["width"] <= width
        assert face["y"] + face["height"] <= height
        if width < 3840:  # it takes seconds to paint
            await shown.screenshot(path=ARTEFACTS / f"view-{width}x{height}.png", full_page=True)


async def test_a_chart_without_speech_says_what_it_will_show(browser, page):
    shown = await opened(browser, page)
    promise = "The jaw, the lids and the loudness will be drawn here over time, "
    assert (await text(shown, "promise")).startswith(promise)
    await shown.click("text=Speak the sample")
    await says(shown, "Speaking the sample.")
    await until(shown, "document.getElementById('promise').hidden")


async def test_a_face_at_rest_is_still_for_those_who_want_less_motion(browser, page):
    poses = """() => new Promise((resolve) => {
      const seen = [];
      (function look() {
        seen.push(JSON.stringify(document.getElementById("face").pose));
        if (seen.length < 20) requestAnimationFrame(look); else resolve(new Set(seen).size);
      })();
    })"""
    still = await opened(browser, page, reduced_motion="reduce")
    assert await still.evaluate(poses) == 1
    moving = await opened(browser, page, reduced_motion="no-preference")
    assert await moving.evaluate(poses) > 1


async def test_the_browser_draws_what_python_draws(browser, page):
    shown = await opened(browser, page)
    chance = random.Random(4)
    for _ in range(5):
        pose = {
            name: round(chance.uniform(*parameter["range"]), 3)
            for name, parameter in _RIG["parameters"].items()
        }
        drawn = await shown.evaluate(
            """(pose) => {
              const face = document.createElement("avatar-face");
              face.pose = pose;
              return face.shadowRoot.innerHTML;
            }""",
            pose,
        )
        ours = face_svg(pose)
        assert numbers(drawn) == pytest.approx(numbers(ours), abs=0.011)
        assert re.findall(r' fill="([^"(]+)', drawn) == re.findall(r' fill="([^"(]+)', ours)


def numbers(svg):
    """All numbers of all outlines."""
    outlines = re.findall(r' d="([^"]+)"', svg)
    return [float(number) for d in outlines for number in re.findall(r"-?[\d.]+", d)]


async def test_the_drawn_face_takes_keyframes_as_pythons_does(browser, page):
    shown = await opened(browser, page)
    keyframes = [
        Keyframe(),
        Keyframe(rotation=(0.1, -0.2, 0.1), neck_pose=(0.0, 0.05, 0.0), eye_lid=(0.5, 2.0)),
        Keyframe(jaw_pose=(0.2,), eye_pose=(0.1,) * 6, expression=(-0.5, 0.1, 0.2, 0.3, 0.4)),
    ]
    poses = await shown.evaluate(
        """async (keyframes) => {
          const { poseOf } = await import("/avatar-face.js");
          return keyframes.map(poseOf);
        }""",
        [asdict(keyframe) for keyframe in keyframes],
    )
    assert poses == [pytest.approx(pose_of(keyframe)) for keyframe in keyframes]
