"""Which speech an output was made of: every format carries a mark of it.

The mark is a short ASCII text with the SHA-256 of the speech file, and behind it of what
else the output was made by: a basis, a model. Formats have a place for it, near one of
their ends, that their readers pass over; those without one (``.csv``, ``.tsv``, ``.dat``)
cannot tell.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import BinaryIO

_PREFIX = "avatarpool:sha256:"
_MARK = re.compile(rb"avatarpool:sha256:[0-9a-f]{64}(?:\+[0-9a-f]{16})?(?![0-9a-f])")
_REACH = 64 * 1024  # bytes from either end within which the mark is looked for


def mark_of(audio: bytes) -> str:
    """Return the mark of what is made of these bytes."""
    return _PREFIX + hashlib.sha256(audio).hexdigest()


def mark_of_file(source: Path) -> str:
    """Return the mark of what is made of this file; none (empty) of a pipe, which reads once.

    Raises:
        OSError: It cannot be read.
    """
    if not source.is_file():
        return ""
    with source.open("rb") as file:
        return _PREFIX + hashlib.file_digest(file, "sha256").hexdigest()


def means_of(*means: bytes) -> str:
    """Return what a mark says of what an output is made by, beside speech; of nothing, nothing."""
    if not any(means):
        return ""
    digests = b"".join(hashlib.sha256(each).digest() for each in means)
    return "+" + hashlib.sha256(digests).hexdigest()[:16]


def is_made_of(output: Path, source: Path, means: str = "") -> bool:
    """Whether the output is there, was made of just this speech, and is not older than it.

    Where either cannot be read the answer is no: making the output anew says why.

    Args:
        output: It.
        source: The speech.
        means: What else it must have been made by, as `means_of` says it.
    """
    try:
        if not (output.is_file() and source.is_file()):
            return False
        if output.stat().st_mtime_ns < source.stat().st_mtime_ns:
            return False
        mark = read_mark(output)
        return bool(mark) and mark == mark_of_file(source) + means
    except OSError:
        return False


def read_mark(output: Path) -> str:
    """Return the mark that an output carries, or nothing (empty).

    Raises:
        OSError: It cannot be read.
    """
    with output.open("rb") as file:
        head = file.read(_REACH)
        _seek_tail(file, len(head))
        found = _MARK.findall(head) or _MARK.findall(file.read(_REACH))
    return found[-1].decode() if found else ""


def _seek_tail(file: BinaryIO, begin: int) -> None:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(min(begin, size), size - _REACH))
