"""Targets that fail, each in its way, at their hundredth input or so."""

from __future__ import annotations

import os
import time
from random import Random

from targets import Target


def make(random: Random) -> list[bytes]:
    return [random.randbytes(2), b"", b"more"]


def is_due(pieces: list[bytes]) -> bool:
    return pieces[0][0] == 7


def raises(pieces: list[bytes]) -> None:
    if is_due(pieces):
        raise KeyError(*pieces)


def loops(pieces: list[bytes]) -> None:
    while is_due(pieces):
        pass


def sleeps(pieces: list[bytes]) -> None:
    while is_due(pieces):
        time.sleep(60)


def dies(pieces: list[bytes]) -> None:
    if is_due(pieces):
        os.abort()


def hoards(pieces: list[bytes]) -> None:
    if is_due(pieces):
        bytes(range(256)) * 2**21


FAULTY = {
    "raises": Target(make, raises),
    "loops": Target(make, loops),
    "sleeps": Target(make, sleeps),
    "dies": Target(make, dies),
    "hoards": Target(make, hoards),
}
