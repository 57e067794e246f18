"""The visemes of a keyframe: those whose mouths, mixed, come nearest to it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from operator import mul

from avatarpool.blendshapes.arkit import arkit, jaw_open
from avatarpool.blendshapes.basis import Basis, unit
from avatarpool.blendshapes.local import COEFFICIENTS, JAW_RADIANS, LOCAL, MOUTHS
from avatarpool.blendshapes.names import VISEMES
from avatarpool.blendshapes.nonnegative import nonnegative
from avatarpool.protocol.keyframes import Keyframe

# An even mix is preferred a little among mouths that look alike: so there is one
# answer, and it changes no faster than the mouth.
_EVENNESS = 0.001
# A mouth at rest is preferred to no other: small ones are spoken, too.
_REST_EVENNESS = 0.003
# What holds the sum at 1, against mouths whose squares are about 1.
_SUM = 10.0

_Matrix = tuple[tuple[float, ...], ...]


def visemes(keyframe: Keyframe, basis: Basis | None = None) -> dict[str, float]:
    """Return the weights of Oculus' 15 visemes in a keyframe; they sum to 1.

    Args:
        keyframe: Any service's.
        basis: Whose expression coefficients these are. Without one, all that is known
            is how far the jaw is open: ``aa`` says it, ``sil`` is the rest, and the
            others are absent, not 0.
    """
    if basis is None:
        opened = unit(jaw_open(keyframe) / _seen("aa")["jawOpen"])
        return {"sil": 1.0 - opened, "aa": opened}
    return mixed(keyframe, basis, VISEMES)


def mixed(keyframe: Keyframe, basis: Basis, mouths: tuple[str, ...]) -> dict[str, float]:
    """Return the mix of some visemes that comes nearest to a keyframe.

    It is the least of |sum of w m - mouth|² + 0.001 |w|² for weights w of 0 or more that
    sum to 1, all mouths being ARKit weights under the names that the basis knows. A mouth at
    rest, without any weight, is one of them (0.003 w²), and counts as ``sil``, whose lips
    are pressed.
    """
    weights = arkit(keyframe, basis)
    names = tuple(name for name in _names() if name in weights)
    rows, gram = _system(names, mouths)
    mouth = [weights[name] for name in names]
    found = nonnegative(gram, [_SUM + sum(map(mul, row, mouth)) for row in rows])
    total = sum(found)
    mix = {name: value / total for name, value in zip(mouths, found[:-1], strict=True)}
    mix["sil"] += found[-1] / total
    return mix


@cache
def _seen(viseme: str) -> dict[str, float]:
    """What a viseme's mouth looks like in ARKit's terms."""
    mouth = MOUTHS[viseme]
    return arkit(
        Keyframe(
            jaw_pose=(JAW_RADIANS * mouth.get("jaw", 0.0), 0.0, 0.0),
            expression=tuple(mouth.get(name, 0.0) for name in COEFFICIENTS),
        ),
        LOCAL,
    )


@cache
def _names() -> tuple[str, ...]:
    """The names by which visemes differ."""
    return tuple(name for name in _seen("sil") if any(_seen(viseme)[name] for viseme in MOUTHS))


@lru_cache(32)  # two for each set of names that a basis knows
def _system(names: Sequence[str], mouths: Sequence[str]) -> tuple[_Matrix, _Matrix]:
    """The mouths as rows, and the matrix of what `mixed` makes least."""
    seen = (tuple(_seen(mouth)[name] for name in names) for mouth in mouths)
    rows = (*seen, (0.0,) * len(names))  # the last: at rest
    evenness = (*(_EVENNESS for _ in mouths), _REST_EVENNESS)
    gram = tuple(
        tuple(_SUM + sum(map(mul, a, b)) + (e if a is b else 0.0) for b in rows)
        for a, e in zip(rows, evenness, strict=True)
    )
    return rows, gram
