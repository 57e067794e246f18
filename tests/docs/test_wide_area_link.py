"""The command by which the documentation makes a wide-area link."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_WAN = Path(__file__).parents[2] / "benchmarks" / "wan.py"


def test_a_link_takes_its_options_behind_the_round_trip_and_runs_a_command():
    network = f"198.19.{os.getpid() % 256}.0/30"
    print_loss = (sys.executable, "-c", "import sys; print(*sys.argv[1:])", "--loss", "of its own")
    ran = subprocess.run(  # noqa: S603
        [sys.executable, _WAN, "80", "--loss", "1", "--network", network, *print_loss],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if ran.stderr.startswith("there is no wide-area link to be had here"):
        pytest.skip(ran.stderr)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "--loss of its own\n", "")
