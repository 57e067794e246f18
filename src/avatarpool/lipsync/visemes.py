"""The fifteen visemes, and what the mouth does in each."""

from __future__ import annotations

from collections.abc import Sequence
from operator import mul

from avatarpool.lipsync.face import Mouth

_SHAPES = {
    "sil": Mouth(press=0.25),
    "PP": Mouth(jaw=0.02, press=1.0),
    "FF": Mouth(jaw=0.08, spread=0.1, press=0.2, roll=0.8, raised=0.15),
    "TH": Mouth(jaw=0.22, spread=0.1, raised=0.05),
    "DD": Mouth(jaw=0.18, spread=0.2, raised=0.05),
    "kk": Mouth(jaw=0.2, spread=0.1),
    "CH": Mouth(jaw=0.14, spread=-0.45, funnel=0.5, raised=0.1),
    "SS": Mouth(jaw=0.08, spread=0.4, raised=0.1),
    "nn": Mouth(jaw=0.2, spread=0.15),
    "RR": Mouth(jaw=0.22, spread=-0.4, funnel=0.3),
    "aa": Mouth(jaw=0.9, spread=0.1, raised=0.1),
    "E": Mouth(jaw=0.5, spread=0.4, raised=0.1),
    "ih": Mouth(jaw=0.28, spread=0.6, raised=0.05),
    "oh": Mouth(jaw=0.6, spread=-0.6, funnel=0.5),
    "ou": Mouth(jaw=0.28, spread=-0.9, funnel=0.35),
}
VISEMES = tuple(_SHAPES)
"""Their names, as in the OVR lip-sync set; the model's outputs are in this order."""

MOUTHS = tuple(_SHAPES.values())
"""What the mouth does in each of them."""


def blend(weights: Sequence[float]) -> Mouth:
    """Return the mouth between visemes.

    Args:
        weights: One for each of `VISEMES`, in their order; they sum to 1.
    """
    return Mouth._make(sum(map(mul, weights, values)) for values in zip(*MOUTHS, strict=True))
