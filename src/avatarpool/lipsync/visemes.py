"""The fifteen visemes, and what the mouth does in each."""

from __future__ import annotations

from collections.abc import Sequence
from operator import mul

from avatarpool.blendshapes import local
from avatarpool.lipsync.face import Mouth

VISEMES = tuple(local.MOUTHS)
"""Their names, as in the OVR lip-sync set; the model's outputs are in this order."""

MOUTHS = tuple(Mouth(**mouth) for mouth in local.MOUTHS.values())
"""What the mouth does in each of them."""


def blend(weights: Sequence[float]) -> Mouth:
    """Return the mouth between visemes.

    Args:
        weights: One for each of `VISEMES`, in their order; they sum to 1.
    """
    return Mouth._make(sum(map(mul, weights, values)) for values in zip(*MOUTHS, strict=True))
