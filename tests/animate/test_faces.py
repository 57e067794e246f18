"""Animations in the terms of other faces, as files."""

import csv
import io
import json
import math

import pytest

from avatarpool import Keyframe
from avatarpool.animate import SAMPLE_RATE, Animation
from avatarpool.animate.cues import write_papagayo, write_rhubarb_json, write_rhubarb_tsv
from avatarpool.animate.origin import is_made_of, mark_of, means_of, read_mark
from avatarpool.animate.weights import write_arkit_csv, write_arkit_json, write_visemes_json
from avatarpool.blendshapes import ARKIT, LOCAL, ROTATIONS, VISEMES, arkit, visemes
from avatarpool.lipsync import TimedViseme, VisemeDriver
from avatarpool.protocol.frames import keyframes_of
from avatarpool.protocol.keyframes import encode_keyframes
from avatarpool.protocol.messages import AnimationFrame

# "Mama", slowly: 1.2 s, and in the end silence.
SPEECH = [(0, "sil"), (200, "PP"), (400, "aa"), (600, "PP"), (800, "aa"), (1000, "sil")]

LIVE_LINK_FACE = (
    "Timecode,BlendShapeCount,EyeBlinkLeft,EyeLookDownLeft,EyeLookInLeft,EyeLookOutLeft,"
    "EyeLookUpLeft,EyeSquintLeft,EyeWideLeft,EyeBlinkRight,EyeLookDownRight,EyeLookInRight,"
    "EyeLookOutRight,EyeLookUpRight,EyeSquintRight,EyeWideRight,JawForward,JawRight,JawLeft,"
    "JawOpen,MouthClose,MouthFunnel,MouthPucker,MouthRight,MouthLeft,MouthSmileLeft,"
    "MouthSmileRight,MouthFrownLeft,MouthFrownRight,MouthDimpleLeft,MouthDimpleRight,"
    "MouthStretchLeft,MouthStretchRight,MouthRollLower,MouthRollUpper,MouthShrugLower,"
    "MouthShrugUpper,MouthPressLeft,MouthPressRight,MouthLowerDownLeft,MouthLowerDownRight,"
    "MouthUpperUpLeft,MouthUpperUpRight,BrowDownLeft,BrowDownRight,BrowInnerUp,"
    "BrowOuterUpLeft,BrowOuterUpRight,CheekPuff,CheekSquintLeft,CheekSquintRight,"
    "NoseSneerLeft,NoseSneerRight,TongueOut,HeadYaw,HeadPitch,HeadRoll,LeftEyeYaw,"
    "LeftEyePitch,LeftEyeRoll,RightEyeYaw,RightEyePitch,RightEyeRoll"
)


