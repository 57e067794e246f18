"""Signals at any moment of the command's start, to processes of their own."""

import itertools
import signal
import time

import pytest

# Sends itself a signal amid an import: of the named module, or the so-many-th of all.
AMID_AN_IMPORT = """
import itertools, os, sys

number, which = int(sys.argv[1]), sys.argv[2]
count = itertools.count(1)

def look(event, arguments):
    if event == "import" and which in (arguments[0], str(next(count))):
        os.kill(os.getpid(), number)

sys.argv[0:3] = ["avatarpool"]
from avatarpool.cli.start import main
sys.addaudithook(look)
main()
"""

# Says when it hears signals: before that, Python itself has them.
STARTED = """
import sys
from avatarpool.cli.start import main

def look(event, arguments):
    if event == "import" and arguments[0] == "avatarpool.cli.main":
        print("started", flush=True)

sys.addaudithook(look)
sys.argv[0] = "avatarpool"
main()
"""

QUICK = ("run", "--rounds", 1, "--requests", 1)
LONG = ("run", "--rounds", 100)


def assert_silent(stderr, says_local):
    assert stderr in {"", says_local}


@pytest.mark.parametrize(
    "which",
    [
        *("1", "30", "typer", "asyncio", "uvloop", "pydantic_settings", "numpy", "aiohttp"),
        *("rich.progress", "avatarpool.service"),
    ],
)
def test_ctrl_c_amid_an_import_is_silent(command, says_local, which):
    process = command.start(signal.SIGINT.value, which, *QUICK, program=("-c", AMID_AN_IMPORT))
    stdout, stderr = process.communicate(timeout=50)
    assert (process.returncode, stdout) == (130, "")
    assert_silent(stderr, says_local)


@pytest.mark.parametrize("which", ["typer", "numpy"])
def test_sigterm_amid_an_import_is_silent(command, says_local, which):
    process = command.start(signal.SIGTERM.value, which, *QUICK, program=("-c", AMID_AN_IMPORT))
    stdout, stderr = process.communicate(timeout=50)
    assert (process.returncode, stdout) == (143, "")
    assert_silent(stderr, says_local)


def test_ctrl_c_at_any_moment_is_silent(command, says_local):
    """Whatever it meets: each moment must end like that, and no pause proves anything."""
    for pause in itertools.accumulate([0.0] + 5 * [0.12]):
        process = command.start(*LONG, program=("-c", STARTED))
        assert process.stdout.readline() == "started\n"
        time.sleep(pause)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=50)
        assert process.returncode == 130, pause
        assert_silent(stderr, says_local)


def test_a_signal_that_whoever_started_it_ignores_stays_ignored(command):
    code = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n{AMID_AN_IMPORT}"
    process = command.start(signal.SIGINT.value, "typer", "--version", program=("-c", code))
    stdout, _ = process.communicate(timeout=50)
    assert process.returncode == 0
    assert stdout.startswith("avatarpool ")
