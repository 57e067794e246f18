"""The live page as people meet it, in Debian's Chromium."""

import asyncio
import json
from pathlib import Path

import pytest
from browsing import chromium, connected, until
from watched import AVATARS, KEY, Client, Desk, group_of, speak

from avatarpool import ConfigurationError, LocalAvatarService, PoolEvent, PoolEventKind

ARTEFACTS = Path(__file__).parents[2] / "artefacts"
HOSTILE = '<img src=x onerror="document.title=1"><b>bold</b>'


@pytest.fixture(scope="module")
def shared_chromium():
    with chromium() as address:
        yield address


@pytest.fixture
async def browser(shared_chromium):
    async with connected(shared_chromium) as started:
        yield started


@pytest.fixture
async def service():
    async with LocalAvatarService(avatar_ids=AVATARS) as running:
        yield running


@pytest.fixture
async def group(service):
    async with group_of(service) as opened:
        yield opened


def desk_of(group, *clients, **options):
    return Desk(group, asyncio.get_running_loop().time, clients, **options)


async def opened(browser, address, **options):
    """Open the page in a context of its own; returns it with what went wrong in it."""
    context = await browser.new_context(**options)
    page = await context.new_page()
    page.said, page.requested = [], []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("request", lambda request: page.requested.append(request.url))
    await page.goto(address)
    return page


async def says(page, element, words):
    """Wait until an element begins so."""
    script = f"document.getElementById({json.dumps(element)}).textContent"
    await until(page, f"{script}.startsWith({json.dumps(words)})")


async def rows(page, table):
    """The texts of a table's cells, row by row."""
    script = """(id) => [...document.getElementById(id).rows]
      .map((row) => [...row.cells].map((cell) => cell.textContent))"""
    return await page.evaluate(script, f"{table}-rows")


def lost(reason):
    return PoolEvent(PoolEventKind.LOST, "gateway/a/16000", "c", reason)


async def test_the_page_shows_what_there_is_as_it_comes(browser, group):
    demo = Client("demo", refused={"queueTimeout": 2}, audio_seconds=200.0)
    desk = desk_of(group, demo)
    async with desk.served() as address:
        page = await opened(browser, address)
        await says(page, "status", "Live.")
        assert await page.inner_text("#open") == "0 of 4"
        assert "No session is open." in await page.inner_text("#sessions")
        assert "None in the last five minutes." in await page.inner_text("#failures")
        assert await page.is_visible("text=Waits will be drawn here")
        assert await rows(page, "clients") == [["demo", "0", "0", "0", "3 min", "queueTimeout 2"]]

        demo.requests, demo.waiting, demo.running = 3, 1, 2
        await asyncio.gather(*(speak(group, avatar) for avatar in ("a", "a", "b")))
        desk.watching.heard(lost("the peer is gone"))
        async with group.borrow("b"):
            await says(page, "came", "4")
            await until(page, "document.getElementById('states').textContent.includes('1 lent')")
            assert (await rows(page, "clients"))[0][:4] == ["demo", "2", "1", "3"]
            keys = [row[0] for row in await rows(page, "sessions")]
            assert sorted(keys) == ["a/16000", "a/16000", "b/16000"]
            assert await page.inner_text("#open") == "3 of 4"
        for chart in ("wait", "first", "arrivals"):
            assert await page.is_hidden(f"#{chart} + .promise")
        assert (await page.inner_text("#first-p50")).endswith(" ms")
        (failure,) = await rows(page, "failures")
        assert failure[:2] == ["session lost", "a/16000"]
        assert failure[3] == "the peer is gone"
        advice = "Too little traffic for advice: it takes 4"  # 46 more requests, or 47
        assert (await page.inner_text("#advice")).startswith(advice)
        assert page.said == []
        assert all(url.startswith(address) for url in page.requested)


async def test_what_strangers_say_is_text(browser, group):
    desk = desk_of(group, Client(HOSTILE, refused={HOSTILE: 1}))
    desk.watching.heard(lost(HOSTILE))
    desk.watching.turned_away(HOSTILE, HOSTILE)
    async with desk.served() as address:
        page = await opened(browser, address)
        await until(page, "document.getElementById('failures-rows').rows.length === 2")
        assert (await rows(page, "clients"))[0][0] == HOSTILE
        assert {row[3] for row in await rows(page, "failures")} == {HOSTILE}
        assert await page.locator("main img, main b").count() == 0
        assert await page.title() == "avatarpool: the gateway"
        assert page.said == []