@pytest.fixture(scope="module")
def mama():
    """The animation of these visemes, two keyframes in a message."""
    driver = VisemeDriver([TimedViseme(*timed) for timed in SPEECH], SAMPLE_RATE)
    pcm = bytes(2 * SAMPLE_RATE * 12 // 10)
    keyframes = [*driver.feed(pcm), *driver.finish()]
    frames = [
        AnimationFrame("r1", animation=encode_keyframes(keyframes[first : first + 2]))
        for first in range(0, len(keyframes), 2)
    ]
    return Animation(pcm, frames, mark_of(b"mama"), "mama.wav")


def written(write, animation, basis=LOCAL):
    file, ticks = io.BytesIO(), []
    write(animation, file, lambda: ticks.append(1), basis)
    assert len(ticks) == len(list(animation.keyframes()))
    return file.getvalue().decode()


def test_arkit_json_has_each_keyframes_weights_with_its_time(mama):
    document = json.loads(written(write_arkit_json, mama))
    assert list(document) == ["source", "seconds", "frames_per_second", "keyframes"]
    assert (document["source"], document["seconds"]) == (mama.mark, 1.2)
    assert document["frames_per_second"] == 25
    assert len(document["keyframes"]) == 30
    for read, keyframe in zip(document["keyframes"], keyframes_of(mama.frames), strict=True):
        assert tuple(read) == ("time", *ARKIT, *ROTATIONS)
        assert read.pop("time") == keyframe.time
        assert read == pytest.approx(arkit(keyframe, LOCAL), abs=1e-6)
    opened = [read["jawOpen"] for read in document["keyframes"]]
    assert opened[9] < 0.1
    assert opened[14] > 0.5


def test_visemes_json_has_all_of_them_or_those_that_are_known(mama):
    document = json.loads(written(write_visemes_json, mama))
    assert tuple(document["keyframes"][0]) == ("time", *VISEMES)
    expected = [visemes(keyframe, LOCAL) for keyframe in mama.keyframes()]
    assert [read["PP"] for read in document["keyframes"]] == pytest.approx(
        [weights["PP"] for weights in expected], abs=1e-6
    )
    document = json.loads(written(write_visemes_json, mama, None))
    assert set(document["keyframes"][0]) == {"time", "sil", "aa"}


def test_csv_has_live_link_faces_columns_to_the_letter(mama):
    text = written(write_arkit_csv, mama)
    header, *_ = text.splitlines()
    assert header == LIVE_LINK_FACE
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 30
    assert [row["Timecode"] for row in rows[24:27]] == [
        "00:00:00:24.000",
        "00:00:01:00.000",
        "00:00:01:01.000",
    ]
    assert {row["BlendShapeCount"] for row in rows} == {"61"}
    expected = arkit(list(mama.keyframes())[14], LOCAL)
    for name, value in expected.items():
        assert float(rows[14][name[0].upper() + name[1:]]) == pytest.approx(value, abs=1e-6)


def test_csv_leaves_empty_what_cannot_be_known(mama):
    row = next(csv.DictReader(io.StringIO(written(write_arkit_csv, mama, None))))
    assert (row["MouthClose"], row["TongueOut"]) == ("", "")
    assert float(row["JawOpen"]) == 0.0


def test_an_hour_is_an_hour_in_the_timecode():
    from avatarpool.animate.weights import _timecode  # noqa: PLC0415

    assert _timecode(25 * 3661 + 7) == "01:01:01:07.000"


def test_rhubarb_json_has_mouths_without_gaps(mama):
    document = json.loads(written(write_rhubarb_json, mama))
    assert document["metadata"] == {
        "soundFile": "mama.wav",
        "duration": 1.2,
        "source": mama.mark,
    }
    cues = document["mouthCues"]
    assert [list(cue) for cue in cues] == [["start", "end", "value"]] * len(cues)
    assert [cue["end"] for cue in cues] == [*(cue["start"] for cue in cues[1:]), 1.2]
    assert cues[0]["start"] == 0.0
    values = "".join(cue["value"] for cue in cues)
    assert values[0] == values[-1] == "X"
    # Lips meet, the mouth opens, and again.
    assert [value for value in values if value in "AD"] == list("ADAD")
    (first, second) = (cue["start"] for cue in cues if cue["value"] == "A")
    assert (first, second) == pytest.approx((0.2, 0.6), abs=0.05)


def test_rhubarb_tsv_says_the_same_and_ends_with_a_shut_mouth(mama):
    lines = [line.split("\t") for line in written(write_rhubarb_tsv, mama).splitlines()]
    cues = json.loads(written(write_rhubarb_json, mama))["mouthCues"]
    assert lines == [[f"{cue['start']:.2f}", cue["value"]] for cue in cues] + [["1.20", "X"]]


def test_papagayo_counts_frames_from_1_at_24_a_second(mama):
    head, *lines = written(write_papagayo, mama).splitlines()
    assert head == "MohoSwitch1"
    cues = [(int(frame), mouth) for frame, mouth in (line.split(" ") for line in lines)]
    assert cues[0] == (1, "rest")
    assert cues[-1] == (1 + math.floor(1.2 * 24), "rest")
    assert [frame for frame, _ in cues] == sorted({frame for frame, _ in cues})
    assert [mouth for _, mouth in cues if mouth in ("MBP", "AI")] == ["MBP", "AI"] * 2
    assert next(frame for frame, mouth in cues if mouth == "MBP") in (5, 6)


def test_keyframes_beyond_the_speech_are_no_cues():
    many = encode_keyframes([Keyframe(jaw_pose=(jaw,)) for jaw in (0.0, 0.4) * 50])
    animation = Animation(bytes(2 * SAMPLE_RATE // 10), [AnimationFrame("r1", animation=many)])
    document = json.loads(written(write_rhubarb_json, animation))
    assert document["metadata"] == {"soundFile": "", "duration": 0.1, "source": None}
    assert [cue["end"] for cue in document["mouthCues"]] == [0.04, 0.08, 0.1]


@pytest.mark.parametrize("write", [write_arkit_json, write_visemes_json, write_rhubarb_json])
def test_json_carries_the_mark_of_its_speech_and_of_what_else_it_was_made_by(tmp_path, mama, write):
    speech, output = tmp_path / "mama.wav", tmp_path / "mama.json"
    speech.write_bytes(b"mama")
    means = means_of(b"a basis", b"a model")
    marked = Animation(mama.pcm, mama.frames, mama.mark + means)
    output.write_text(written(write, marked))
    assert read_mark(output) == mark_of(b"mama") + means
    assert is_made_of(output, speech, means)
    assert not is_made_of(output, speech)
    assert not is_made_of(output, speech, means_of(b"another"))
    assert means_of() == means_of(b"") == ""
