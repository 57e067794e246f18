"""The JavaScript module for faces says what Python says of the same messages."""

import json
import math
import re
from base64 import b64encode
from dataclasses import asdict
from importlib.resources import files

import pytest
from faces import LOCAL, held, keyframe
from module_pages import blank_page
from shared_browser import on_the_shared_loop

from avatarpool import Keyframe
from avatarpool.blendshapes import VISEMES, Basis, Crossfade, arkit, idle, visemes, vrm
from avatarpool.blendshapes.idle import noise
from avatarpool.lipsync import DspDriver
from avatarpool.protocol.codec import decode, encode
from avatarpool.protocol.keyframes import encode_keyframes
from avatarpool.protocol.messages import AnimationFrame, ServerError

pytestmark = pytest.mark.asyncio(loop_scope="session")

STATIC = files("avatarpool.blendshapes") / "static"
BYTES = "const bytes = Uint8Array.from(atob(given.data ?? given), (c) => c.charCodeAt(0));"

ROLLED = keyframe(
    rotation=(0.1, -0.2, 0.3),
    neck_pose=(0.05, 0.1, -0.1),
    jaw_pose=(0.2, -0.05, 0.0),
    eye_pose=(0.1, -0.3, 0.0, 0.1, 0.2, 0.05),
    eye_lid=(0.25, 1.5),
)
SHAPES = {
    "mouthFunnel": {"rest": 0.1, "jaw": -0.2, "expression": [0.5, 0, 1.5]},
    "browInnerUp": {"rest": 0, "jaw": 3, "expression": []},
}


@on_the_shared_loop
async def run(browser):
    async with blank_page(browser) as running:
        yield running


@pytest.fixture(scope="module")
def spoken(speech):
    """What a person's speech moves, and faces of every other kind."""
    driver = DspDriver(16000, 3)
    keyframes = [*driver.feed(speech), *driver.finish()]
    return [
        *keyframes[::3],
        *map(held, VISEMES),
        ROLLED,
        Keyframe(),
        Keyframe(jaw_pose=(0.3,), expression=(0.25, -1.0), eye_lid=(0.5,)),
    ]


def message_of(keyframes):
    return encode(AnimationFrame("r1", True, encode_keyframes(keyframes), "c1", "a1"))


def text(data):
    return b64encode(data).decode()


def close(ours, theirs):
    """Whether two objects of numbers and lists of numbers are equal but for rounding."""
    assert list(ours) == list(theirs) or set(ours) == set(theirs)
    for name in theirs:
        assert ours[name] == pytest.approx(theirs[name], abs=1e-9), name
    return True


def pose(keyframe):
    return {name: list(v) for name, v in asdict(keyframe).items() if name != "time"}


async def test_poses_and_weights_are_pythons_of_the_same_message(run, spoken, tmp_path):
    data = message_of(spoken)
    path = tmp_path / "fitted.json"
    path.write_text(json.dumps({"jaw_open": 0.3, "shapes": SHAPES}))
    fitted = Basis.load(path)
    message, *others = await run(
        BYTES
        + """
        const message = face.decodeMessage(bytes);
        const bases = [face.LOCAL, null, face.readBasis(JSON.parse(given.basis))];
        return [message, ...bases.map((basis) => message.keyframes.map((keyframe) => [
          face.arkit(keyframe, basis), face.visemes(keyframe, basis), face.vrm(keyframe, basis)]))];
        """,
        {"data": text(data), "basis": path.read_text()},
    )
    keyframes = message.pop("keyframes")
    assert message == {
        "kind": "animation",
        "connectionId": "c1",
        "reqId": "r1",
        "avatarId": "a1",
        "end": True,
    }
    decoded = decode(data).keyframes
    assert len(decoded) == len(keyframes) > 30
    for ours, theirs in zip(decoded, keyframes, strict=True):
        assert theirs.pop("time") == pytest.approx(ours.time)
        assert theirs == pose(ours)
    for basis, weights in zip((LOCAL, None, fitted), others, strict=True):
        for ours, theirs in zip(decoded, weights, strict=True):
            assert close(theirs[0], arkit(ours, basis))
            assert close(theirs[1], visemes(ours, basis))
            assert close(theirs[2], vrm(ours, basis))


