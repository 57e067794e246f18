"""What a file is, by its first bytes; and that sound is not taken for a file."""

from random import Random

import pytest
from recordings import KINDS, recording
from speech import SPEECH_PCM

from avatarpool.audio import AUDIO_SUFFIXES
from avatarpool.audio.containers import CONTAINERS, sniff, tag_bytes

NAMES = {
    "mp3": "MP3",
    "flac": "FLAC",
    "m4a": "M4A",
    "mp4": "M4A",
    "aac": "AAC",
    "webm": "WebM",
    "matroska": "WebM",
    "ogg": "Ogg",
    "aiff": "AIFF",
    "aifc": "AIFF",
    "wav": "WAV",
    "wave64": "Wave64",
}


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_known_by_its_bytes(kind, make):
    assert sniff(make(recording(kind))).name == NAMES[kind.split(",")[0].split(" ")[0]]


def test_the_kinds_have_articles():
    assert {str(container).split()[0] for container in CONTAINERS} == {"a", "an"}
    assert "an MP3 file" in map(str, CONTAINERS)
    assert "a WAV file" in map(str, CONTAINERS)


def test_suffixes_are_in_lower_case_and_of_one_kind_each():
    suffixes = [suffix for container in CONTAINERS for suffix in container.suffixes]
    assert len(suffixes) == len(set(suffixes))
    assert {".wav", ".mp3", ".m4a", ".flac", ".opus", ".pcm"} <= AUDIO_SUFFIXES
    assert all(suffix == suffix.lower() for suffix in AUDIO_SUFFIXES)
    assert ".mp4" not in AUDIO_SUFFIXES  # what the pictures of a folder are written to


def test_speech_is_no_file_wherever_it_is_cut():
    assert not any(sniff(SPEECH_PCM[at : at + 4096]) for at in range(0, len(SPEECH_PCM), 2))


@pytest.mark.parametrize("begins", [b"\xff", b"\xff\xfb", b"\xff\xf1\x50\x80", b"OggS", b"RIFF"])
def test_noise_is_no_file_though_it_begins_like_one(begins):
    random = Random(1)
    assert not any(sniff(begins + random.randbytes(3000)) for _ in range(3000))


@pytest.mark.parametrize("sample", [-1, -1025, -3585, -2561])
def test_a_constant_is_no_file(sample):
    assert sniff(sample.to_bytes(2, "little", signed=True) * 5000) is None


def test_tags_are_counted_with_their_footers():
    tag = b"ID3\4\0\x10" + bytes([0, 0, 1, 2]) + bytes(130) + b"3DI\4\0\x10" + bytes(4)
    assert tag_bytes(tag + b"sound") == len(tag)
    assert tag_bytes(tag * 3 + b"sound") == 3 * len(tag)
    assert tag_bytes(b"sound") == 0
    assert tag_bytes(tag[:50]) == 50
