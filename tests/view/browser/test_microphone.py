"""Speaking to the page: what the microphone hears, recorded or live, in Debian's Chromium."""

import asyncio
import math
from itertools import pairwise

import pytest
from browsing import opened, says, text, until
from serving import serve

from avatarpool import AvatarConnectionPool
from avatarpool.service.faults import SessionFault, Step

pytestmark = pytest.mark.asyncio(loop_scope="session")

LIVE = "Live, 120 s at most: speak."

# The largest and the smallest opening of the jaw in what is shown until it has moved enough.
JAWS = """() => new Promise((resolve) => {
  let [least, most] = [Infinity, -Infinity];
  (function look() {
    const { jaw = 0 } = document.getElementById("face").pose;
    [least, most] = [Math.min(least, jaw), Math.max(most, jaw)];
    if (most - least > 0.3) resolve([least, most]); else requestAnimationFrame(look);
  })();
})"""


async def until_whole(pool):
    """Wait until both sessions of the pool can be lent."""
    async with asyncio.timeout(30):
        while pool.available_count < 2:
            await asyncio.sleep(0.01)


async def at_microphone(browser, page, **options):
    return await opened(browser, page, permissions=["microphone"], **options)


async def frames_of(page):
    return int(await text(page, "frames"))


async def test_the_face_speaks_along_while_one_speaks(browser, page, pool):
    shown = await at_microphone(browser, page)
    await shown.click("#live")
    await says(shown, LIVE)
    async with asyncio.timeout(30):
        await shown.evaluate(JAWS)
    assert await text(shown, "live") == "Stop"  # nobody has stopped it
    assert pool.available_count == 1
    assert int((await text(shown, "lag")).removesuffix(" ms")) > 0
    assert await shown.evaluate("document.getElementById('audio').currentSrc") == ""  # no echo
    await shown.click("#live")
    await says(shown, "Done.")
    assert await text(shown, "live") == "Speak live"
    assert await frames_of(shown) >= 5
    await until_whole(pool)
    # And once more, with a session that was used.
    await shown.click("#live")
    await says(shown, LIVE)
    await until(shown, "+document.getElementById('frames').textContent > 5")
    await shown.click("#live")
    await says(shown, "Done.")


async def test_leaving_the_page_amid_speech_gives_the_session_back(browser, page, pool):
    for leave in (
        lambda shown: shown.goto("about:blank"),
        lambda shown: shown.close(),
        lambda shown: shown.click("#clip"),
    ):
        shown = await at_microphone(browser, page)
        await shown.click("#live")
        await until(shown, "+document.getElementById('frames').textContent > 5")
        assert pool.available_count == 1
        await leave(shown)
        await until_whole(pool)
    await says(shown, "Speaking the sample.")  # and nobody says any more how live went
    assert await text(shown, "live") == "Speak live"


async def test_a_pool_that_is_busy_is_said(browser, service):
    async with AvatarConnectionPool(1, service.config_factory, timeout=3.0) as pool:
        async with serve(pool) as page, pool.borrow():
            shown = await at_microphone(browser, page)
            await shown.click("#live")
            await says(shown, "Waiting for the service…")
            await until(shown, "document.getElementById('status').className === 'problem'")
            assert "gave no connection within 3.00 s" in await text(shown, "status")
            assert await text(shown, "live") == "Speak live"


async def test_a_service_that_stalls_is_said_and_the_microphone_goes_off(browser, service, pool):
    service.faults.sessions = SessionFault(stalls_at=Step.FRAMES, after_frames=3)
    async with serve(pool, patience=2.0) as page:
        shown = await at_microphone(browser, page)
        await shown.click("#live")
        await until(shown, "document.getElementById('status').className === 'problem'")
        assert "frame within 2.00 s" in await text(shown, "status")
        assert await shown.is_hidden("#microphone")


async def test_a_server_that_goes_amid_speech_is_said(browser, pool):
    async with serve(pool) as page:
        shown = await at_microphone(browser, page)
        await shown.click("#live")
        await until(shown, "+document.getElementById('frames').textContent > 5")
    await says(shown, "The server does not answer: start avatarpool view again.")
    await until_whole(pool)


async def test_live_that_is_stopped_before_it_begins_ends(browser, service):
    async with AvatarConnectionPool(1, service.config_factory, timeout=30.0) as pool:
        async with serve(pool) as page, pool.borrow():
            shown = await at_microphone(browser, page)
            await shown.click("#live")
            await until(shown, "!document.getElementById('microphone').hidden")
            await shown.click("#live")
            await says(shown, "Nothing was heard: try again, and longer.")


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
async def test_a_meter_shows_that_the_microphone_hears(browser, page, motion):
    shown = await at_microphone(browser, page, reduced_motion=motion)
    assert await shown.is_hidden("#microphone")
    await shown.click("#record")
    await says(shown, "Recording, 60 s at most.")
    level = shown.get_by_role("meter", name="Microphone level")
    await level.wait_for()
    await until(shown, "document.getElementById('level').value > -40")
    # Not by its length and colour alone.
    await until(shown, "/^\u2212\\d+ dB, (good|very quiet)$/.test(heard.textContent)")
    told = await level.get_attribute("aria-valuetext")
    assert told.endswith((" dB, good", " dB, very quiet", "nothing is heard"))
    await until(shown, "elapsed.textContent === '0:01 of 1:00'")
    await shown.click("#record")
    await says(shown, "Speaking the recording.")
    assert await shown.is_hidden("#microphone")
    assert await shown.is_visible("#audio")