async def test_idle_motion_is_its_twins(run):
    seeds, times = [0, 7, -5, 2**40 + 3], [n * 0.37 for n in range(60)]
    noises, poses = await run(
        """
        const { noise } = await from("idle.js");
        return [given[0].map((seed) => noise(seed, 3)),
                given[0].map((seed) => given[1].map((time) => face.idle(seed, time)))];
        """,
        [seeds, times],
    )
    assert noises == [noise(seed, 3) for seed in seeds]
    assert noises[1] == 0x1EA9F040 / 2**32
    for seed, shown in zip(seeds, poses, strict=True):
        for time, theirs in zip(times, shown, strict=True):
            assert theirs.pop("time") == time
            assert close(theirs, pose(idle(seed, time)))


async def test_a_crossfade_shows_what_its_twin_shows(run):
    one, other = held("aa"), held("PP")
    shown = await run(
        BYTES
        + """
        const [aa, pp] = face.decodeMessage(bytes).keyframes;
        const crossfade = new face.Crossfade();
        const shown = [];
        for (let i = 0; i < 80; i++) {
          const now = i / 50;
          if (i < 20) shown.push(crossfade.pose(now, face.idle(7, now), "idle"));
          else if (i < 25) shown.push(crossfade.pose(now, aa, "a"));
          else shown.push(crossfade.pose(now, pp, "b"));
        }
        return shown;
        """,
        text(message_of([one, other])),
    )
    one, other = decode(message_of([one, other])).keyframes
    crossfade = Crossfade()
    for i, theirs in enumerate(shown):
        now = i / 50
        source, face = ("idle", idle(7, now)) if i < 20 else ("a", one) if i < 25 else ("b", other)
        ours = pose(crossfade.pose(now, face, source))
        assert close({name: theirs[name] for name in ours}, ours)


async def test_what_is_no_number_is_refused_or_does_not_spread(run):
    refused, shown = await run(
        """
        const message = (does) => {
          try {
            return does();
          } catch (error) {
            return `${error.name}: ${error.message}`;
          }
        };
        const crossfade = new face.Crossfade();
        crossfade.pose(1, { jaw_pose: [NaN, 0.2], expression: [Infinity] }, "a");
        return [
          [() => face.idle(1.5, 0), () => face.idle(1, NaN), () => new face.Face({ seed: "x" })]
            .map(message),
          [crossfade.pose(1.1, { jaw_pose: [0.1, 0.1] }, "b"),
           crossfade.pose(1.2, { jaw_pose: [NaN, 0.1] }, "b")].map((pose) => pose.jaw_pose),
        ];
        """
    )
    assert refused == [
        "RangeError: a seed of 1.5 is no whole number",
        "RangeError: NaN s is no time",
        "RangeError: a seed of x is no whole number",
    ]
    first, second = shown
    assert first == [0, pytest.approx(0.2)]  # as if it had been 0
    assert all(-1 < value < 1 for value in second)


async def test_what_a_bot_leaves_out_is_held_so_that_the_rest_is_in_step(run):
    times, shown, fails = await run(
        """
        const jaw = (value) => ({ jaw_pose: [value] });
        const speech = new face.Speech();
        speech.take([jaw(0.1), jaw(0.2)], 0.04); // the first one came too late
        speech.take([jaw(0.6)], 0.2);
        speech.take([jaw(0.5), jaw(0.7)], 0.2); // the first of them again
        speech.take([], 9); // a last message without any
        const fails = [-1, NaN, 3600, 1e300].map((startsAt) => {
          const speech = new face.Speech();
          speech.take([jaw(0)], startsAt);
          return [speech.error?.message, speech.keyframes.length];
        });
        return [
          speech.keyframes.map(({ time }) => time),
          speech.keyframes.map((keyframe) => keyframe.jaw_pose[0]),
          fails,
        ];
        """
    )
    assert times == pytest.approx([0.04 * number for number in range(7)])
    assert shown == [0.1, 0.1, 0.2, 0.2, 0.2, 0.6, 0.7]
    assert fails == [["keyframes of a speech are not within its first 3600 s", 0]] * 4