async def test_a_gateway_that_goes_is_missed_and_found_again(browser, group):
    desk = desk_of(group)
    async with desk.served() as address:
        page = await opened(browser, address)
        await says(page, "status", "Live.")
    port = int(address.rstrip("/").rpartition(":")[2])
    await until(page, "document.getElementById('status').textContent.endsWith('Trying again…')")
    assert "What is shown is of " in await page.inner_text("#status")
    assert await page.get_attribute("#status", "class") == "problem"
    assert await page.inner_text("#open") == "0 of 4", "what was known stays"
    async with desk_of(group).served(port):
        await says(page, "status", "Live.")
        assert await page.get_attribute("#status", "class") == ""


async def test_a_gateway_that_falls_silent_is_missed(browser, group):
    desk = desk_of(group)
    async with desk.served() as address:
        page = await opened(browser, address)
        await says(page, "status", "Live.")
        desk.page._timer.cancel()
        await says(page, "status", "The gateway does not answer.")


async def enter(page, key):
    await page.fill("#key", key)
    await page.press("#key", "Enter")


def failing(sessions):
    raise ConfigurationError("group cannot work", ["no session is left"])


async def test_the_admin_key_brings_the_verbs(browser, group):
    await speak(group)
    desk = desk_of(group)
    async with desk.served() as address:
        page = await opened(browser, address)
        await page.wait_for_selector("#key")
        assert await page.is_hidden("#verbs")
        await enter(page, "schlüssel")
        await says(page, "said", "That is no key")
        await enter(page, "another")
        await says(page, "said", "That is not the admin key.")
        assert await page.is_hidden("#verbs")
        await enter(page, KEY)
        await says(page, "said", "The key is good.")
        assert await page.input_value("#key") == ""
        assert await page.is_hidden("#key")
        for verb, words in (
            ("pause", "Paused:"),
            ("resume", "Resumed."),
            ("drain", "Every session"),
        ):
            await page.click(f"#{verb}")
            await says(page, "said", words)
            if verb == "pause":
                await says(page, "status", "Paused: new requests are refused")
        await page.fill("#size", "7")
        await page.click("text=Resize")
        await until(page, "document.getElementById('open').textContent.endsWith(' of 7')")
        await page.fill("#size", "1000000")
        desk.group.resize = failing
        await page.click("text=Resize")
        await says(page, "said", "Group cannot work: no session is left.")
        desk.asked.pop()
        assert desk.asked == [
            ("pause", None), ("resume", None), ("drain", None), ("resize", {"sessions": 7})
        ]  # fmt: skip
        kept = "JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])"
        assert KEY not in await page.evaluate(kept)
        assert KEY not in await page.content()
        assert not any(KEY in url for url in page.requested)
        await page.click("#forget")
        await page.wait_for_selector("#key")
        assert await page.is_hidden("#verbs")
        assert [said for said in page.said if "400" not in said] == []  # Chromium's own


async def test_from_elsewhere_the_page_asks_for_the_key_first(browser, group):
    async with desk_of(group, is_open=False).served() as address:
        page = await opened(browser, address)
        await says(page, "status", "The admin key is needed")
        await enter(page, "another")
        await says(page, "said", "That is not the admin key.")
        await enter(page, KEY)
        await says(page, "status", "Live.")
        assert await page.is_visible("#verbs")
        await page.click("#forget")
        await says(page, "status", "The admin key is needed")


async def test_without_an_admin_key_nothing_is_offered(browser, group):
    async with desk_of(group, has_admin_key=False).served() as address:
        page = await opened(browser, address)
        await says(page, "status", "Live.")
        assert await page.is_hidden("#admin")


async def test_everything_has_a_name_and_the_keyboard_reaches_it(browser, group):
    await speak(group)
    async with desk_of(group, Client("demo")).served() as address:
        page = await opened(browser, address)
        await says(page, "status", "Live.")
        roles = await page.locator("body").aria_snapshot()
        for expected in (
            'heading "avatarpool gateway"',
            "status: Live.",
            'img "Waits for a session over time"',
            'region "Sessions"',
            'columnheader "Requests"',
            'cell "a/16000"',
            'heading "Recent failures"',
            'textbox "Admin key"',
        ):
            assert expected in roles, roles
        reached = []
        for _ in range(6):
            await page.keyboard.press("Tab")
            reached.append(
                await page.evaluate(
                    "document.activeElement.id || document.activeElement.parentElement.id"
                )
            )
            outline = "getComputedStyle(document.activeElement).outlineStyle"
            assert await page.evaluate(outline) == "solid"
        assert reached == ["theme", "sessions", "clients", "failures", "key", "entry"]
        await page.focus("#key")
        await page.keyboard.type(KEY)
        await page.keyboard.press("Enter")
        await until(page, "document.activeElement.id === 'pause'")


