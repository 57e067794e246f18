"""The fit of a basis to pairs of keyframes and weights; `Basis.fit` says which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from avatarpool.blendshapes.basis import MEASURED, Shape
from avatarpool.blendshapes.names import ARKIT, ROTATIONS
from avatarpool.exceptions import ConfigurationError
from avatarpool.protocol.keyframes import Keyframe

_Array = npt.NDArray[np.float64]

_RIDGE = 1e-6  # of a column's own square: decides among columns that go together
_ROUNDS = 500
_SETTLED = 1e-7  # of weights of 0 to 1


def fit(
    pairs: Sequence[tuple[Keyframe, Mapping[str, float]]],
) -> tuple[dict[str, Shape], float | None]:
    """Fit shapes, and the angle of an open jaw if the pairs tell it.

    Raises:
        ConfigurationError: The pairs tell neither.
    """
    inputs = _inputs([keyframe for keyframe, _ in pairs])
    seen = _common([weights for _, weights in pairs])
    weights = np.array([[pair[1][name] for name in seen] for pair in pairs], np.float64)
    if not (np.isfinite(inputs).all() and np.isfinite(weights).all()):
        raise _unfit("a value is infinite or no number")
    if ((weights < 0) | (weights > 1)).any():
        raise _unfit("a weight is not within 0 to 1")
    jaw_open = None
    if "jawOpen" in seen:
        jaw_open = _jaw_open(inputs[:, 1], weights[:, seen.index("jawOpen")])
    names = [name for name in seen if name not in MEASURED]
    rows = _fit(inputs, weights[:, [seen.index(name) for name in names]])
    shapes = {
        name: Shape(row[0], row[1], tuple(row[2:]))
        for name, row in zip(names, rows.T.tolist(), strict=True)
    }
    return shapes, jaw_open


def _inputs(keyframes: Sequence[Keyframe]) -> _Array:
    """A row per keyframe: 1, the jaw's angle, the expression."""
    width = max((len(keyframe.expression) for keyframe in keyframes), default=0)
    inputs = np.zeros((len(keyframes), 2 + width))
    inputs[:, 0] = 1.0
    for row, keyframe in zip(inputs, keyframes, strict=True):
        row[1] = keyframe.jaw_pose[0] if keyframe.jaw_pose else 0.0
        row[2 : 2 + len(keyframe.expression)] = keyframe.expression
    unknowns = 1 + int(np.ptp(inputs[:, 1:], axis=0).astype(bool).sum()) if len(inputs) else 1
    if len(inputs) < unknowns:
        raise _unfit(f"{unknowns} unknowns need as many pairs, and there are {len(inputs)}")
    return inputs


def _common(weights: Sequence[Mapping[str, float]]) -> list[str]:
    """The ARKit names that all have."""
    strange = {name for each in weights for name in each} - {*ARKIT, *ROTATIONS}
    if strange:
        raise _unfit(f"{min(map(str, strange))!r:.60} is no ARKit name")
    common = [name for name in ARKIT if weights and all(name in each for each in weights)]
    if not common:
        raise _unfit("no ARKit name is in all pairs")
    return common


def _fit(inputs: _Array, weights: _Array) -> _Array:
    """Return the rows whose predictions, kept in 0 to 1, come nearest; a column per name.

    First as if whatever is predicted below 0 were right where 0 was seen, and above 1
    where 1 was, which has one answer. From there, what is predicted beyond 0 or 1 is as
    good as 0 or 1 whatever was seen there: a tracker's noise about 0 is not to bend
    what lies far below. In both, such predictions are taken for what was seen, round by
    round; the error never grows.
    """
    scale = np.sqrt((inputs**2).mean(axis=0))
    scale[scale == 0] = 1.0
    scaled = inputs / scale
    normal = scaled.T @ scaled + _RIDGE * len(inputs) * np.eye(scaled.shape[1])
    solve = np.linalg.solve(normal, scaled.T)
    rows = solve @ weights
    for low, high in ((weights <= 0, weights >= 1), (True, True)):
        for _ in range(_ROUNDS):
            predicted = scaled @ rows
            beyond = (low & (predicted < 0)) | (high & (predicted > 1))
            before, rows = rows, solve @ np.where(beyond, predicted, weights)
            if np.abs(scaled @ (rows - before)).max(initial=0) < _SETTLED:
                break
    result: _Array = rows / scale[:, None]
    return result


def _jaw_open(angles: _Array, opened: _Array) -> float:
    """Least squares through the origin, of what is neither shut nor as open as can be."""
    between = (opened > 0) & (opened < 1)
    turned, product = (angles[between] ** 2).sum(), (angles[between] * opened[between]).sum()
    if product <= 0:
        raise _unfit("jawOpen does not grow with the jaw's angle")
    return float(turned / product)


def _unfit(problem: str) -> ConfigurationError:
    return ConfigurationError("a basis cannot be fitted to these pairs", [problem])
