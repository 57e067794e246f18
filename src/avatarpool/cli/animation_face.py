"""Whose face ``avatarpool animate`` writes for: the basis of its expression, and its model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from avatarpool.animate import Animation, Tick, Write, means_of
from avatarpool.animate.cues import write_papagayo, write_rhubarb_json, write_rhubarb_tsv
from avatarpool.animate.glb import write_glb
from avatarpool.animate.model import Model, read_model
from avatarpool.animate.weights import write_arkit_csv, write_arkit_json, write_visemes_json
from avatarpool.blendshapes import LOCAL, Basis
from avatarpool.cli.animation_plan import AnimateOptions, misused
from avatarpool.cli.options import AnimationFormat

_LOCAL_BASIS = Path("local")

_WRITERS: Mapping[AnimationFormat, Callable[[Animation, BinaryIO, Tick, Basis | None], None]] = {
    AnimationFormat.ARKIT_JSON: write_arkit_json,
    AnimationFormat.ARKIT_CSV: write_arkit_csv,
    AnimationFormat.VISEMES_JSON: write_visemes_json,
    AnimationFormat.RHUBARB_JSON: write_rhubarb_json,
    AnimationFormat.RHUBARB_TSV: write_rhubarb_tsv,
    AnimationFormat.PAPAGAYO_DAT: write_papagayo,
}


@dataclass(frozen=True, slots=True)
class Face:
    """Whose face it is.

    Attributes:
        basis: Of the service's expression, if it is known.
        model: What is animated, where a model is written.
        means: What an output's mark says of both.
    """

    basis: Basis | None = None
    model: Model | None = None
    means: str = ""

    def writer(self, kind: AnimationFormat) -> Write:
        """Return what writes this kind, whose `is_face` is true."""

        def write(animation: Animation, file: BinaryIO, tick: Tick) -> None:
            mark = animation.mark and animation.mark + self.means
            animation = replace(animation, mark=mark)
            if self.model is not None:
                write_glb(animation, file, tick, self.model, self.basis)
            else:
                _WRITERS[kind](animation, file, tick, self.basis)

        return write


def face_of(options: AnimateOptions, kind: AnimationFormat, *, is_local: bool) -> Face:
    """Read what the options name.

    Args:
        options: The command's.
        kind: What is written.
        is_local: Whether the service is a local one, whose basis is known.

    Raises:
        ConfigurationError: The options do not go together, or name what cannot be used.
        OSError: A file cannot be read.
    """
    if options.model is not None and kind is not AnimationFormat.GLB:
        raise misused(f"--model is for glb, and {kind.value} has none: leave it out")
    if options.basis is not None and not kind.is_face:
        raise misused(f"--basis is for other faces, and {kind.value} is none: leave it out")
    if not kind.is_face:
        return Face()
    if options.basis is None:
        basis = LOCAL if is_local else None
    else:
        basis = LOCAL if options.basis == _LOCAL_BASIS else Basis.load(options.basis)
    # Of several formats files may have the same name.
    means = [kind.value.encode(), b"" if basis is None else repr(basis).encode()]
    model = None
    if kind is AnimationFormat.GLB:
        if options.model is None:
            raise misused("glb needs a model to animate: name one with --model face.glb")
        model = read_model(options.model)
        means.append(model.digest)
    return Face(basis, model, means_of(*means))
