"""Strangers' bytes by the thousand: ``make fuzz``.

Each target runs in a process of its own, which a watchdog ends if one input
takes too long or too much memory, or brings the process down. Inputs follow
from the seed and their number alone. One that fails is written to a file, and
the run ends with the command that runs it again.
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import re
import secrets
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

from targets import TARGETS, Target

TOO_LONG = 2.0  # seconds of CPU for one input; it may sleep for ten times as long
_TOO_MUCH = 128 * 1024  # kilobytes beyond what the first inputs took
_FIRST = 50  # inputs, in which libraries are loaded
_STARTING = 0  # the number of no input

_spawn = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Finding:
    """An input that fails, and why."""

    number: int
    pieces: list[bytes]
    why: str


def fuzz(target: Target, seed: int, seconds: float) -> tuple[int, Finding | None]:
    """Run inputs for some time, or until one fails; return how many, and that one."""
    at = _spawn.Value("Q", _STARTING, lock=False)
    ours, theirs = _spawn.Pipe(duplex=False)
    process = _spawn.Process(target=_work, args=(target, seed, TOO_LONG, at, theirs), daemon=True)
    process.start()
    theirs.close()  # or else its end would not be seen
    try:
        why = _watch(at, ours, seconds)
    except EOFError:
        process.join()
        is_slow = process.exitcode == -signal.SIGPROF
        why = f"took over {TOO_LONG:g} s" if is_slow else f"ended it ({process.exitcode})"
    finally:
        process.kill()
        process.join()
        ours.close()
    if why is None:
        return at.value, None
    return at.value, Finding(at.value, target.make(Random(f"{seed}/{at.value}")), why)


def _watch(at: ctypes.c_uint64, pipe: Connection, seconds: float) -> str | None:
    """Return what is told, or None when the time is over; `EOFError` if the process has ended."""
    ends = None
    seen, since = _STARTING, time.monotonic()
    while not pipe.poll(0.05):
        now = time.monotonic()
        if at.value != seen:
            ends = ends or now + seconds
            seen, since = at.value, now
        elif seen != _STARTING and now - since > 10 * TOO_LONG:
            return f"slept for {10 * TOO_LONG:g} s"
        if ends and now > ends:
            return None
    return str(pipe.recv())


def _work(
    target: Target, seed: int, too_long: float, at: ctypes.c_uint64, pipe: Connection
) -> None:
    most = None
    try:
        for number in range(1, sys.maxsize):
            pieces = target.make(Random(f"{seed}/{number}"))
            at.value = number
            # Of this process alone, whatever else the machine does; ends it within C code, too.
            signal.setitimer(signal.ITIMER_PROF, too_long)
            target.run(pieces)
            peak = _peak()
            if number == _FIRST:
                most = peak + _TOO_MUCH
            if most is not None and peak > most:
                pipe.send(f"took {(peak - most + _TOO_MUCH) // 1024} MB")
                return
    except BaseException:  # noqa: BLE001  # whatever it is, it is no documented error
        pipe.send(traceback.format_exc())


def _peak() -> int:
    """Return the most memory this process has had, in kilobytes.

    Not `ru_maxrss`: Linux hands that on through fork and exec, so that a child
    of a large process would start with its parent's.
    """
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1])


# A finding as a file: the target's name, then a piece in each line.


def save(finding: Finding, name: str, path: Path) -> None:
    """Write an input that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([name, *(piece.hex() for piece in finding.pieces)]) + "\n")


def again(path: Path, targets: dict[str, Target] = TARGETS) -> None:
    """Run what was saved; raise what it raises."""
    name, *pieces = path.read_text().splitlines()
    targets[name].run([bytes.fromhex(piece) for piece in pieces])


def main() -> int:
    """Fuzz the targets one after another; 1 if one of them has a finding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", default=list(TARGETS), help="all by default")
    parser.add_argument("--seconds", type=float, default=600.0, help="for each target")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    parser.add_argument("--again", type=Path, metavar="FILE", help="run this input alone")
    asked = parser.parse_args()
    if asked.again:
        again(asked.again)
        print("nothing is wrong with it any more")
        return 0
    failed = 0
    for name in asked.targets:
        count, finding = fuzz(TARGETS[name], asked.seed, asked.seconds)
        print(f"{name}: {count} inputs of seed {asked.seed}", flush=True)
        if finding is not None:
            failed = 1
            path = Path("build", "fuzz", f"{name}-{asked.seed}-{finding.number}.txt")
            save(finding, name, path)
            print(f"{finding.why.rstrip()}\nagain: {sys.executable} {__file__} --again {path}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