async def test_what_is_no_clock_is_refused_and_a_message_may_be_a_buffer(run):
    refused, kinds = await run(
        BYTES
        + """
        const shower = new face.Face();
        const refused = [undefined, 42, {}].map((clock) => {
          try {
            return shower.play(new face.Speech(), clock);
          } catch (error) {
            return error.name;
          }
        });
        const kinds = [bytes, bytes.buffer].map((one) => face.decodeMessage(one).keyframes.length);
        return [refused, kinds];
        """,
        text(message_of([Keyframe(), Keyframe()])),
    )
    assert refused == ["TypeError"] * 3
    assert kinds == [2, 2]


async def test_a_face_speaks_by_its_audios_clock_and_idles_without_a_jump(run):
    told = await run(
        BYTES
        + """
        const shower = new face.Face({ basis: face.LOCAL, seed: 7 });
        const speech = new face.Speech();
        const [keyframe, last] = face.decodeMessage(bytes).keyframes;
        const [context, told] = [{ currentTime: 99.5 }, {}];
        let now = 10;
        const at = (time, seconds = 0.01) => {
          context.currentTime = time;
          return shower.shown((now += seconds));
        };
        shower.play(speech, context, 100);
        told.before = at(99.5).speech;
        told.without = at(100).speech; // its audio has begun, and no keyframe is there
        speech.take([keyframe, last]);
        told.isSpeaking = at(100.02).speech === speech;
        told.middle = at(100.02, 0.5).keyframe;
        told.between = at(100.04).keyframe.jaw_pose[0];
        told.late = at(101).keyframe.jaw_pose[0]; // waits for what is to come
        told.time = at(101).time;
        speech.end();
        told.after = at(101).speech;
        told.held = shower.speech;
        const poses = [];
        for (let i = 0; i < 40; i++) poses.push(at(101).keyframe.jaw_pose[0]);
        told.steps = poses.slice(1).map((jaw, i) => poses[i] - jaw);
        told.rest = poses.at(-1);

        const next = new face.Speech(() => (told.wasStopped = true));
        next.take([keyframe]);
        shower.play(next, () => 0.02);
        told.speaks = at(0).speech === next;
        shower.interrupt();
        told.isOver = [next.isOver, next.isInterrupted, next.error];
        next.take([keyframe]); // on its way already
        told.length = next.keyframes.length;
        told.idles = at(0).speech;
        await next.done();

        const whole = new face.Speech(); // of an element whose time stands before its end
        const element = { currentTime: 0.01, ended: false };
        shower.play(whole, element);
        whole.take([keyframe]);
        whole.end();
        told.playing = shower.shown((now += 0.01)).speech === whole;
        element.currentTime = 0.03;
        element.ended = true;
        told.ended = [shower.shown((now += 0.01)).speech, shower.speech];
        told.frames = await new Promise((resolve) => {
          let count = 0;
          const stop = shower.run(({ arkit, visemes }) => {
            if (++count === 3) resolve([stop(), arkit.jawOpen >= 0, visemes.sil >= 0]);
          });
        });
        return told;
        """,
        text(message_of([held("aa"), held("PP")])),
    )
    first, last = decode(message_of([held("aa"), held("PP")])).keyframes
    told["middle"].pop("time")
    assert told["middle"] == pose(first)
    mean = (first.jaw_pose[0] + last.jaw_pose[0]) / 2
    assert told["between"] == pytest.approx(mean)
    assert told["late"] == pytest.approx(last.jaw_pose[0])
    assert told["time"] == 1
    assert (told["before"], told["without"], told["isSpeaking"]) == (None, None, True)
    assert (told["after"], told["held"]) == (None, None)
    assert max(map(abs, told["steps"])) < 0.02
    assert told["rest"] == 0
    assert (told["speaks"], told["wasStopped"]) == (True, True)
    assert told["isOver"] == [True, True, None]
    assert (told["length"], told["idles"]) == (1, None)
    assert (told["playing"], told["ended"]) == (True, [None, None])
    assert told["frames"] == [None, True, True]


