"""How outputs appear, and what a killed run leaves."""

import errno
import os

import pytest

from avatarpool import RequestTimeout
from avatarpool.animate import outputs
from avatarpool.animate.outputs import prepare, remove_leftovers, writing

LEFT_BEHIND = ".avatarpool-0123456789abcdef.part"


def test_an_output_appears_when_it_is_whole(tmp_path):
    output = tmp_path / "new" / "folder" / "a.npz"
    with writing(output) as file:
        file.write(b"whole")
        assert not output.exists()
    assert output.read_bytes() == b"whole"
    assert list(output.parent.iterdir()) == [output]


def test_a_failure_leaves_the_output_of_before(tmp_path):
    output = tmp_path / "a.npz"
    output.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt), writing(output) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert output.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [output]


def test_a_link_stays_a_link(tmp_path):
    place, link = tmp_path / "place" / "a.npz", tmp_path / "link.npz"
    place.parent.mkdir()
    link.symlink_to(place)
    with writing(link) as file:
        file.write(b"whole")
    assert link.is_symlink()
    assert place.read_bytes() == b"whole"


def test_what_is_no_regular_file_is_not_replaced_by_one(tmp_path):
    pipe = tmp_path / "a.npz"
    os.mkfifo(pipe)
    with pytest.raises(FileExistsError, match="no regular file"), writing(pipe):
        pass
    assert pipe.is_fifo()


def test_a_failure_names_its_file(tmp_path):
    output = tmp_path / "a.npz"
    with pytest.raises(OSError, match=r"No space left on device: '.*/a.npz'"), writing(output):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_failure_that_is_no_files_keeps_its_sentence(tmp_path):
    with (
        pytest.raises(RequestTimeout, match="request r1 gave no last frame"),
        writing(tmp_path / "a.npz"),
    ):
        raise RequestTimeout("r1", 1.0, 2)


def test_a_failure_names_the_output_and_not_the_part_of_it(tmp_path):
    output = tmp_path / ("a" * 256)
    with pytest.raises(OSError, match="too long") as caught, writing(output):
        pass
    assert caught.value.filename == str(output)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_removed_and_nothing_else(tmp_path):
    others = {tmp_path / name for name in (".avatarpool-0123.part", "a.part", "a.npz")}
    for file in (*others, tmp_path / LEFT_BEHIND):
        file.write_bytes(b"half")
    remove_leftovers(tmp_path)
    assert set(tmp_path.iterdir()) == others


def test_links_and_pipes_with_such_a_name_are_left_alone(tmp_path):
    os.mkfifo(tmp_path / LEFT_BEHIND)  # opening it would wait
    link = tmp_path / LEFT_BEHIND.replace("0", "f")
    link.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").touch()
    remove_leftovers(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_what_somebody_still_writes_is_left_alone(tmp_path):
    (tmp_path / LEFT_BEHIND).touch()
    with writing(tmp_path / "a.npz") as file:
        file.write(b"whole")
        prepare(tmp_path)
        assert len(list(tmp_path.iterdir())) == 1
    assert (tmp_path / "a.npz").read_bytes() == b"whole"


def test_a_part_that_was_swept_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    swept = []

    def lock(file, flags=0):
        if not swept:  # as another run does in the moment before
            swept.append(file)
            (part,) = tmp_path.iterdir()
            part.unlink()
        real(file, flags)

    real = outputs._lock
    monkeypatch.setattr(outputs, "_lock", lock)
    with writing(tmp_path / "a.npz") as file:
        file.write(b"whole")
    assert swept[0].closed
    assert (tmp_path / "a.npz").read_bytes() == b"whole"


def test_a_folder_that_nothing_can_be_written_to_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        prepare(tmp_path / "file" / "folder")
    prepare(tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []
