from __future__ import annotations

import subprocess
import sys

from avatarpool.lipsync import DspDriver, default_driver
from avatarpool.lipsync.model import ModelDriver

WITHOUT_NUMPY = """
import logging, sys
sys.modules["numpy"] = None  # what makes an import fail
logging.basicConfig(format="%(name)s %(levelname)s %(message)s")
from avatarpool.lipsync import default_driver
for _ in range(2):
    driver = default_driver(16000, 0)
print(type(driver).__name__, len(driver.feed(bytes(3200)) + driver.finish()))
"""


def test_the_trained_driver_is_the_default():
    assert type(default_driver(16000, 0)) is ModelDriver


def test_without_numpy_the_simpler_driver_serves_and_that_is_logged_once():
    ran = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", WITHOUT_NUMPY], capture_output=True, text=True, check=True
    )

    assert ran.stdout.split() == [DspDriver.__name__, "3"]
    (warning,) = ran.stderr.splitlines()
    assert warning.startswith("avatarpool.service WARNING numpy cannot be imported")
    assert warning.endswith("the driver dsp moves the lips")