async def test_what_the_microphone_hears_is_spoken(browser, page):
    shown = await at_microphone(browser, page)
    await shown.click("#record")
    await says(shown, "Recording, 60 s at most.")
    await until(shown, "elapsed.textContent === '0:01 of 1:00'")  # what is recorded
    await shown.click("#record")
    await says(shown, "Speaking the recording.")
    await until(shown, "+document.getElementById('frames').textContent >= 25")
    assert await text(shown, "record") == "Record"


async def test_another_source_ends_a_recording(browser, page):
    shown = await at_microphone(browser, page)
    await shown.click("#record")
    await says(shown, "Recording, 60 s at most.")
    await shown.click("text=Speak the sample")
    await says(shown, "Speaking the sample.")
    await until(shown, "document.getElementById('record').textContent === 'Record'")
    await shown.evaluate("audio.currentTime = audio.duration - 0.3")
    await says(shown, "Done.")  # and nobody speaks the recording


async def test_live_ends_a_recording_and_a_recording_ends_live(browser, page, pool):
    shown = await at_microphone(browser, page)
    for on, off, label, sentence in (
        ("record", "live", "Speak live", "Recording, 60 s at most."),
        ("live", "record", "Record", LIVE),
        ("record", "live", "Speak live", "Recording, 60 s at most."),
    ):
        await shown.click(f"#{on}")
        await says(shown, sentence)
        await until(shown, f"document.getElementById('{off}').textContent === '{label}'")
        assert await text(shown, on) == "Stop"
    await until_whole(pool)


async def test_a_microphone_that_is_forbidden_gets_one_sentence(browser, page):
    shown = await opened(browser, page, permissions=[])
    for button, label in (("record", "Record"), ("live", "Speak live")):
        await shown.click(f"#{button}")
        await says(
            shown,
            "The browser does not let this page use the microphone: allow it in the address bar.",
        )
        await until(shown, f"document.getElementById('{button}').textContent === '{label}'")
        await shown.click("#clip")  # which says something else
        await until(shown, "document.getElementById('status').className === ''")


# A sine of a browser's rate through the page's worklet: all of its pieces, joined.
TONE = """async ([rate, hertz, seconds]) => {
  const context = new OfflineAudioContext(1, rate * seconds, rate);
  await context.audioWorklet.addModule("microphone-worklet.js");
  const node = new AudioWorkletNode(context, "microphone");
  const samples = [];
  node.port.onmessage = ({ data }) => samples.push(...data);
  const tone = new OscillatorNode(context, { frequency: hertz });
  tone.connect(node).connect(context.destination);
  tone.start();
  const heard = await context.startRendering();
  while (samples.length < 16000 * seconds - 1280) await new Promise((go) => setTimeout(go, 10));
  return [samples, Math.max(...heard.getChannelData(0).map(Math.abs))];
}"""


async def test_the_browsers_rate_becomes_16_khz_without_a_click(browser, page):
    shown = await opened(browser, page)
    for rate in (16000, 44100, 48000, 96000, 8000):
        samples, echo = await shown.evaluate(TONE, [rate, 440, 1])
        assert echo == 0  # nobody hears themselves
        # The same sine: x[n] = 2 cos(w) x[n-1] - x[n-2].
        turn = 2 * math.cos(2 * math.pi * 440 / 16000)
        middle = samples[1000:15000]
        assert max(middle) > 32000
        for first, second, third in zip(middle, middle[1:], middle[2:], strict=False):
            assert abs(third - (turn * second - first)) < 40  # of 32,767: clipping and rounding


async def test_what_16_khz_cannot_hold_is_not_heard_as_something_else(browser, page):
    shown = await opened(browser, page)
    for rate in (44100, 48000):
        samples, _ = await shown.evaluate(TONE, [rate, 10000, 1])
        assert max(map(abs, samples[1000:15000])) < 33  # 60 dB down


PLAYOUT = """async (arrivals) => {
  const { Playout } = await import("./playout.js");
  const playout = new Playout();
  const shown = [];
  arrivals.forEach((now, index) => {
    playout.arrived(index, now);
    shown.push(playout.at(now));
  });
  return shown;
}"""


async def test_the_delay_is_the_smallest_that_is_steady(browser, page):
    shown = await opened(browser, page)
    steady = [10 + 0.04 * i + 0.01 * (i % 3) for i in range(100)]
    times = await shown.evaluate(PLAYOUT, steady)
    delays = [now - time for now, time in zip(steady, times, strict=True)]
    assert delays[3:] == pytest.approx([10.04] * 97)  # of the latest, and half a frame
    # After a hitch the face lags, and little by little makes up for it.
    late = [
        *steady,
        *(14.5 + 0.001 * i for i in range(12)),
        *(14.53 + 0.04 * i for i in range(400)),
    ]
    times = await shown.evaluate(PLAYOUT, late)
    assert all(second >= first - 1e-9 for first, second in pairwise(times))
    delays = [now - time for now, time in zip(late, times, strict=True)]
    assert max(delays) == pytest.approx(10.52)
    assert delays[-1] < 10.1
