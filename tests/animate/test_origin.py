"""Which speech an output was made of."""

import os

import pytest

from avatarpool.animate.origin import is_made_of, mark_of, mark_of_file, read_mark


@pytest.fixture
def speech(tmp_path):
    file = tmp_path / "a.wav"
    file.write_bytes(b"speech")
    return file


@pytest.fixture
def output(tmp_path, speech):
    file = tmp_path / "a.npz"
    file.write_text(mark_of_file(speech))
    return file


def test_files_and_bytes_of_the_same_content_have_the_same_mark(speech):
    assert mark_of_file(speech) == mark_of(b"speech") != mark_of(b"other speech")


def test_a_pipe_is_not_read_for_its_mark(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")  # opening it would wait
    assert not mark_of_file(tmp_path / "pipe.wav")
    assert not is_made_of(tmp_path / "pipe.wav", tmp_path / "pipe.wav")


@pytest.mark.parametrize(("before", "behind"), [(0, 0), (60_000, 10**6), (10**6, 60_000)])
def test_a_mark_is_found_near_either_end(tmp_path, before, behind):
    file = tmp_path / "a.npz"
    file.write_bytes(bytes(before) + mark_of(b"speech").encode() + bytes(behind))
    assert read_mark(file) == mark_of(b"speech")


@pytest.mark.parametrize("content", [b"", b"avatarpool:sha256:0123", bytes(200_000)])
def test_what_has_no_mark_has_none(tmp_path, content):
    file = tmp_path / "a.npz"
    file.write_bytes(content)
    assert not read_mark(file)


def test_an_output_is_made_of_its_speech_until_that_changes(output, speech):
    assert is_made_of(output, speech)
    speech.write_bytes(b"other speech")
    os.utime(speech, ns=(0, 0))  # older than the output, as another recording may well be
    assert not is_made_of(output, speech)


def test_an_output_that_is_older_than_its_speech_is_out_of_date(output, speech):
    changed = output.stat().st_mtime_ns + 1_000_000_000
    os.utime(speech, ns=(changed, changed))
    assert not is_made_of(output, speech)


def test_what_is_not_there_was_made_of_nothing(output, speech):
    speech.unlink()
    assert not is_made_of(output, speech)
    assert not is_made_of(speech, output)
