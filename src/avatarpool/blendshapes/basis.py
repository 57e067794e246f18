"""What a service's expression coefficients do to a face, in ARKit's terms."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import mul
from pathlib import Path

from avatarpool.blendshapes.names import ARKIT
from avatarpool.exceptions import ConfigurationError
from avatarpool.protocol.keyframes import Keyframe

JAW_OPEN = 0.4
"""Radians by which the jaw turns for a ``jawOpen`` of 1, unless a basis knows better.

People open some 45 mm between the incisors, which are some 95 mm from the joint:
2 asin(22.5 / 95) is 0.48; faces in ARKit's terms seldom go all that way.
"""

MEASURED = frozenset(
    name
    for name in ARKIT
    if name.startswith(("eyeBlink", "eyeLook")) or name in ("jawOpen", "jawLeft", "jawRight")
)
"""The names that jaw, lids and eyes tell themselves, whatever the basis."""

_JAW_RANGE = (0.05, 2.0)  # radians that may be a jaw's whole way
_MOST_COEFFICIENTS = 1000
_MOST_BYTES = 4 * 1024 * 1024  # of a file


def unit(value: float) -> float:
    """Keep a value from 0 to 1; what is no number is 0."""
    return min(1.0, max(0.0, value))


@dataclass(frozen=True, slots=True)
class Shape:
    """How one ARKit weight follows a keyframe: ``rest + jaw angle + expression``, kept in 0 to 1.

    Attributes:
        rest: Its value in a keyframe of zeros.
        jaw: What a radian of the jaw adds.
        expression: What a unit of each expression coefficient adds; none for those beyond.
    """

    rest: float = 0.0
    jaw: float = 0.0
    expression: tuple[float, ...] = ()

    def weight(self, keyframe: Keyframe) -> float:
        """Return the weight in a keyframe, 0 to 1."""
        turned = self.jaw * keyframe.jaw_pose[0] if keyframe.jaw_pose else 0.0
        return unit(self.rest + turned + sum(map(mul, self.expression, keyframe.expression)))


@dataclass(frozen=True, slots=True)
class Basis:
    """A service's expression basis, as far as it is known.

    Attributes:
        shapes: How each ARKit name that it knows follows a keyframe; one that is
            never moved has a `Shape` of zeros. What jaw, lids and eyes tell is not
            among them.
        jaw_open: Radians by which the jaw turns for a ``jawOpen`` of 1.

    Raises:
        ConfigurationError: A name is none of those, or a number cannot be right.
    """

    shapes: Mapping[str, Shape] = field(default_factory=dict)
    jaw_open: float = JAW_OPEN

    def __post_init__(self) -> None:
        problems = [
            f"{name!r:.60} is no ARKit name that a basis tells"
            for name in self.shapes
            if name not in ARKIT or name in MEASURED
        ]
        for name, shape in self.shapes.items():
            if not all(map(math.isfinite, (shape.rest, shape.jaw, *shape.expression))):
                problems.append(f"{name!r:.60} has a value that is infinite or no number")
            if len(shape.expression) > _MOST_COEFFICIENTS:
                problems.append(f"{name!r:.60} has more than {_MOST_COEFFICIENTS} coefficients")
        low, high = _JAW_RANGE
        if not low <= self.jaw_open <= high:
            problems.append(
                f"a jaw that opens by {self.jaw_open} rad is not within {low} to {high}"
            )
        if problems:
            raise ConfigurationError("the basis cannot be used", problems[:5])

    @classmethod
    def fit(cls, pairs: Iterable[tuple[Keyframe, Mapping[str, float]]]) -> Basis:
        """Find the basis by which keyframes give weights that were seen beside them.

        The pairs come from a face whose weights are known: the keyframes that a
        service gave for some speech, and what a tracker (Live Link Face, say) or the
        service's own renderer gave for the same moments. Half a minute of varied
        speech is 750 of them.

        Each weight is a least-squares fit of what would be seen: of the prediction kept
        in 0 to 1. The jaw opens by a positive angle.

        Args:
            pairs: Keyframes, each with its ARKit weights by name. Names that are
                missing in any pair are not fitted, nor are those that jaw, lids and
                eyes tell; ``jawOpen`` tells how far the jaw goes.

        Raises:
            ConfigurationError: They are too few, or a name or a number cannot be right.
        """
        from avatarpool.blendshapes.fitting import fit  # noqa: PLC0415 - numpy

        shapes, jaw_open = fit(list(pairs))
        return cls(shapes, JAW_OPEN if jaw_open is None else jaw_open)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON, for `load`.

        Raises:
            OSError: The file cannot be written.
        """
        shapes = {
            name: {"rest": shape.rest, "jaw": shape.jaw, "expression": shape.expression}
            for name, shape in self.shapes.items()
        }
        text = json.dumps({"jaw_open": self.jaw_open, "shapes": shapes}, indent=1)
        Path(path).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Basis:
        """Read what `save` wrote.

        Raises:
            ConfigurationError: It is something else.
            OSError: The file cannot be read.
        """
        with Path(path).open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        what = f"{str(path)!r} is no basis"
        if len(data) > _MOST_BYTES:
            raise ConfigurationError(what, [f"it has more than {_MOST_BYTES} bytes"])
        try:
            return basis_of(json.loads(data))
        except ConfigurationError as error:
            raise ConfigurationError(what, list(error.problems)) from error
        except RecursionError as error:
            raise ConfigurationError(what, ["the JSON is nested too deeply"]) from error
        except ValueError as error:  # JSON's, and that of bytes that are no text
            raise ConfigurationError(what, ["it is no JSON"]) from error


def basis_of(document: object) -> Basis:
    """Make the basis that a JSON document describes.

    Raises:
        ConfigurationError: It describes none.
    """
    match document:
        case {"jaw_open": jaw_open, "shapes": dict() as shapes} if _is_number(jaw_open):
            return Basis(
                {str(name): _shape(name, shape) for name, shape in shapes.items()}, jaw_open
            )
    raise ConfigurationError(
        "the basis cannot be read", ["it has no number 'jaw_open' and object 'shapes'"]
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shape(name: object, shape: object) -> Shape:
    match shape:
        case {"rest": rest, "jaw": jaw, "expression": [*expression]} if all(
            _is_number(value) for value in (rest, jaw, *expression)
        ):
            try:
                return Shape(float(rest), float(jaw), tuple(map(float, expression)))
            except OverflowError:
                pass  # an integer of hundreds of digits
    raise ConfigurationError(
        "the basis cannot be read",
        [f"{name!r:.60} has no numbers 'rest' and 'jaw' and list of numbers 'expression'"],
    )
