"""``avatarpool animate``: speech files to animation files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avatarpool.animate import Batch, Clip, NoSession, Write, find_clips
from avatarpool.animate.files import write_jsonl, write_npz, write_pb
from avatarpool.cli.exit_codes import INTERRUPTED
from avatarpool.cli.options import AnimationFormat
from avatarpool.cli.screen import open_screen
from avatarpool.cli.signals import Interruptible
from avatarpool.cli.streams import note
from avatarpool.cli.target import avatar_service
from avatarpool.environment import Settings
from avatarpool.exceptions import AvatarPoolError, ConfigurationError
from avatarpool.pool import AvatarConnectionPool


@dataclass(frozen=True, slots=True)
class AnimateOptions:
    """What the command was asked for.

    Attributes:
        speech: A speech file, or a folder of them.
        output: The file to write, or the folder of the files.
        format: Of a folder's outputs.
        is_forced: Whether to make outputs anew that are there.
        pool_size: Sessions to keep open: clips at the same time.
        session_ttl_minutes: How long a session may live.
        patience: Seconds in which each frame must come.
    """

    speech: Path
    output: Path
    format: AnimationFormat | None
    is_forced: bool
    pool_size: int
    session_ttl_minutes: float
    patience: float


async def animate(options: AnimateOptions, settings: Settings) -> int:
    """Animate the clips, say what became of them and return the command's exit code.

    Raises:
        AvatarPoolError: The options cannot work, or no session could be opened.
    """
    kind = _format(options)
    write = _writer(kind)
    clips = _clips(options, kind)
    to_do = [clip for clip in clips if options.is_forced or not clip.output.exists()]
    skipped = len(clips) - len(to_do)
    if skipped:
        note(f"{_count(skipped)} skipped: the output is there (--force makes it anew).")
    if not to_do:
        return 0
    size = min(options.pool_size, len(to_do))
    async with avatar_service(settings) as config_factory:
        pool = AvatarConnectionPool(
            pool_size=size,
            config_factory=config_factory,
            session_ttl_minutes=options.session_ttl_minutes,
        )
        scope = Interruptible()
        with open_screen(len(to_do), "clips") as screen:
            batch = Batch(pool, write, options.patience, screen.show)
            try:
                async with scope, pool:
                    await batch.run(to_do, size)
            except NoSession as error:
                _report(batch, options, len(to_do))
                raise error.reason from None
    _report(batch, options, len(to_do))
    if scope.was_interrupted:
        return INTERRUPTED
    return 1 if batch.failed else 0


def _format(options: AnimateOptions) -> AnimationFormat:
    if options.speech.is_dir():
        if options.output.is_file():
            raise _misused(f"{options.output} is a file, and for a folder it must be one, too")
        return options.format or AnimationFormat.JSONL
    if options.output.is_dir():
        raise _misused(f"{options.output} is a folder: name the file to write")
    suffix = options.output.suffix.lower().removeprefix(".")
    known = [kind.value for kind in AnimationFormat]
    if suffix not in known:
        raise _misused(f"{options.output} must end with .{', .'.join(known[:-1])} or .{known[-1]}")
    if options.format not in (None, suffix):
        raise _misused(f"{options.output} is no {options.format.value}: leave --format out")
    return AnimationFormat(suffix)


def _writer(kind: AnimationFormat) -> Write:
    numbers: dict[AnimationFormat, Write] = {
        AnimationFormat.JSONL: write_jsonl,
        AnimationFormat.NPZ: write_npz,
        AnimationFormat.PB: write_pb,
    }
    if kind in numbers:
        return numbers[kind]
    try:
        from avatarpool.cli import pictures  # noqa: PLC0415 - an extra
    except ImportError as error:
        missing = error.name or error
        raise _misused(f"pictures need {missing}: install avatarpool's extra 'render'") from error
    return pictures.WRITERS[kind]


def _clips(options: AnimateOptions, kind: AnimationFormat) -> list[Clip]:
    if not options.speech.is_dir():
        return [Clip(options.speech, options.output)]
    clips = find_clips(options.speech, options.output, f".{kind.value}")
    if not clips:
        raise _misused(f"there is no audio file in {options.speech}")
    return clips


def _misused(problem: str) -> ConfigurationError:
    return ConfigurationError("nothing was animated", [problem])


def _report(batch: Batch, options: AnimateOptions, total: int) -> None:
    """Print how many were animated, and note which failed and why, and how to go on."""
    print(f"{len(batch.animated)} of {_count(total)} animated.", flush=True)  # noqa: T201
    for clip, error in batch.failed:
        note(f"{_shown(clip.source)}: {_reason(error)}")
    if len(batch.animated) + len(batch.failed) < total:
        without = " without --force" if options.is_forced else ""
        note(f"Ended early: the same command{without} does the rest.")


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    is_expected = isinstance(error, AvatarPoolError | OSError)
    return text if is_expected and text else f"{type(error).__name__}: {text}"


def _shown(file: Path) -> str:
    """The name, unless a terminal would obey it or show nothing."""
    name = str(file)
    return name if name.isprintable() else repr(name)


def _count(clips: int) -> str:
    return f"{clips} clip" if clips == 1 else f"{clips} clips"
