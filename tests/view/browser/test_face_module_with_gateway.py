"""The JavaScript module for faces on a page of another origin than the gateway's."""

import asyncio
from base64 import b64encode

import pytest
from module_pages import blank_page
from served_gateway import ONE, TWO, is_idle, served, until
from serving import WAV, wav_of
from shared_browser import on_the_shared_loop

from avatarpool import AvatarConnectionPool, LocalAvatarService
from avatarpool.lipsync import DspDriver
from avatarpool.service.faults import SessionFault, Step

pytestmark = pytest.mark.asyncio(loop_scope="session")

PCM = WAV[44:]
SECOND = PCM[:32000]

TOOLS = """
const bytesOf = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const jaws = (speech) => speech.keyframes.map((keyframe) => keyframe.jaw_pose[0]);
const failure = async (promise) => promise.then(() => null, (error) => {
  if (!(error instanceof face.FaceError)) throw error;
  return { message: error.message, code: error.code, retryAfter: error.retryAfter };
});
const host = given.url.replace("http", "ws") + "/v1/host";
"""


@on_the_shared_loop
async def upstream():
    async with LocalAvatarService(driver=DspDriver, avatar_ids=("a", "b")) as service:
        yield service


@on_the_shared_loop
async def gateway(upstream):
    async with served(upstream) as running:
        yield running


@on_the_shared_loop
async def run(browser, gateway):
    async with blank_page(browser, f"{gateway.url}/face/") as running:

        async def given(script, **values):
            everything = {"url": gateway.url, "key": ONE, "pcm": text(SECOND), **values}
            return await running(TOOLS + script, everything)

        yield given


@on_the_shared_loop
async def jaws(upstream):
    """How far the jaw is open in each keyframe of that second; the mouth depends on it alone."""
    config = upstream.config_factory(avatar_id="a")
    async with AvatarConnectionPool(1, lambda: config) as pool, pool.borrow() as conn:
        await conn.session.send_audio(SECOND, end=True)
        frames = await conn.collector.wait()
    return [keyframe.jaw_pose[0] for frame in frames for keyframe in frame.keyframes]


def text(data):
    return b64encode(data).decode()


async def test_a_clip_is_animated_as_it_comes(run, jaws):
    told = await run(
        """
        const options = { key: given.key, avatarId: "a", contentType: "audio/wav" };
        const speech = face.animate(given.url + "/v1/animations", bytesOf(given.wav), options);
        await speech.ready(0.2);
        const early = speech.length;
        await speech.done();
        return [early, jaws(speech), speech.keyframes.map(({ time }) => time), speech.error];
        """,
        wav=text(wav_of(SECOND)),
    )
    early, shown, times, error = told
    assert early >= 0.2
    assert shown == jaws
    assert times == pytest.approx([number / 25 for number in range(len(jaws))])
    assert error is None


async def test_speeches_follow_each_other_on_one_connection(run, jaws, gateway):
    metadata, *shown, left = await run(
        """
        const options = { key: given.key, avatarId: "a" };
        const connection = await face.HostConnection.open(host, options);
        const samples = new Int16Array(bytesOf(given.pcm).buffer);
        const speeches = [];
        for (const make of [(piece) => piece, (piece) => Float32Array.from(piece, (n) => n / 32767)]) {
          const speech = connection.speak();
          for (let at = 0; at < samples.length; at += 640) speech.send(make(samples.slice(at, at + 640)));
          speech.endAudio();
          await speech.done();
          speeches.push(speech);
        }
        const empty = connection.speak();
        empty.endAudio();
        await empty.done();
        connection.close();
        return [connection.metadata, ...speeches.map(jaws), await failure((async () => connection.speak())())];
        """  # noqa: E501
    )
    assert (metadata["avatar_id"], metadata["sample_rate"]) == ("a", 16000)
    assert shown == [jaws, jaws]
    assert left["message"] == "the connection is closed: open another one"
    await until(lambda: not gateway.gateway.host.connections)
    await until(lambda: is_idle(gateway.gateway))


async def test_an_interrupted_speech_leaves_nothing_to_the_next(run, jaws):
    told = await run(
        """
        const connection = await face.HostConnection.open(host, { key: given.key, avatarId: "a" });
        const samples = bytesOf(given.pcm);
        const shown = [];
        const shower = new face.Face();
        for (const stop of [() => shower.interrupt(), () => connection.interrupt(), () => {}]) {
          const left = connection.speak();
          shower.play(left, () => 0);
          left.send(samples); // whose end never comes
          await left.ready();
          stop();
          const next = connection.speak();
          const count = left.length;
          next.send(samples);
          next.endAudio();
          await Promise.all([next.done(), left.done()]);
          left.send(samples); // too late: dropped
          shown.push([left.isInterrupted, count === left.length, jaws(next)]);
        }
        connection.close();
        return shown;
        """
    )
    assert told == [[True, True, jaws]] * 3


