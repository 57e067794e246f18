"""VRM's expressions of a keyframe."""

from __future__ import annotations

from avatarpool.blendshapes.arkit import FULL_GAZE, arkit
from avatarpool.blendshapes.basis import Basis, unit
from avatarpool.blendshapes.names import VRM
from avatarpool.blendshapes.visemes import mixed, visemes
from avatarpool.protocol.keyframes import Keyframe

_VOWELS = {"aa": "aa", "ih": "ih", "ou": "ou", "E": "ee", "oh": "oh"}
_MOUTHS = ("sil", "PP", *_VOWELS)


def vrm(keyframe: Keyframe, basis: Basis | None = None) -> dict[str, float]:
    """Return the VRM 1.0 expressions in a keyframe, 0 to 1.

    ``blink`` is how far both eyes are closed, ``blinkLeft`` and ``blinkRight`` how much
    further one of them is, so that they can all be set at once. Looks follow both
    eyes' mean; a model whose eyes are bones wants the eyes' angles of `arkit`.

    Args:
        keyframe: Any service's.
        basis: Whose expression coefficients these are. Without one, ``aa`` says how far
            the jaw is open, and the other vowels are absent, not 0; the emotions
            always are, as nothing in speech tells them.
    """
    weights = arkit(keyframe, basis)
    left, right = weights["eyeBlinkLeft"], weights["eyeBlinkRight"]
    both = min(left, right)
    yaw = (weights["leftEyeYaw"] + weights["rightEyeYaw"]) / 2 / FULL_GAZE
    pitch = (weights["leftEyePitch"] + weights["rightEyePitch"]) / 2 / FULL_GAZE
    known = {
        "blink": both,
        "blinkLeft": left - both,
        "blinkRight": right - both,
        "lookLeft": unit(yaw),
        "lookRight": unit(-yaw),
        "lookDown": unit(pitch),
        "lookUp": unit(-pitch),
    }
    if basis is None:
        known["aa"] = visemes(keyframe)["aa"]
    else:
        mix = mixed(keyframe, basis, _MOUTHS)
        known |= {name: mix[viseme] for viseme, name in _VOWELS.items()}
    return {name: known[name] for name in VRM if name in known}