def bent(data):
    """The message with each of its bits of the first 400 bytes turned over, and its beginnings."""
    for place in range(min(len(data), 200)):
        yield data[:place]
        for bit in range(8):
            yield data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


async def test_broken_messages_are_errors_or_small(run):
    sound = encode(AnimationFrame("r1", True, encode_keyframes([ROLLED]), "c1", "a1"))
    nowhere = message_of([Keyframe(jaw_pose=(math.nan, math.inf, 1.0), expression=(-math.inf,))])
    big = b"\x32\xff\xff\xff\xff\x7f"  # a field of 32 gigabytes
    crowd = message_of([Keyframe(expression=(0.0,) * 1001)])
    many = message_of([Keyframe()] * 10_001)
    outcomes = await run(
        """
        return given.map((data) => {
          const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
          try {
            return face.decodeMessage(bytes);
          } catch (error) {
            if (!(error instanceof face.FaceError)) throw error;
            return error.message;
          }
        });
        """,
        [
            *map(text, [nowhere, big, crowd, many, encode(ServerError(3, "no", "c", "r")), b""]),
            *map(text, bent(sound)),
        ],
    )
    finite, *refused, error, nothing = outcomes[:6]
    assert finite["keyframes"][0]["jaw_pose"] == [0, 0, 1]
    assert finite["keyframes"][0]["expression"] == [0]
    why = "a message of the service cannot be read: "
    assert refused == [
        why + "a field is cut off",
        why + "expression has more than 1000 values",
        why + "it has more than 10000 keyframes",
    ]
    assert error == {
        "kind": "error",
        "connectionId": "c",
        "reqId": "r",
        "code": 3,
        "message": "no",
    }
    assert nothing == {"kind": "other"}
    assert sum(isinstance(each, str) for each in outcomes[6:]) > 200
    assert all(isinstance(each, str) or len(each) <= 6 for each in outcomes)


async def test_a_basis_that_cannot_be_is_refused_in_a_sentence(run):
    sentences = await run(
        """
        const shape = { rest: 0, jaw: 0, expression: [] };
        const wrong = [null, {}, { jaw_open: 9, shapes: {} }, { jaw_open: 0.4, shapes: null },
          { jaw_open: 0.4, shapes: { jawOpen: shape } },
          { jaw_open: 0.4, shapes: { mouthFunnel: { ...shape, expression: "1" } } },
          { jaw_open: 0.4, shapes: { mouthFunnel: { ...shape, expression: ["1"] } } },
          { jaw_open: 0.4, shapes: { mouthFunnel: { ...shape, expression: Array(1001) } } }];
        return wrong.map((basis) => {
          try {
            return new face.Face({ basis: basis ?? "none" });
          } catch (error) {
            return `${error.name}: ${error.message}`;
          }
        });
        """
    )
    assert {sentence.partition(": ")[0] for sentence in sentences} == {"FaceError"}
    assert sentences[4].endswith("jawOpen is no ARKit name that a basis tells")
    assert sentences[6].endswith("mouthFunnel has a value that is no number")


async def test_the_types_name_what_the_module_has(run):
    typed = (STATIC / "avatarpool-face.d.ts").read_text()
    named = re.findall(r"^export (?:const|function|class) (\w+)", typed, re.MULTILINE)
    assert sorted(named) == await run("return Object.keys(face).sort()")
    members = await run(
        """
        return ["Crossfade", "Face", "HostConnection", "Speech"].map((name) => {
          const members = Object.getOwnPropertyNames(face[name].prototype);
          return [name, members.filter((member) => member !== "constructor")];
        });
        """
    )
    for name, owned in members:
        body = re.search(rf"^export class {name} .*?^}}", typed, re.MULTILINE | re.DOTALL)[0]
        assert not [each for each in owned if not re.search(rf"\b{each}\b", body)], name