async def test_what_fails_is_said_in_a_sentence_with_the_gateways_code(run):
    told = await run(
        """
        const open = (key, avatarId = "a", sampleRate = 16000) =>
          failure(face.HostConnection.open(host, { key, avatarId, sampleRate }));
        const animated = (key, avatarId, body) =>
          failure(face.animate(given.url + "/v1/animations", body, { key, avatarId }).done());
        const ended = await face.HostConnection.open(host, { key: given.key, avatarId: "a" });
        const speech = ended.speak();
        const wrong = [];
        for (const samples of ["x", 16000, [1, 2], new Float64Array(2)]) {
          wrong.push((await failure((async () => speech.send(samples))())).message);
        }
        speech.send(bytesOf(given.pcm));
        speech.endAudio();
        const end = await failure((async () => speech.send(bytesOf(given.pcm)))());
        return {
          wrong,
          end,
          stranger: await open("nobody"),
          avatar: await open(given.two, "a"),
          rate: await open(given.key, "a", 12345),
          key: await animated("nobody", "a", "x"),
          other: await animated(given.two, "a", "x"),
          audio: await animated(given.key, "a", "RIFF0000WAVEnothing"),
          nobody: await failure(face.animate("http://127.0.0.1:9/", "x").done()),
        };
        """,
        two=TWO,
    )
    assert all(each.startswith("audio is an Int16Array") for each in told["wrong"])
    assert "refused" in told["stranger"]["message"]
    assert told["avatar"]["code"] == told["other"]["code"] == "avatarNotAllowed"
    assert "sample_rate is none of" in told["rate"]["message"]
    assert told["key"]["code"] == "unauthorized"
    assert told["audio"]["code"] == "invalidAudio"
    assert "cannot be reached" in told["nobody"]["message"]
    assert told["end"]["message"] == "the speech's audio has ended: begin another speech"


async def test_after_a_failed_speech_the_connection_serves_the_next(run, upstream, gateway, jaws):
    upstream.faults.sessions = SessionFault(resets=True, after_frames=3)
    lost = await run(
        """
        window.connection = await face.HostConnection.open(host, { key: given.key, avatarId: "a" });
        const lost = connection.speak();
        lost.send(bytesOf(given.pcm)); // and its end never comes
        return [await failure(lost.done()), lost.length, connection.isOpen];
        """
    )
    upstream.faults.sessions = None
    next_jaws = await run(
        """
        const next = connection.speak();
        next.send(bytesOf(given.pcm));
        next.endAudio();
        await next.done();
        return jaws(next);
        """
    )
    error, length, is_open = lost
    assert error["code"] == "upstreamLost"
    assert length > 0
    assert is_open
    assert next_jaws == jaws
    closing = asyncio.ensure_future(
        run(
            """
            const cut = connection.speak();
            cut.send(bytesOf(given.pcm));
            await cut.ready();
            window.isUnderWay = true;
            const error = await failure(cut.done());
            while (connection.isOpen) await new Promise((resolve) => setTimeout(resolve, 20));
            return error;
            """
        )
    )
    while not await run("return Boolean(window.isUnderWay)"):
        await asyncio.sleep(0.02)
    await gateway.gateway.close()
    assert (await closing)["message"]


async def test_a_clip_whose_answer_breaks_off_fails_and_one_that_is_left_ends(
    run, upstream, gateway
):
    upstream.faults.sessions = SessionFault(stalls_at=Step.FRAMES, after_frames=3)
    assert await run(
        """
        const options = { key: given.key, avatarId: "a", contentType: "audio/pcm;rate=16000" };
        const speech = face.animate(given.url + "/v1/animations", bytesOf(given.pcm), options);
        await speech.ready(0.01);
        speech.interrupt();
        await speech.done();
        return speech.isInterrupted && !speech.error;
        """
    )
    await until(lambda: not gateway.gateway.exchange._relays)
    upstream.faults.sessions = SessionFault(resets=True, after_frames=3)
    error = await run(
        """
        const options = { key: given.key, avatarId: "a", contentType: "audio/pcm;rate=16000" };
        const speech = face.animate(given.url + "/v1/animations", bytesOf(given.pcm), options);
        return failure(speech.done());
        """
    )
    assert error["message"]
