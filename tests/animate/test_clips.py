"""Which files are animated, and how their outputs appear."""

import errno
import os

import pytest

from avatarpool import RequestTimeout
from avatarpool.animate import Clip, find_clips


def touch(*files):
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def test_a_folders_speech_files_are_found_in_order_with_outputs_in_the_same_folders(tmp_path):
    speech, out = tmp_path / "in", tmp_path / "out"
    names = ("b.WAV", "a.ogg", "notes.txt", "deep/c.v2.pcm", "wav", "memo.m4a", "x.MP3", "x.mp4")
    touch(*(speech / name for name in names))
    (speech / "folder.wav").mkdir()
    assert find_clips(speech, out, ".npz") == [
        Clip(speech / "a.ogg", out / "a.npz"),
        Clip(speech / "b.WAV", out / "b.npz"),
        Clip(speech / "deep" / "c.v2.pcm", out / "deep" / "c.v2.npz"),
        Clip(speech / "memo.m4a", out / "memo.npz"),
        Clip(speech / "x.MP3", out / "x.npz"),
    ]


def test_clips_that_differ_in_their_suffix_alone_get_outputs_of_their_own(tmp_path):
    touch(tmp_path / "a.wav", tmp_path / "a.ogg", tmp_path / "sub" / "a.wav")
    outputs = [clip.output for clip in find_clips(tmp_path, tmp_path, ".jsonl")]
    names = ("a.ogg.jsonl", "a.wav.jsonl", "sub/a.jsonl")
    assert outputs == [tmp_path / name for name in names]


def test_no_two_clips_have_one_output(tmp_path):
    touch(*(tmp_path / name for name in ("a.wav", "a.ogg", "a.wav.wav", "b.wav", "b.wav.raw")))
    outputs = [clip.output.name for clip in find_clips(tmp_path, tmp_path, ".npz")]
    assert outputs == ["a.ogg.npz", "a.wav.npz", "a.wav.wav.npz", "b.npz", "b.wav.raw.npz"]


def test_a_failure_names_its_file(tmp_path):
    clip = Clip(tmp_path / "a.wav", tmp_path / "a.npz")
    with pytest.raises(OSError, match=r"No space left on device: '.*/a.npz'"), clip.writing():
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_failure_that_is_no_files_keeps_its_sentence(tmp_path):
    clip = Clip(tmp_path / "a.wav", tmp_path / "a.npz")
    with pytest.raises(RequestTimeout, match="request r1 gave no last frame"), clip.writing():
        raise RequestTimeout("r1", 1.0, 2)


def test_a_failure_names_the_output_and_not_the_part_of_it(tmp_path):
    output = tmp_path / ("a" * 250)
    with pytest.raises(OSError, match="too long") as caught, Clip(output, output).writing():
        pass
    assert caught.value.filename == str(output)


def test_a_folder_that_cannot_be_searched_is_not_passed_over(tmp_path, monkeypatch):
    touch(tmp_path / "a.wav", tmp_path / "locked" / "b.wav")

    def scandir(path):
        if str(path).endswith("locked"):  # chmod would not keep root out
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    real = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    clips = find_clips(tmp_path, tmp_path / "out", ".npz")
    assert [clip.source.name for clip in clips] == ["a.wav", "locked"]


def test_an_output_appears_when_it_is_whole(tmp_path):
    clip = Clip(tmp_path / "a.wav", tmp_path / "new" / "folder" / "a.npz")
    with clip.writing() as file:
        file.write(b"whole")
        assert not clip.output.exists()
    assert clip.output.read_bytes() == b"whole"
    assert list(clip.output.parent.iterdir()) == [clip.output]


def test_a_failure_leaves_the_output_of_before(tmp_path):
    clip = Clip(tmp_path / "a.wav", tmp_path / "a.npz")
    clip.output.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt), clip.writing() as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert clip.output.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [clip.output]
