"""Which files are animated."""

import errno
import hashlib
import os
from importlib.resources import as_file, files
from pathlib import Path

from avatarpool.animate import Clip, find_clips, find_namesakes


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


def test_namesakes_are_the_clips_that_differ_in_their_suffix_alone(tmp_path):
    touch(*(tmp_path / name for name in ("a.wav", "a.ogg", "b.wav", "sub/a.wav")))
    (tmp_path / "more").mkdir()
    names = [clip.source.name for clip in find_namesakes(find_clips(tmp_path, tmp_path, ".npz"))]
    assert names == ["a.ogg", "a.wav"]


def test_what_came_through_a_pipe_is_read_and_marked_as_the_file_would_be(tmp_path):
    with as_file(files("avatarpool") / "assets" / "speech.wav") as speech:
        piped = Clip(Path("-"), tmp_path / "a.npz", audio=speech.read_bytes())
        assert piped.read() == Clip(speech, tmp_path / "a.npz").read()
    pcm, mark = piped.read()
    assert len(pcm) == 2 * 47840
    assert mark == f"avatarpool:sha256:{hashlib.sha256(piped.audio).hexdigest()}"
