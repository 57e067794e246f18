"""Portraits by several processes."""

import os
import signal
from contextlib import closing
from itertools import count, islice

import pytest

from avatarpool.view.painting import Painters
from avatarpool.view.portrait import portrait

JAWS = [{"jaw": number / 10} for number in range(7)]


@pytest.fixture
def painters():
    with Painters(2) as painters:
        yield painters


def test_portraits_come_in_order_and_as_one_process_paints_them(painters):
    painted = list(painters.paint(JAWS, 40))
    assert [picture.tobytes() for picture in painted] == [
        portrait(pose, 40).tobytes() for pose in JAWS
    ]


def test_few_poses_are_taken_ahead(painters):
    taken = []

    def poses():
        for number in count():
            taken.append(number)
            yield JAWS[0]

    with closing(painters.paint(poses(), 40)) as pictures:
        assert len(list(islice(pictures, 3))) == 3
        assert len(taken) <= 3 + 2 * 2
    assert painters._painters == []  # ended with what they were at


def test_processes_are_used_for_one_clip_after_another(painters):
    assert len(list(painters.paint(JAWS[:3], 40))) == 3
    before = [painter.process.pid for painter in painters._painters]
    assert len(before) == 2
    assert len(list(painters.paint(JAWS, 40))) == 7
    assert [painter.process.pid for painter in painters._painters] == before


def test_a_process_that_is_killed_is_one_sentence_and_the_next_clip_gets_others(painters):
    pictures = painters.paint(JAWS, 40)
    next(pictures)
    os.kill(painters._painters[1].process.pid, signal.SIGKILL)
    with pytest.raises(ChildProcessError, match=r"^a process that paints was killed by signal 9: "):
        list(pictures)
    assert len(list(painters.paint(JAWS[:2], 40))) == 2


def test_closing_ends_processes_whatever_they_are_at(painters):
    pictures = painters.paint(JAWS)
    next(pictures)
    processes = [painter.process.pid for painter in painters._painters]
    painters.close()
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_killing_the_processes_ends_the_painting(painters):
    def poses():
        yield JAWS[0]
        painters.kill()

    with pytest.raises(ChildProcessError, match="killed by signal 9"):
        list(painters.paint(poses()))
