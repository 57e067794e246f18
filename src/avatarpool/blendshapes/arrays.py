"""Whole animations as numpy arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields

import numpy as np
import numpy.typing as npt

from avatarpool.protocol.keyframes import Keyframe

_FIELDS = tuple(field.name for field in fields(Keyframe) if field.name != "time")


def keyframes_in(arrays: Mapping[str, npt.NDArray[np.float32]]) -> Iterator[Keyframe]:
    """Yield the keyframes in arrays with a row for each.

    Args:
        arrays: By the names of `Keyframe`'s attributes, as in an ``.npz`` of
            ``avatarpool animate``: ``time`` (n), and any others (n, values).
    """
    columns = {name: arrays[name].tolist() for name in _FIELDS if name in arrays}
    for row, time in enumerate(arrays["time"].tolist()):
        values = {name: tuple(rows[row]) for name, rows in columns.items()}
        yield Keyframe(**values, time=time)


def stack(weights: Iterable[Mapping[str, float]]) -> dict[str, npt.NDArray[np.float32]]:
    """Return an array (n) for each name that all of n keyframes' weights have.

    Args:
        weights: What `arkit`, `visemes` or `vrm` made of each keyframe.
    """
    rows = list(weights)
    names = [name for name in (rows[0] if rows else ()) if all(name in row for row in rows)]
    return {name: np.array([row[name] for row in rows], np.float32) for name in names}
