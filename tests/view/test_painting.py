"""Portraits by several processes."""

import os
import signal
import subprocess
import sys
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


FIRST_START = """
from avatarpool.view.painting import Painters
with Painters(2) as painters:
    painters._start()
    for painter in painters._painters:
        print(open(f"/proc/{painter.process.pid}/status").read())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells which signals are held")
def test_ctrl_c_reaches_none_of_them_however_early_it_comes():
    # In a process of its own, where nothing was started before.
    told = subprocess.run(  # noqa: S603
        [sys.executable, "-c", FIRST_START], check=True, capture_output=True, text=True
    ).stdout
    held = [int(line.split()[1], 16) for line in told.splitlines() if line.startswith("SigBlk")]
    assert [mask >> (signal.SIGINT - 1) & 1 for mask in held] == [1, 1]


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
