"""Keyframes for faces that people already have: ARKit, Oculus visemes, VRM; no I/O in here."""

from avatarpool.blendshapes.arkit import arkit
from avatarpool.blendshapes.basis import Basis, Shape
from avatarpool.blendshapes.crossfade import Crossfade
from avatarpool.blendshapes.idle import idle
from avatarpool.blendshapes.local import LOCAL
from avatarpool.blendshapes.names import ARKIT, ROTATIONS, VISEMES, VRM
from avatarpool.blendshapes.visemes import visemes
from avatarpool.blendshapes.vrm import vrm

__all__ = [
    "ARKIT",
    "LOCAL",
    "ROTATIONS",
    "VISEMES",
    "VRM",
    "Basis",
    "Crossfade",
    "Shape",
    "arkit",
    "idle",
    "visemes",
    "vrm",
]
