"""``avatarpool animate``: speech files to animation files."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from avatarpool.animate import Batch, NoSession, Write
from avatarpool.animate.files import write_json, write_jsonl, write_npz, write_pb
from avatarpool.cli.animation_face import Face, face_of
from avatarpool.cli.animation_plan import (
    PIPE,
    AnimateOptions,
    Plan,
    format_of,
    make_plan,
    misused,
)
from avatarpool.cli.animation_progress import animation_progress
from avatarpool.cli.animation_report import Report
from avatarpool.cli.exit_codes import INTERRUPTED
from avatarpool.cli.loop import run_in_loop
from avatarpool.cli.opening import opened
from avatarpool.cli.options import AnimationFormat
from avatarpool.cli.signals import Interruptible
from avatarpool.cli.streams import note
from avatarpool.cli.target import avatar_service
from avatarpool.environment import Settings
from avatarpool.pool import AvatarConnectionPool

_NUMBERS: dict[AnimationFormat, Write] = {
    AnimationFormat.JSON: write_json,
    AnimationFormat.JSONL: write_jsonl,
    AnimationFormat.NPZ: write_npz,
    AnimationFormat.PB: write_pb,
}

_NO_BASIS = (
    "Jaw, lids, eyes and head alone: whose expression basis this is cannot be known, and "
    "--basis would say it."
)


@dataclass(frozen=True, slots=True)
class _Writer:
    """What writes animations.

    Attributes:
        write: Does it.
        share: Of a clip's time that it takes, of 0 to 1: an estimate.
        stop: Ends it at once, from another thread.
    """

    write: Write
    share: float
    stop: Callable[[], object]


def animate(options: AnimateOptions, settings: Settings) -> int:
    """Animate the clips, say what became of them and return the command's exit code.

    Raises:
        AvatarPoolError: The options cannot work, or no session could be opened.
        OSError: Standard output or the report's file cannot be written.
    """
    kind = format_of(options)
    face = face_of(options, kind, is_local=settings.is_empty)
    with _writer(kind, face) as writer:
        plan = make_plan(options, kind, face.means)
        report = Report(options, kept=plan.kept, total=len(plan.kept))
        if plan.to_do:
            if kind.is_face and face.basis is None:
                note(_NO_BASIS)
            report = run_in_loop(_animate(options, plan, writer, settings))
    if options.json_file is not None:
        options.json_file.write_text(report.to_json(), encoding="utf-8")
    if options.output == PIPE and report.animated and not _send(report.animated[0].clip.stream):
        return 0  # its reader has seen enough
    _tell(report)
    if report.refusal is not None:
        raise report.refusal
    if report.was_interrupted:
        return INTERRUPTED
    return 1 if report.failed else 0


async def _animate(
    options: AnimateOptions, plan: Plan, writer: _Writer, settings: Settings
) -> Report:
    size = min(options.pool_size, len(plan.to_do))
    refusal = None
    async with avatar_service(settings) as config_factory:
        pool = AvatarConnectionPool(
            pool_size=size,
            config_factory=config_factory,
            session_ttl_minutes=options.session_ttl_minutes,
        )
        scope = Interruptible()
        with animation_progress(len(plan.to_do)) as show:
            batch = Batch(
                pool,
                writer.write,
                options.patience,
                show,
                writing_share=writer.share,
                stop=writer.stop,
            )
            try:
                async with scope, opened(pool):
                    await batch.run(plan.to_do, size)
            except NoSession as error:
                refusal = error.reason
    return Report(
        options,
        kept=plan.kept,
        total=len(plan.kept) + len(plan.to_do),
        # In the order of the files, and not of their ends.
        animated=sorted(batch.animated, key=lambda done: done.clip.source),
        failed=sorted(batch.failed, key=lambda failure: failure[0].source),
        was_interrupted=scope.was_interrupted,
        refusal=refusal,
    )


@contextmanager
def _writer(kind: AnimationFormat, face: Face) -> Iterator[_Writer]:
    """Yield what writes this kind; afterwards, nothing that it started is left."""
    if kind.is_face:
        yield _Writer(face.writer(kind), 0.1, lambda: None)
        return
    if not kind.is_picture:
        yield _Writer(_NUMBERS[kind], 0.1, lambda: None)
        return
    try:
        from avatarpool.cli.pictures import Studio  # noqa: PLC0415 - an extra
    except ImportError as error:
        missing = error.name or error
        raise misused(f"pictures need {missing}: install avatarpool's extra 'render'") from error
    with Studio(kind) as studio:
        yield _Writer(studio.write, 0.9, studio.kill)


def _send(stream: BinaryIO | None) -> bool:
    """Send what was written to standard output; false if nobody takes it to its end."""
    assert stream is not None
    stream.seek(0)
    try:
        with open(1, "wb", closefd=False) as output:
            shutil.copyfileobj(stream, output)
    except BrokenPipeError:
        return False
    finally:
        stream.close()
    return True


def _tell(report: Report) -> None:
    """Print what there is now, and note what went wrong."""
    if outcome := report.outcome():
        if report.options.output == PIPE:
            note(outcome)
        else:
            print(outcome, flush=True)  # noqa: T201
    for line in report.complaints():
        note(line)