CONTRAST = """(pairs) => {
  const style = getComputedStyle(document.documentElement);
  const light = (name) => {
    const [r, g, b] = style.getPropertyValue("--" + name).match(/\\w\\w/g)
      .map((hex) => parseInt(hex, 16) / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  return Math.min(...pairs.map(([a, b]) =>
    (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05)));
}"""
TEXTS = [["ink", "ground"], ["quiet", "ground"], ["ink", "card"], ["quiet", "card"],
         ["accent", "card"], ["problem", "card"]]  # fmt: skip
DRAWINGS = [[name, "card"] for name in ("p50", "p95", "arrivals", "failures", "idle", "lent",
                                        "draining", "opening")]  # fmt: skip


async def busy(group, desk):
    """Fill the page: half a minute of traffic and what fails in it."""
    clock = {"ahead": -290.0}
    now = asyncio.get_running_loop().time
    desk.watching.__init__(lambda: now() + clock["ahead"])
    for _ in range(30):
        await asyncio.gather(*(speak(group, avatar) for avatar in ("a", "a", "b", "b", "a")))
        clock["ahead"] += 9.5
    desk.watching.heard(lost("protocolError: the service sent something that is no message"))
    for _ in range(3):
        desk.watching.turned_away(
            "voice-assistant-of-the-front-office", "waited 5.0 s for its turn"
        )
    desk.clients += [
        Client("demo", 1, 0, 120, {}, 388.0),
        Client(
            "voice-assistant-of-the-front-office", 2, 3, 1029,
            {"queueTimeout": 3, "rateLimited": 12, "clientBusy": 1}, 7203.0,
        ),
    ]  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_both_themes_are_readable_and_nothing_is_cut_off(browser, group, scheme):
    desk = desk_of(group)
    await busy(group, desk)
    ARTEFACTS.mkdir(exist_ok=True)
    async with desk.served() as address, group.borrow("a"):
        size = {"width": 1280, "height": 800}
        page = await opened(browser, address, color_scheme=scheme, viewport=size)
        await says(page, "status", "Live.")
        await says(page, "came", "1")
        assert await page.evaluate(CONTRAST, TEXTS) >= 4.5  # WCAG 2.1, AA
        assert await page.evaluate(CONTRAST, DRAWINGS) >= 3.0  # ... of what is no text
        await enter(page, KEY)
        await says(page, "said", "The key is good.")
        for width, height in ((1280, 800), (360, 740), (320, 568), (1024, 600), (3840, 2160)):
            await page.set_viewport_size({"width": width, "height": height})
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
            wide = """[...document.querySelectorAll(".scroller")]
              .filter((each) => each.scrollWidth > each.clientWidth).length"""
            assert await page.evaluate(wide) == 0, f"a table is cut off at {width} px"
            if width in {1280, 360}:
                path = ARTEFACTS / f"gateway-{scheme}-{width}.png"
                # As high as all of it: a picture beyond the screen may never come.
                whole = await page.evaluate("document.documentElement.scrollHeight")
                await page.set_viewport_size({"width": width, "height": whole})
                await page.screenshot(path=path)


async def test_the_charts_take_the_themes_colours_at_once(browser, group):
    desk = desk_of(group)
    await speak(group)
    desk.watching.turned_away("demo", "it waited too long", 1.0)
    async with desk.served() as address:
        page = await opened(browser, address, color_scheme="light")
        await says(page, "came", "2")
        desk.page._timer.cancel()  # nothing new comes
        picture = "document.getElementById('wait').toDataURL()"
        light = await page.evaluate(picture)
        await page.click("#theme")
        await until(page, f"{picture} !== {json.dumps(light)}")
        colours = """[...document.querySelectorAll(".key")]
          .map((key) => getComputedStyle(key, "::before").backgroundColor)"""
        assert len(set(await page.evaluate(colours))) == 4
