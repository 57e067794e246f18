"""What became of the clips of ``avatarpool animate``, in words and as JSON."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avatarpool.animate import Animated, Clip
from avatarpool.cli.animation_plan import PIPE, AnimateOptions, shown
from avatarpool.exceptions import AvatarPoolError

_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Report:
    """What became of which clip; those that are in none of the lists were not begun.

    Attributes:
        options: What was asked for.
        kept: Whose outputs were there.
        total: All clips.
        animated: Whose outputs were written.
        failed: The others, each with its reason.
        was_interrupted: Whether a signal ended it.
        refusal: Why the pool lent no session.
    """

    options: AnimateOptions
    kept: Sequence[Clip]
    total: int
    animated: Sequence[Animated] = ()
    failed: Sequence[tuple[Clip, Exception]] = ()
    was_interrupted: bool = False
    refusal: AvatarPoolError | None = None

    def outcome(self) -> str:
        """What there is now: of one clip its output, of a folder how many."""
        if self.options.is_folder:
            counts = [f"{_count(len(self.animated))} animated"]
            counts += [f"{len(self.kept)} kept"] if self.kept else []
            counts += [f"{len(self.failed)} failed"] if self.failed else []
            return f"{', '.join(counts)}: outputs in {shown(self.options.output)}/"
        name = "standard output" if self.options.output == PIPE else shown(self.options.output)
        if self.animated:
            done = self.animated[0]
            frames = "1 frame" if done.frames == 1 else f"{done.frames} frames"
            return f"{name}: {frames}, {done.seconds:.2f} s of speech"
        if self.kept:
            why = "as --keep asks" if self.options.keeps else "made of this speech already"
            return f"{name}: kept, {why} (--force makes it anew)"
        return ""

    def complaints(self) -> list[str]:
        """Which failed and why, and how to go on; a line each."""
        lines = [f"{shown(clip.source)}: {_reason(clip, error)}" for clip, error in self.failed]
        if len(self.animated) + len(self.kept) + len(self.failed) < self.total:
            without = " without --force" if self.options.is_forced else ""
            lines.append(f"Ended early: the same command{without} does the rest.")
        return lines

    def to_json(self) -> str:
        """The same facts for programs."""
        facts = {
            "animated": [
                {**_files(done.clip), "frames": done.frames, "seconds": round(done.seconds, 3)}
                for done in self.animated
            ],
            "kept": [_files(clip) for clip in self.kept],
            "failed": [
                {**_files(clip), "error": _reason(clip, error)} for clip, error in self.failed
            ],
            "total": self.total,
            "was_interrupted": self.was_interrupted,
        }
        return json.dumps(facts, indent=2) + "\n"


def _reason(clip: Clip, error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        name = error.filename if isinstance(error.filename, str) else ""
        where = f": {shown(Path(name))}" if name not in ("", str(clip.source)) else ""
        hint = "; make room, and the same command goes on" if error.errno in _FULL else ""
        return f"{error.strerror.lower()}{where}{hint}"
    text = " ".join(str(error).split())
    is_expected = isinstance(error, AvatarPoolError | OSError)
    return text if is_expected and text else f"{type(error).__name__}: {text}"


def _files(clip: Clip) -> dict[str, str]:
    return {"input": str(clip.source), "output": str(clip.output)}


def _count(files: int) -> str:
    return f"{files} file" if files == 1 else f"{files} files"
