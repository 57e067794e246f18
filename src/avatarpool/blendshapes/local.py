"""The local service's basis: what it writes, and what reads it.

``static/local.json`` is the whole of it: which expression coefficient does what, what the
mouth does in each viseme, and what both are in ARKit's terms.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from avatarpool.blendshapes.basis import basis_of

_LOCAL: dict[str, Any] = json.loads(
    files("avatarpool.blendshapes").joinpath("static", "local.json").read_text(encoding="utf-8")
)

COEFFICIENTS: tuple[str, ...] = tuple(_LOCAL["coefficients"])
"""What the first expression coefficients are; the rest are 0."""

JAW_RADIANS: float = _LOCAL["jaw_radians"]
"""The jaw's angle where the mouth's ``jaw`` is 1."""

MOUTHS: dict[str, dict[str, float]] = _LOCAL["mouths"]
"""What the mouth does in each viseme: ``jaw`` and `COEFFICIENTS`; what is left out is 0."""

LOCAL = basis_of(_LOCAL["basis"])
"""The basis of `LocalAvatarService`. It moves nothing but the mouth: all else is known to be 0."""
