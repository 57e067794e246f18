"""Outputs that are whole when they are there, and what a killed run left of others.

An output is written to a part beside it, which takes its name at the end. A part
is locked while its run lives, so that a later one can tell what was left behind
by a run that was killed from what another one is still writing.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows removes no file that is open: it needs no lock, and has none
    _HAS_LOCKS = False
else:
    _HAS_LOCKS = True

_PART = re.compile(r"\.avatarpool-[0-9a-f]{16}\.part")


@contextmanager
def writing(output: Path) -> Iterator[BinaryIO]:
    """Open a part of the output, which takes its place when the block ends well.

    Otherwise nothing is left of it: an output that exists is whole. One that is a
    link stays a link.

    Raises:
        OSError: It cannot be written.
    """
    place = Path(os.path.realpath(output))
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists() and not place.is_file():
        raise FileExistsError(errno.EEXIST, "it is there, and no regular file", str(output))
    part, file = None, None
    try:
        part, file = _open_part(place.parent)
        with file:
            yield file
            file.flush()
            if not _HAS_LOCKS:
                file.close()
            part.replace(place)  # while it is locked: unlocked, it would look left behind
    except OSError as error:
        # Those of a full disk name no file; RequestTimeout is an OSError too, of no file.
        if error.errno is not None and error.filename in (None, str(part)):
            error.filename, error.filename2 = str(output), None
        raise
    finally:
        if part is not None:
            with suppress(OSError):
                part.unlink(missing_ok=True)


def prepare(folder: Path) -> None:
    """Make a folder fit for outputs: there, writable, and without a dead run's parts.

    Raises:
        OSError: It cannot be, or nothing can be written to it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part, file = _open_part(folder)
    part.unlink()
    file.close()
    remove_leftovers(folder)


def remove_leftovers(folder: Path) -> None:
    """Remove the parts in a folder that nobody writes any more; others stay."""
    with suppress(OSError), os.scandir(folder) as entries:
        found = [Path(entry) for entry in entries if _is_part(entry)]
    for part in found:
        # Somebody else's, or one that is being written, is not ours to remove.
        with suppress(OSError), part.open("r+b") as file:
            _lock(file, fcntl.LOCK_NB if _HAS_LOCKS else 0)
            part.unlink()


def _is_part(entry: os.DirEntry[str]) -> bool:
    return bool(_PART.fullmatch(entry.name)) and entry.is_file(follow_symlinks=False)


def _open_part(folder: Path) -> tuple[Path, BinaryIO]:
    """Make a part and lock it."""
    while True:
        part = folder / f".avatarpool-{secrets.token_hex(8)}.part"
        file = part.open("x+b")
        with suppress(OSError):  # a file system without locks: nobody removes its parts, then
            _lock(file)
        if not _HAS_LOCKS or os.fstat(file.fileno()).st_nlink:
            return part, file
        file.close()  # before it was locked, another run took it for left behind


def _lock(file: BinaryIO, flags: int = 0) -> None:
    """Lock a file until it is closed or its process is gone.

    Raises:
        OSError: It is locked, where the flags say not to wait.
    """
    if _HAS_LOCKS:
        fcntl.flock(file, fcntl.LOCK_EX | flags)
