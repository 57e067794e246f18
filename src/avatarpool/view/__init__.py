"""Seeing the animation: the face, and the page that speaks with it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from avatarpool.view.face import Pose, face_svg, pose_of

if TYPE_CHECKING:
    from avatarpool.view.page import create_page

__all__ = ["Pose", "create_page", "face_svg", "pose_of"]


if not TYPE_CHECKING:  # to a type checker any name at all would be there

    def __getattr__(name: str) -> object:
        # What paints the face needs no web server, whose import takes most of a second.
        if name == "create_page":
            return import_module("avatarpool.view.page").create_page
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
